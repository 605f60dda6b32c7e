"""The gallery: reference vectors with names, which identification compares against.

Adding a species is adding rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import euclidean_distances, pairwise_distances_argmin_min

from forametric.errors import InputError
from forametric.index import Index
from forametric.vectors import read_vectors, write_vectors

Floats = npt.NDArray[np.float32]


# How much more a near vote weighs than a far one; of 1, 2, 4 and 8, the best on validation
# specimens of pollen grains over eight models.
SHARPNESS = 4.0


@dataclass(frozen=True)
class Gallery:
    """Reference specimens.

    Attributes
    ----------
    ids : list of str
    taxa : ndarray of str, shape (n,)
    vectors : ndarray of float32, shape (n, dimensions)
    """

    ids: list[str]
    taxa: npt.NDArray[np.object_]
    vectors: Floats
    # Names, novelty and evidence ask one after the other about the same vectors: the last search.
    _last: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.taxa) == len(self.vectors):
            raise InputError("a gallery needs one id and one taxon for each vector.")
        if not len(self.ids):
            raise InputError("a gallery needs at least one reference specimen.")

    @property
    def classes_(self) -> list[str]:
        """The taxa that the gallery knows, in alphabetical order."""
        return sorted({str(t) for t in self.taxa})

    def nearest(self, vectors: Floats, k: int = 5) -> tuple[Floats, npt.NDArray[np.int64]]:
        """The k nearest references of each vector, nearest first.

        Returns
        -------
        distances : ndarray of float32, shape (m, k)
            Euclidean.
        rows : ndarray of int64, shape (m, k)
            Positions in the gallery; k is lowered to the gallery's size.
        """
        k = min(k, len(self.ids))
        last = self._last.get("search")  # taken once: another thread may put its own there
        if last is None or last[0] is not vectors or last[1] != k:
            last = self._last["search"] = (vectors, k, self._index.nearest(vectors, k))
        distances, rows = last[2]
        return distances.copy(), rows.copy()

    def votes(self, vectors: Floats, k: int = 5) -> Floats:
        """Share of the k nearest references' votes for each of `classes_`, shape (m, classes).

        A vote weighs the more the nearer it is (`nearness`). These are scores, not calibrated
        probabilities.
        """
        distances, rows = self.nearest(vectors, k)
        names = self.classes_
        numbers = np.searchsorted(names, self.taxa.astype(str))
        votes = nearness(distances)
        scores = np.zeros((len(vectors), len(names)), np.float32)
        queries = np.arange(len(vectors))
        for column in range(rows.shape[1]):
            np.add.at(scores, (queries, numbers[rows[:, column]]), votes[:, column])
        return np.asarray(scores / scores.sum(1, keepdims=True), dtype=np.float32)

    def predict(self, vectors: Floats, k: int = 5) -> npt.NDArray[np.object_]:
        """The taxon with the highest score for each vector."""
        names = np.asarray(self.classes_, dtype=object)
        return np.asarray(names[self.votes(vectors, k).argmax(1)])

    @cached_property
    def _index(self) -> Index:
        return Index(self.vectors)

    @cached_property
    def centres(self) -> Floats:
        """Each taxon's mean direction at its vectors' mean length, shape (classes, dimensions)."""
        names = np.asarray(self.classes_)
        of = np.searchsorted(names, self.taxa.astype(str))
        sums = np.zeros((len(names), self.vectors.shape[1]))
        np.add.at(sums, of, self.vectors)
        lengths = np.bincount(of, np.linalg.norm(self.vectors, axis=1)) / np.bincount(of)
        norms = np.maximum(np.linalg.norm(sums, axis=1), 1e-12)
        return np.asarray(sums * (lengths / norms)[:, None], dtype=np.float32)

    def remoteness(self, vectors: Floats) -> Floats:
        """The squared distance of each vector to each taxon's centre, shape (m, classes)."""
        found = euclidean_distances(vectors, self.centres, squared=True)
        return np.asarray(found, dtype=np.float32)

    def novelty(self, vectors: Floats, k: int = 5) -> Floats:
        """How strange each vector is, shape (m,): the larger, the stranger.

        The mean of two distances: to the nearest taxon's centre, and (averaged) to the k nearest
        references. Of ten such scores the best in one and close to the best in the other of two
        models made for choosing it, at telling held-out species of pollen grains from known ones.
        """
        distances, _ = self.nearest(vectors, k)
        centre = pairwise_distances_argmin_min(vectors, self.centres)[1]
        return np.asarray((distances.mean(1) + centre) / 2, dtype=np.float32)

    def novelty_if_new(self, vectors: Floats, taxa: npt.NDArray[np.object_]) -> Floats:
        """How strange each vector would be, were the taxon given for it not in the gallery."""
        found = np.zeros(len(vectors), np.float32)
        for taxon in np.unique(taxa.astype(str)):
            of, others = taxa == taxon, np.flatnonzero(self.taxa != taxon)
            if len(others):
                ids = [self.ids[i] for i in others]
                without = Gallery(ids, self.taxa[others], self.vectors[others])
                found[of] = without.novelty(vectors[of])
        return found

    def with_more(
        self, ids: Sequence[str], taxa: npt.NDArray[np.object_], vectors: Floats
    ) -> Gallery:
        """A gallery with further references: how a species is learnt without training."""
        return Gallery(
            [*self.ids, *ids],
            np.concatenate([self.taxa, taxa]),
            np.concatenate([self.vectors, vectors]),
        )

    def save(self, path: Path) -> None:
        """Write as Parquet: id, taxon, vector."""
        write_vectors(path, self.ids, self.vectors, {"taxon": list(self.taxa)})

    @classmethod
    def load(cls, path: Path) -> Gallery:
        """Read what `save` wrote."""
        table, vectors = read_vectors(path)
        if "taxon" not in table:
            raise InputError(f"{path} names no taxa; it is no gallery.")
        return cls(table["id"].tolist(), table["taxon"].to_numpy(dtype=object), vectors)


def nearness(distances: Floats) -> Floats:
    """How much each of a query's neighbours weighs, shape (m, k): the more the nearer it is.

    exp(−4 d² / s²), with s² the mean of the query's squared distances to its k nearest.
    """
    spread = np.maximum((distances**2).mean(1, keepdims=True), 1e-12)
    return np.asarray(np.exp(-SHARPNESS * distances**2 / spread))


def thin(taxa: npt.NDArray[np.object_], most: int, seed: int) -> npt.NDArray[np.int64]:
    """Positions of at most `most` specimens of each taxon, drawn by seed, in ascending order."""
    shuffled = pd.Series(taxa).sample(frac=1, random_state=seed)
    return np.sort(shuffled.groupby(shuffled).head(most).index.to_numpy(dtype=np.int64))
