"""A review project: a collection, a model to name it with, and what experts decide about it.

On disk a folder: `project.json` (where the collection, the models and their reference_images lie),
`decisions.sqlite` unless the decisions are kept in another database, and `cache/`, one folder for
each model, with vectors, map and sheets of small pictures. The cache may be deleted; it is made
anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from forametric._version import __version__
from forametric.analysis.morphospace import Morphospace
from forametric.data.collection import Collection
from forametric.data.embeddings import Embeddings
from forametric.errors import InputError, NotFoundError
from forametric.model.embed_collection import embed_to_file, embeddings_of
from forametric.model.model import Model
from forametric.utils.files import read_json, write_json

FORMAT = 1
FILE = "project.json"
STORE = "decisions.sqlite"
EXTERNAL = "elsewhere"  # the decisions are in a database, whose address may hold a password


@dataclass(frozen=True)
class Project:
    """Where things lie.

    Attributes
    ----------
    folder, collection : Path
    models : tuple of Path
        The model that the project began with, and those trained from it.
    current : int
        Which of them names the specimens.
    reference_images : tuple of Path
        Collections that hold the pictures of the models' reference_images.
    depth : str
        The column with each sample's depth or age; "" for none.
    database : str
        `decisions.sqlite`, or `elsewhere`.
    """

    folder: Path
    collection: Path
    models: tuple[Path, ...]
    current: int = 0
    reference_images: tuple[Path, ...] = ()
    depth: str = ""
    database: str = STORE

    @classmethod
    def create(
        cls,
        folder: Path,
        collection: Path,
        model: Path,
        *,
        reference_images: Sequence[Path] = (),
        depth: str = "",
        elsewhere: bool = False,
    ) -> Project:
        """Begin a project, after a look at what it is to be made of.

        Raises
        ------
        InputError
            When the folder holds something, or collection or column are not what they should be.
        ModelError
            For a model that cannot be loaded or has no calibration.
        """
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} holds something else; name a new folder for the project.")
        shells = Collection.open(collection)
        Model.load(model).calibrated  # noqa: B018  refuse before there is a project
        for other in reference_images:
            Collection.open(other)
        if depth and depth not in shells.specimens:
            raise InputError(f"the collection has no column {depth!r}.")
        database = EXTERNAL if elsewhere else STORE
        project = cls(folder, collection, (model,), 0, tuple(reference_images), depth, database)
        folder.mkdir(parents=True, exist_ok=True)
        project.save()
        return project

    @classmethod
    def open(cls, folder: Path) -> Project:
        """Read `project.json`; `InputError` says what is missing or damaged."""
        if not (folder / FILE).is_file():
            raise InputError(
                f"{folder} is not a review project (no {FILE}); begin one with: forametric review "
                f"{folder} --collection COLLECTION --model MODEL"
            )
        data = read_json(folder / FILE)
        if data.get("format") != FORMAT:
            raise InputError(
                f"{folder} has project format {data.get('format')!r}; this version reads {FORMAT}. "
                f"Update Forametric."
            )
        try:
            models = tuple(_place(folder, model) for model in data["models"])
            found = cls(
                folder,
                _place(folder, data["collection"]),
                models,
                int(data["current"]),
                tuple(_place(folder, other) for other in data["reference_images"]),
                str(data["depth"]),
                str(data["database"]),
            )
            found.model  # noqa: B018  the number is one of a model
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"{folder / FILE} is damaged: {error!r}.") from None
        return found

    def save(self) -> None:
        """Write `project.json`."""
        paths = {
            "collection": self._relative(self.collection),
            "models": [self._relative(model) for model in self.models],
            "reference_images": [self._relative(other) for other in self.reference_images],
        }
        rest = {"current": self.current, "depth": self.depth, "database": self.database}
        made_by = {"format": FORMAT, "made_by": f"forametric {__version__}"}
        write_json(self.folder / FILE, {**made_by, **paths, **rest})

    def _relative(self, path: Path) -> str:
        return Path(os.path.relpath(path.absolute(), self.folder.absolute())).as_posix()

    @property
    def model(self) -> Path:
        """The model that names the specimens now."""
        return self.models[self.current]

    def with_model(self, model: Path) -> Project:
        """The project with one more model; the old one goes on naming."""
        changed = replace(self, models=(*self.models, model))
        changed.save()
        return changed

    def at(self, number: int) -> Project:
        """The project whose specimens another of its models names; not saved as such.

        Raises
        ------
        NotFoundError
            When there is no such model.
        """
        if not 0 <= number < len(self.models):
            raise NotFoundError(f"there is no model {number}; there are {len(self.models)}.")
        return replace(self, current=number)


@dataclass(frozen=True)
class EmbeddedCollection:
    """A collection as a model sees it.

    Attributes
    ----------
    shells : Collection
        The specimens whose images could be read.
    got : Embeddings
        Of each of them.
    space : Morphospace
    skipped : DataFrame
        The images that could not be read: image, reason.
    cache : Path
        Where this model's files lie.
    """

    model: Model
    shells: Collection
    got: Embeddings
    space: Morphospace
    skipped: pd.DataFrame
    cache: Path

    @cached_property
    def order(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """The specimens as a walk over the map: neighbours there follow each other (Morton 1966).

        Pictures are packed into sheets in this order, so that a part of the map needs few sheets.
        """
        places = self.space.coordinates_
        extent = np.maximum(np.ptp(places, axis=0), 1e-9)
        cells = ((places - places.min(0)) / extent * 1023).astype(np.int64)
        key = np.zeros(len(cells), np.int64)
        for bit in range(10):
            key |= ((cells[:, 0] >> bit) & 1) << (2 * bit)
            key |= ((cells[:, 1] >> bit) & 1) << (2 * bit + 1)
        return np.argsort(key, kind="stable")


def embed_project(project: Project) -> EmbeddedCollection:
    """Embed and map a project's collection, or read what was made of the same one before.

    Killed, it goes on where it was.

    Raises
    ------
    InputError
        When the collection or the model cannot be opened, or no image can be read.
    ModelError
        When the model cannot be loaded, or has no calibration.
    """
    model = Model.load(project.model)
    model.calibrated  # noqa: B018  refuse before the long work
    collection = Collection.open(project.collection)
    cache = project.folder / "cache" / model.weights_sha256[:16]
    columns = collection.specimens[["id", "image"]].astype(str)
    run = {"specimens": int(pd.util.hash_pandas_object(columns, index=False).sum())}
    vectors, layout, about = cache / "vectors.parquet", cache / "map.parquet", cache / "cache.json"
    if not (about.is_file() and read_json(about)["run"] == run):
        if about.is_file():  # of a collection that has changed since
            shutil.rmtree(cache)
        cache.mkdir(parents=True, exist_ok=True)
        skipped = embed_to_file(model, collection, vectors, overwrite=True).to_dict("records")
        layout.unlink(missing_ok=True)
        write_json(about, {"run": run, "skipped": skipped})
    got = embeddings_of(model, collection, vectors)
    shells = collection.select(got.rows)
    if layout.is_file():
        space = Morphospace.load(layout)
    else:
        space = Morphospace().fit(got)
        space.save(layout)
    everyone = replace(got, rows=np.arange(len(shells)))
    unreadable = pd.DataFrame(read_json(about)["skipped"], columns=["image", "reason"])
    return EmbeddedCollection(model, shells, everyone, space, unreadable, cache)


def _place(folder: Path, path: object) -> Path:
    return Path(os.path.normpath(folder / str(path)))
