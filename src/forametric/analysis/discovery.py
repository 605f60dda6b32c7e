"""Discover candidate morphotypes among the specimens that a model cannot name.

Ward clustering of the vectors, cut where the groups are compact and well separated, then refined by
k-means. Each group comes with its exemplars, its nearest known taxa, its cohesion and its stability
under resampling. Specimens that the refinement moves, and groups that are too small, stay noise.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import pairwise_distances, pairwise_distances_argmin

from forametric._typing import FloatArray, IntArray, PathLike
from forametric.analysis.clustering import (
    centroids_of,
    cluster,
    cluster_stability,
    estimate_clusters,
    largest_first,
    subsample,
    unit_length,
)
from forametric.data.collection import Collection
from forametric.data.embeddings import Embeddings, skipped_table
from forametric.data.inputs import check_output_folder
from forametric.data.sources import ImageSource, open_collection
from forametric.data.tables import Column, read_table
from forametric.data.thumbnails import table_with_thumbnails, thumbnail_url
from forametric.errors import InputError
from forametric.identification.identifier import Identifier
from forametric.identification.open_set import probability_known
from forametric.model.model import Model
from forametric.utils.html import write_page
from forametric.utils.outputs import atomic_folder
from forametric.utils.ranges import COUNT
from forametric.utils.results import Result

MIN_SPECIMENS = 4  # that can be clustered at all
MIN_GROUP = 3  # specimens of a morphotype; smaller groups are noise
MAX_CLUSTERED = 5000  # specimens clustered with each other; of more, the rest are assigned to them
EXEMPLARS = 10
SEED = 0
NAMES_FILE = "morphotypes.csv"
NAMES_TABLE = [
    Column("morphotype", "number", required=True, filled=True, unique=True),
    Column("name", required=True),
]


@dataclass(frozen=True, eq=False, repr=False)
class Morphotypes(Result):
    """Candidate morphotypes.

    Attributes
    ----------
    table : DataFrame
        One row for each specimen: `image` (and `id`, `sample`), `morphotype` (0 for noise),
        `novelty`, `best` (the most probable known taxon).
    groups : DataFrame
        One row for each morphotype, the largest first: `morphotype` (1, 2, …), `specimens`,
        `cohesion` (mean cosine between its specimens and its centroid), `stability` (mean greatest
        Jaccard overlap with a group of a resampled clustering, Hennig 2007: above 0.75 it may be
        trusted), `nearest_1` … `nearest_3` (known taxa) with their distances, and `recognised`:
        the known taxon that it is, if any.
    exemplars : dict of int to list of int
        Positions of a morphotype's most typical specimens, the most typical first.
    skipped : DataFrame
        The images that could not be read: image, reason.
    n_considered : int
        The number of specimens from which these were chosen.
    """

    table: pd.DataFrame
    groups: pd.DataFrame
    exemplars: dict[int, list[int]]
    skipped: pd.DataFrame = field(default_factory=skipped_table)
    n_considered: int = 0
    source: ImageSource | None = None
    rows: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    model: str = ""

    def __len__(self) -> int:
        return len(self.groups)

    def __str__(self) -> str:
        noise = int((self.labels_ == 0).sum())
        return f"{len(self)} groups of {len(self.table)} specimens, {noise} noise"

    def _repr_html_(self) -> str:
        typical = [row for rows in self.exemplars.values() for row in rows[:2]]
        shown = self.table.iloc[typical]
        return table_with_thumbnails(shown, ["morphotype", "best"], self.source, str(self))

    @property
    def summary(self) -> dict[str, Any]:
        """grouped, noise, morphotypes."""
        return {
            "grouped": len(self.table),
            "noise": int((self.labels_ == 0).sum()),
            "morphotypes": self.groups.to_dict("records"),
        }

    @property
    def preview(self) -> pd.DataFrame | None:
        """The groups."""
        columns = ["morphotype", "specimens", "stability", "cohesion", "nearest_1", "recognised"]
        return self.groups[columns] if len(self.groups) else None

    @property
    def labels_(self) -> IntArray:
        """The morphotype of each specimen, 0 for noise, shape (n,)."""
        return np.asarray(self.table["morphotype"], dtype=np.int64)

    def save(self, folder: PathLike, *, overwrite: bool = False) -> Path:
        """Write the groups as a folder to look at and to name; returns the folder.

        The folder is itself a collection of these specimens, with the columns `morphotype`,
        `novelty` and `best`. `discover.html` shows each group; `morphotypes.csv` has an empty
        column `name` for the expert, which `named_morphotypes` reads.

        Raises
        ------
        InputError
            When the specimens are not of a collection or a folder of images.
        """
        if not isinstance(self.source, Collection | str | os.PathLike):
            raise InputError("only morphotypes of a collection or a folder of images can be saved.")
        folder, whole = Path(folder), open_collection(self.source)
        part = whole.select(self.rows)
        columns = {name: self.table[name].to_numpy() for name in ("morphotype", "novelty", "best")}
        table = part.specimens.assign(**columns)
        part = Collection(table, part.images, {**part.info, "made_by": self.model})
        check_output_folder(folder, overwrite, whole)
        with atomic_folder(folder, overwrite) as temporary:
            part.write_into(temporary, folder)
            table.to_csv(temporary / "specimens.csv", index=False)
            self.groups.assign(name="").to_csv(temporary / NAMES_FILE, index=False)
            if len(self.skipped):
                self.skipped.to_csv(temporary / "skipped.csv", index=False)
            self._write_page(temporary / "discover.html", part, str(whole.info.get("name", "")))
        return folder

    def _write_page(self, path: Path, part: Collection, name: str) -> None:
        groups = self.groups.to_dict("records")
        for group in groups:
            rows = self.exemplars[group["morphotype"]]
            group["images"] = [thumbnail_url(part, row) for row in rows]
        write_page(
            path,
            "discover.html",
            title=f"Morphotypes in {name}",
            groups=groups,
            specimens=len(part),
            noise=int((self.labels_ == 0).sum()),
            of=self.n_considered,
        )


def discover(
    embeddings: Embeddings | FloatArray, model: Model | Identifier, *, n_groups: int | None = None
) -> Morphotypes:
    """Group specimens into candidate morphotypes; the same specimens always give the same groups.

    Parameters
    ----------
    embeddings : Embeddings, or ndarray of float32 of shape (n, dimensions)
        Usually those of specimens that `Model.identify` calls unknown.
    model : Model or Identifier
        The known taxa. Its calibration tells a group whose specimens are on average more likely of
        known taxa than not (`probability_known`); without calibration no group is recognised.
    n_groups : int, optional
        The number of groups, where it is known; else it is estimated from the backbone features
        (`Embeddings.features`): the trained projection draws new species together.

    Raises
    ------
    InputError
        With fewer than four specimens, or a number of groups that they cannot form.

    Examples
    --------
    >>> names = model.identify(embeddings)  # doctest: +SKIP
    >>> groups = discover(embeddings[names.is_unknown], model)  # doctest: +SKIP
    """
    identifier = model if isinstance(model, Identifier) else model.identifier
    if not isinstance(embeddings, Embeddings):
        embeddings = Embeddings.of_vectors(embeddings)
    count = len(embeddings)
    if count < MIN_SPECIMENS:
        raise InputError(
            f"{count} specimens are too few to group; at least {MIN_SPECIMENS} are needed."
        )
    if n_groups is not None and not 1 <= n_groups <= count:
        raise InputError(f"{count} specimens cannot form {n_groups} groups.")
    labels, stability = group_vectors(embeddings, n_groups)
    groups, exemplars = _describe(unit_length(embeddings.vectors), labels, stability, identifier)
    known = identifier.identify(embeddings)
    columns = [c for c in ("id", "image", "sample") if c in embeddings.table]
    table = embeddings.table[columns].assign(
        morphotype=labels, novelty=known["novelty"], best=known.get("best", known["taxon"])
    )
    _recognise(groups, labels, embeddings.vectors, identifier)
    return Morphotypes(
        table,
        groups,
        exemplars,
        embeddings.skipped,
        count,
        embeddings.source,
        embeddings.rows,
        model.title if isinstance(model, Model) else "",
    )


def discover_unknown(
    model: Model,
    images: ImageSource,
    *,
    include_known: bool = False,
    n_groups: int | None = None,
) -> Morphotypes:
    """Embed and identify images, and group those that are unlike all known taxa.

    Parameters
    ----------
    include_known : bool
        Group all specimens.

    Raises
    ------
    InputError
        When too few are unknown, or the model has no calibration to tell which.
    """
    COUNT.check(n_groups=n_groups)
    if model.calibration is None and not include_known:
        raise InputError(
            "this model has no calibration, so it calls nothing unknown; calibrate it, or group "
            "all specimens with --all."
        )
    embeddings = model.embed(images)
    chosen = embeddings
    if not include_known:
        chosen = embeddings[model.identify(embeddings).is_unknown]
        if len(chosen) < MIN_SPECIMENS:
            raise InputError(
                f"{len(chosen)} of {len(embeddings)} specimens are unknown: too few to group; "
                f"--all groups all of them."
            )
    found = discover(chosen, model, n_groups=n_groups)
    return Morphotypes(**{**found.__dict__, "n_considered": len(embeddings)})


def group_vectors(
    embeddings: Embeddings, n_groups: int | None = None, *, max_clustered: int = MAX_CLUSTERED
) -> tuple[IntArray, dict[int, float]]:
    """The group of each specimen (1, 2, … by size; 0 for noise), and the stability of each group.

    Of more than `max_clustered` specimens, that many drawn at random are clustered, and the others
    join the nearest group.
    """
    rng = np.random.default_rng(SEED)
    vectors = unit_length(embeddings.vectors)
    core = subsample(len(vectors), max_clustered, rng)
    n_groups = n_groups or estimate_clusters(unit_length(embeddings.features[core]))
    refined, ward = cluster(vectors[core], n_groups)
    centroids = centroids_of(vectors[core], refined)
    labels = np.empty(len(vectors), np.int64)
    labels[core] = np.where(refined == ward, refined, 0)
    rest = np.setdiff1d(np.arange(len(vectors)), core)
    if len(rest):
        labels[rest] = pairwise_distances_argmin(vectors[rest], centroids) + 1
    sizes = np.bincount(labels)
    labels = largest_first(np.where(sizes[labels] >= MIN_GROUP, labels, 0))
    return labels, cluster_stability(vectors, labels, rng)


def _describe(
    vectors: FloatArray, labels: IntArray, stability: dict[int, float], identifier: Identifier
) -> tuple[pd.DataFrame, dict[int, list[int]]]:
    """The table of groups, but for `recognised`, and the exemplars of each."""
    known = unit_length(identifier.references.centroids)
    rows, exemplars = [], {}
    for group in range(1, int(labels.max(initial=0)) + 1):
        members = np.flatnonzero(labels == group)
        centroid = centroids_of(vectors[members], np.ones(len(members), np.int64))
        typical = vectors[members] @ centroid[0]
        exemplars[group] = members[np.argsort(-typical, kind="stable")[:EXEMPLARS]].tolist()
        distances = pairwise_distances(centroid, known)[0]
        row: dict[str, Any] = {
            "morphotype": group,
            "specimens": len(members),
            "cohesion": round(float(typical.mean()), 3),
            "stability": round(stability[group], 3),
        }
        for place, taxon in enumerate(np.argsort(distances, kind="stable")[:3], 1):
            row[f"nearest_{place}"] = identifier.taxa[taxon]
            row[f"nearest_{place}_distance"] = round(float(distances[taxon]), 3)
        rows.append(row)
    return pd.DataFrame(rows), exemplars


def _recognise(
    groups: pd.DataFrame, labels: IntArray, vectors: FloatArray, identifier: Identifier
) -> None:
    """Fill in `recognised`: the nearest taxon of a group of specimens that are probably known."""
    groups["recognised"] = ""
    if identifier.calibration is None or groups.empty:
        return
    known = probability_known(identifier.references.novelty(vectors), identifier.calibration)
    likely = np.array([known[labels == group].mean() > 0.5 for group in groups["morphotype"]])
    groups["recognised"] = groups["nearest_1"].where(likely, "")


def named_morphotypes(folder: PathLike) -> Collection:
    """The specimens of the morphotypes that `morphotypes.csv` names, with these names as taxa.

    Any other collection comes back as it is.

    Raises
    ------
    InputError
        When the table is not as `Morphotypes.save` wrote it, or names nothing yet.
    """
    folder = Path(folder)
    collection = Collection.open(folder)
    if not (folder / NAMES_FILE).is_file():
        return collection
    table = read_table(folder / NAMES_FILE, NAMES_TABLE).rows
    if "morphotype" not in collection.specimens:
        raise InputError(f"{folder} has no column morphotype; make it again with: discover.")
    names = dict(zip(table["morphotype"], table["name"].str.strip(), strict=True))
    taxa = collection.specimens["morphotype"].map(names).astype(object).fillna("")
    if not (taxa != "").any():
        raise InputError(
            f"no morphotype is named yet: fill in the column name of {folder / NAMES_FILE}."
        )
    table = collection.specimens.assign(taxon=taxa)
    return Collection(table, collection.images, collection.info).select((taxa != "").to_numpy())
