"""A small collection and everything that can be made from it, in seconds: for tests that break it.

The network has a few hundred thousand weights that start from random numbers, so that loading a
model takes milliseconds and nothing is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from forametric.data.collection import Collection
from forametric.data.importers import import_collection
from forametric.data.splits import make_split
from forametric.embedding.recipe import Recipe
from forametric.model.embed_collection import embed_to_file
from forametric.model.model import Model
from forametric.review.decisions import Decision
from forametric.review.store import DecisionStore
from forametric.simulation import write_shells

FORMS = ["single sphere", "compressed keeled", "clavate radial", "globular trochospiral"]
SETTINGS = (
    "epochs=2", "tta_views=1", "network.image_size=32", "network.backbone=test_efficientnet",
    "network.pretrained=false", "network.projection_dim=8", "network.whitened_dim=8",
)  # fmt: skip


@dataclass(frozen=True)
class Tiny:
    """The folder of one such set; its parts are paths in it.

    Attributes
    ----------
    images : Path
        48 simulated shells of four forms, 64 px, one folder for each form.
    collection, more : Path
        Collections: of these images, and of 64 others in four samples.
    """

    folder: Path

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def collection(self) -> Path:
        return self.folder / "collection"

    @property
    def more(self) -> Path:
        return self.folder / "more"

    @property
    def split(self) -> Path:
        return self.folder / "split.csv"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def embeddings(self) -> Path:
        return self.folder / "embeddings.parquet"

    @property
    def names(self) -> Path:
        return self.folder / "names.csv"

    @property
    def store(self) -> Path:
        return self.folder / "decisions.sqlite"


def make_tiny(folder: Path) -> Tiny:
    """Make the set in a folder, or take what an earlier call has made there."""
    from forametric.training.train import train

    tiny = Tiny(folder)
    done = folder / "done"
    if done.is_file():
        return tiny
    folder.mkdir(parents=True, exist_ok=True)
    write_shells(tiny.images, 12, size=64, forms=FORMS)
    collection = import_collection(tiny.images, tiny.collection).collection
    write_shells(folder / "more-images", 16, size=64, forms=FORMS, seed=5)
    more = import_collection(folder / "more-images", folder / "more-plain").collection
    samples = [f"core {n % 4 + 8}" for n in range(len(more))]
    depths = [float(n % 4) for n in range(len(more))]
    table = more.specimens.assign(sample=samples, depth=depths)
    validation = Collection(table, more.images, more.info)
    validation.save(tiny.more)
    split = make_split(collection, seed=1, held_out_taxa=1)
    split.to_csv(tiny.split)
    trained = train(split, Recipe.load("default", SETTINGS), folder / "uncalibrated")
    trained.calibrate(validation).save(tiny.model)
    model = Model.load(tiny.model)
    embed_to_file(model, collection, tiny.embeddings)
    model.identify(collection).to_csv(tiny.names)
    _record(collection.specimens, tiny.store)
    done.touch()
    return tiny


def _record(specimens: pd.DataFrame, place: Path) -> None:
    """Two reviewers decide on ten specimens and differ on one."""
    store = DecisionStore(place)
    for reviewer in ("A. Reviewer", "B. Reviewer"):
        decisions = [
            Decision(str(row.id), "taxon", str(row.taxon), reviewer)  # type: ignore[arg-type]
            for row in specimens.head(9).itertuples()
        ]
        other = "unlisted" if reviewer.startswith("B") else "not_a_specimen"
        tenth = Decision(str(specimens["id"].iloc[9]), other, "", reviewer)  # type: ignore[arg-type]
        store.record([*decisions, tenth])
    store.close()
