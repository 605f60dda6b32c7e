"""Identify images: names with their probabilities, decisions and nearest references."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forametric._typing import BoolArray, FloatArray, IntArray, NameArray, PathLike
from forametric.data.collection import Collection
from forametric.data.embeddings import Embeddings, skipped_table
from forametric.data.sources import ImageSource, list_images, open_collection
from forametric.data.taxonomy import Taxonomy
from forametric.data.thumbnails import table_with_thumbnails
from forametric.embedding.embedder import BATCH_SIZE, Embedder
from forametric.errors import InputError, ModelError
from forametric.identification.calibration import Calibration
from forametric.identification.drift import Drift, described
from forametric.identification.identifier import (
    MIN_PROBABILITY,
    UNKNOWN,
    Identifier,
)
from forametric.identification.search import SpecimenIndex
from forametric.utils.outputs import write_csv
from forametric.utils.ranges import PROBABILITY
from forametric.utils.results import Result

logger = logging.getLogger(__name__)
NEIGHBORS = 10  # similar specimens listed for each image


@dataclass(frozen=True, eq=False, repr=False)
class Identifications(Result):
    """A name for each specimen.

    Attributes
    ----------
    table : DataFrame
        One row for each specimen: `image`, and `id` and `sample` where they are known; `taxon`
        (species, or genus, or "" where none is named), `decision` (accepted, genus, ambiguous,
        unknown), `probability` (of `taxon`; of `best` where none is named), `reason`; `best` and
        `second`, the most probable taxa, with `best_probability` and `second_probability`;
        `novelty` (mean of the distances to the nearest taxon's centroid and to the five nearest
        references); `unlike` (how the image differs from those of validation; "" for most);
        `conformal_set` if asked for; and for n = 1 … 5 `neighbor_n`,
        `neighbor_n_taxon`, `neighbor_n_distance`. A model without calibration gives `score` in
        place of decisions and probabilities, and `taxon` is always its best.
    probabilities : ndarray of float32, shape (n, taxa)
        Calibrated probabilities, or scores of a model without calibration.
    taxa : list of str
        What the columns of `probabilities` stand for.
    skipped : DataFrame
        The images that could not be read: image, reason.
    similar : DataFrame or None
        The most similar specimens of each image, where they were asked for: see `SpecimenIndex`.
    calibration : Calibration or None
        The model's.
    source : collection, folder or images
        What was identified; `rows` are the positions of the readable images in it.
    model : str
        The title of the model that gave the names.
    drift : DataFrame
        How the images of each sample differ from those of validation: see `compare_samples`.
        Without rows where that is not known.
    """

    table: pd.DataFrame
    probabilities: FloatArray
    taxa: list[str]
    skipped: pd.DataFrame = field(default_factory=skipped_table)
    similar: pd.DataFrame | None = None
    calibration: Calibration | None = None
    source: ImageSource | None = None
    rows: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    model: str = ""
    drift: pd.DataFrame = field(default_factory=lambda: Drift().table)

    def __len__(self) -> int:
        return len(self.table)

    def __str__(self) -> str:
        counts = ", ".join(f"{n} {decision}" for decision, n in self.counts.items())
        return f"{len(self)} specimens{': ' * bool(counts)}{counts}"

    def _repr_html_(self) -> str:
        columns = ["taxon", "decision", "probability", "score"]
        return table_with_thumbnails(self.table, columns, self.source, str(self))

    @property
    def summary(self) -> dict[str, Any]:
        """identified, decisions, taxa, unlike_validation (sample: how it differs)."""
        taxa = self.table["taxon"].value_counts()
        return {
            "identified": len(self),
            "decisions": self.counts,
            "taxa": {str(taxon): int(n) for taxon, n in taxa.items() if taxon},
            "unlike_validation": described(self.drift),
        }

    @property
    def preview(self) -> pd.DataFrame:
        """The first names."""
        columns = ["image", "taxon", "decision", "probability", "score", "novelty"]
        return self.table[[c for c in columns if c in self.table]].head(20)

    @property
    def counts(self) -> dict[str, int]:
        """The number of specimens with each decision; empty for a model without calibration."""
        if "decision" not in self.table:
            return {}
        return {str(k): int(n) for k, n in self.table["decision"].value_counts().items()}

    @cached_property
    def is_unknown(self) -> BoolArray:
        """Which specimens are unlike all known taxa, shape (n,): the decision `unknown`."""
        if "decision" not in self.table:
            return np.zeros(len(self), bool)
        return np.asarray(self.table["decision"] == UNKNOWN)

    @property
    def calibrated(self) -> Calibration:
        """The model's calibration; `ModelError` where it had none."""
        if self.calibration is None:
            raise ModelError(
                "these names come from a model without calibration: they have no probabilities; "
                "calibrate it with: forametric calibrate MODEL COLLECTION --split SPLIT -o NEW"
            )
        return self.calibration

    @cached_property
    def specimens(self) -> pd.DataFrame:
        """The rows of the identified collection that `table` is about, in the same order."""
        if not isinstance(self.source, Collection | str | os.PathLike):
            return self.table
        specimens = open_collection(self.source).specimens
        return specimens.iloc[self.rows].reset_index(drop=True)

    def to_csv(
        self, path: PathLike, similar: PathLike | None = None, *, overwrite: bool = False
    ) -> Path:
        """Write the table as CSV, and the most similar specimens to `similar`; returns the path."""
        if similar is not None and self.similar is not None:
            write_csv(self.similar, similar, overwrite=overwrite)
        return write_csv(self.table, path, overwrite=overwrite)


def identify_images(
    embedder: Embedder,
    identifier: Identifier,
    images: ImageSource | Embeddings,
    *,
    min_probability: float = MIN_PROBABILITY,
    conformal_alpha: float | None = None,
    taxonomy: Taxonomy | None = None,
    similar_in: SpecimenIndex | None = None,
    batch_size: int = BATCH_SIZE,
    model: str = "",
) -> Identifications:
    """Embed and name images, a batch at a time: see `Model.identify`."""
    PROBABILITY.check(min_probability=min_probability)
    if conformal_alpha is not None:
        identifier.calibrated.conformal_threshold(conformal_alpha)  # refuse before the long work
    taxonomy = taxonomy or Taxonomy.load()
    if isinstance(images, Embeddings):
        batches = iter((images,))
    else:
        known, files = list_images(images)
        batches = embedder.embed_in_batches(
            files, known, batch_size=batch_size, progress="identifying"
        )
    tables, scores, rows, differences = [], [], [], []
    similar, skipped = list[pd.DataFrame](), list[pd.DataFrame]()
    for embeddings in batches:
        skipped.append(embeddings.skipped)
        if not len(embeddings):
            continue
        rows.append(embeddings.rows)
        scores.append(identifier.probabilities_or_scores(embeddings))
        names = identifier.identify(
            embeddings,
            min_probability=min_probability,
            conformal_alpha=conformal_alpha,
            taxonomy=taxonomy,
            scores=scores[-1],
        )
        table = embeddings.table.drop(columns="taxon", errors="ignore")
        neighbors = identifier.nearest_references(embeddings)
        differences.append(identifier.statistic_differences(embeddings))
        tables.append(pd.concat([table, names, neighbors], axis=1))
        if similar_in:
            of = embeddings.table["image"].astype(str).tolist()
            similar.append(similar_in.kneighbors(embeddings.vectors, NEIGHBORS, images=of))
    unreadable = pd.concat(skipped, ignore_index=True)
    if not tables:
        raise_unreadable(unreadable)
    table = pd.concat(tables, ignore_index=True)
    if "sample" in table and table["sample"].isna().all():
        table = table.drop(columns="sample")
    found = identifier.drift(np.concatenate(differences), table, samples_of(table))
    cautions = [identifier.calibration.caution] if identifier.calibration else []
    for sentence in filter(None, [*cautions, *found.warnings]):
        logger.warning("%s", sentence)
    if found.unlike is not None:
        table.insert(table.columns.tolist().index("novelty") + 1, "unlike", found.unlike)
    return Identifications(
        table,
        np.concatenate(scores),
        identifier.taxa,
        unreadable,
        pd.concat(similar, ignore_index=True) if similar else None,
        identifier.calibration,
        images.source if isinstance(images, Embeddings) else images,
        np.concatenate(rows),
        model,
        found.table,
    )


def samples_of(table: pd.DataFrame) -> NameArray:
    """The sample of each specimen as text; "" where it is not known."""
    samples = table.get("sample", pd.Series("", table.index))
    return samples.where(samples.notna(), "").astype(str).to_numpy(dtype=object)


def raise_unreadable(skipped: pd.DataFrame) -> None:
    """Raise `InputError`: not one image could be read."""
    first = skipped.iloc[0]
    raise InputError(
        f"none of the {len(skipped)} images can be read; the first: {first['image']}: "
        f"{first['reason']}."
    )
