"""The reference set: labelled vectors that identification compares with.

Adding a species is adding rows.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import euclidean_distances, pairwise_distances_argmin_min

from forametric._typing import FloatArray, IntArray, NameArray
from forametric.data.embeddings import read_embedded, write_vectors
from forametric.errors import InputError
from forametric.identification.index import Index

K = 5  # nearest references that vote
# How much more a near vote counts than a far one. Of 1, 2, 4 and 8 the best on validation
# specimens of pollen grains over eight models.
KERNEL_SHARPNESS = 4.0


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """Reference specimens.

    Attributes
    ----------
    ids : list of str
    taxa : ndarray of str, shape (n,)
    vectors : ndarray of float32, shape (n, dimensions)
    statistics : ndarray of float32, shape (n, 9) or (n, 0)
        `image_statistics`; NaN for single references whose image they do not come with, no columns
        where they are not known at all.

    Examples
    --------
    >>> taxa = np.array(["a", "b"], dtype=object)
    >>> references = ReferenceSet(["1", "2"], taxa, np.eye(2, dtype=np.float32))
    >>> references.kneighbors(np.array([[1, 0]], np.float32), 1)[1].tolist()
    [[0]]
    """

    ids: list[str]
    taxa: NameArray
    vectors: FloatArray
    statistics: FloatArray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    # The last search and the last distances to centroids, because scores, novelty, nearest
    # references and reasons need those of the same vectors.
    _last: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.taxa) == len(self.vectors):
            raise InputError("a reference set needs one id and one taxon for each vector.")
        if not len(self.ids):
            raise InputError("a reference set needs at least one specimen.")
        if len(self.statistics) != len(self.ids):
            object.__setattr__(self, "statistics", np.zeros((len(self.ids), 0), np.float32))

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"ReferenceSet({len(self)} specimens of {len(self.classes_)} taxa)"

    @cached_property
    def classes_(self) -> list[str]:
        """The taxa, in alphabetical order."""
        return sorted({str(t) for t in self.taxa})

    @cached_property
    def rows_of(self) -> dict[str, IntArray]:
        """The positions of the references of each taxon."""
        of = np.searchsorted(self.classes_, self.taxa.astype(str))
        order = np.argsort(of, kind="stable")
        starts = np.searchsorted(of[order], np.arange(len(self.classes_) + 1))
        return {t: order[a:b] for t, a, b in zip(self.classes_, starts, starts[1:], strict=False)}

    def kneighbors(self, vectors: FloatArray, n_neighbors: int = K) -> tuple[FloatArray, IntArray]:
        """The nearest references of each vector, nearest first.

        Returns
        -------
        distances : ndarray of float32, shape (m, n_neighbors)
            Euclidean.
        rows : ndarray of int64, shape (m, n_neighbors)
            Positions in the reference set; n_neighbors is lowered to its size.
        """
        k = min(n_neighbors, len(self.ids))
        if vectors.flags.writeable:  # it may change in place, so the search is not remembered
            return self._index.nearest(vectors, k)
        last = self._last.get("search")  # read once: another thread may replace it
        if last is None or last[0]() is not vectors or last[1] != k:
            result = self._index.nearest(vectors, k)
            last = self._last["search"] = (weakref.ref(vectors), k, result)
        distances, rows = last[2]
        return distances.copy(), rows.copy()

    def neighbor_statistics(self, vectors: FloatArray, n_neighbors: int = K) -> FloatArray:
        """The mean image statistics of the nearest references of each vector, shape (m, 9 or 0).

        NaN where none of them has any.
        """
        width = self.statistics.shape[1]
        sums = np.zeros((len(vectors), width), np.float32)
        if not width:
            return sums
        counts = np.zeros_like(sums)
        for neighbor in self.kneighbors(vectors, n_neighbors)[1].T:
            values = self.statistics[neighbor]
            counts += np.isfinite(values)
            sums += np.nan_to_num(values)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.float32(np.nan))

    def votes(self, vectors: FloatArray, n_neighbors: int = K) -> FloatArray:
        """Share of the nearest references' votes for each of `classes_`, shape (m, classes).

        Near votes count more (`neighbor_weights`). These are scores, not probabilities.
        """
        distances, rows = self.kneighbors(vectors, n_neighbors)
        numbers = np.searchsorted(self.classes_, self.taxa.astype(str))
        votes = neighbor_weights(distances)
        scores = np.zeros((len(vectors), len(self.classes_)), np.float32)
        queries = np.arange(len(vectors))
        for column in range(rows.shape[1]):
            np.add.at(scores, (queries, numbers[rows[:, column]]), votes[:, column])
        return np.asarray(scores / scores.sum(1, keepdims=True), dtype=np.float32)

    def predict(self, vectors: FloatArray, n_neighbors: int = K) -> NameArray:
        """The taxon with the most votes for each vector."""
        names = np.asarray(self.classes_, dtype=object)
        return np.asarray(names[self.votes(vectors, n_neighbors).argmax(1)])

    @cached_property
    def _index(self) -> Index:
        return Index(self.vectors)

    @cached_property
    def centroids(self) -> FloatArray:
        """Each taxon's mean direction at its vectors' mean length, shape (classes, dimensions)."""
        names = np.asarray(self.classes_)
        of = np.searchsorted(names, self.taxa.astype(str))
        sums = np.zeros((len(names), self.vectors.shape[1]))
        np.add.at(sums, of, self.vectors)
        lengths = np.bincount(of, np.linalg.norm(self.vectors, axis=1)) / np.bincount(of)
        norms = np.maximum(np.linalg.norm(sums, axis=1), 1e-12)
        return np.asarray(sums * (lengths / norms)[:, None], dtype=np.float32)

    def centroid_distances(self, vectors: FloatArray) -> FloatArray:
        """The squared distance of each vector to each taxon's centroid, shape (m, classes)."""
        last = self._last.get("centroids")  # as in `kneighbors`
        if last is not None and last[0]() is vectors:
            return np.asarray(last[1])
        squared = euclidean_distances(vectors, self.centroids, squared=True).astype(np.float32)
        if not vectors.flags.writeable:
            squared.flags.writeable = False
            self._last["centroids"] = (weakref.ref(vectors), squared)
        return np.asarray(squared)

    def novelty(self, vectors: FloatArray, n_neighbors: int = K) -> FloatArray:
        """How unlike the references each vector is, shape (m,): larger is more novel.

        The mean of two distances: to the nearest taxon's centroid, and (averaged) to the nearest
        references. Of ten such scores the best in one and close to the best in the other of two
        models made for choosing it, at telling held-out species of pollen grains from known ones.
        """
        distances, _ = self.kneighbors(vectors, n_neighbors)
        to_centroid = pairwise_distances_argmin_min(vectors, self.centroids)[1]
        return np.asarray((distances.mean(1) + to_centroid) / 2, dtype=np.float32)

    def novelty_leave_one_out(
        self, rows: IntArray, n_neighbors: int = K
    ) -> tuple[FloatArray, IntArray]:
        """The novelty that some references would have if they were not among the references.

        Returns
        -------
        novelty : ndarray of float32, shape (m,)
        rows : ndarray of int64, shape (m,)
            Those of the rows whose taxon has another reference: without one they would be unknown.
        """
        names, of = np.unique(self.taxa.astype(str), return_inverse=True)
        counts = np.bincount(of)
        rows = rows[counts[of[rows]] > 1]
        if not len(rows):
            return np.zeros(0, np.float32), rows
        vectors = self.vectors[rows]
        distances, nearest = self.kneighbors(vectors, n_neighbors + 1)
        others = nearest != rows[:, None]
        others[others.all(1), -1] = False  # copies of a reference may be found in its place
        kept = distances[others].reshape(len(rows), -1)
        squared = euclidean_distances(vectors, self.centroids, squared=True)
        # The centroid without one reference: the mean direction and length of the others.
        sums = np.zeros((len(names), self.vectors.shape[1]))
        np.add.at(sums, of, self.vectors)
        lengths = np.bincount(of, np.linalg.norm(self.vectors, axis=1))
        own = of[rows]
        left = sums[own] - vectors
        left /= np.maximum(np.linalg.norm(left, axis=1, keepdims=True), 1e-12)
        left *= ((lengths[own] - np.linalg.norm(vectors, axis=1)) / (counts[own] - 1))[:, None]
        squared[np.arange(len(rows)), own] = ((vectors - left) ** 2).sum(1)
        to_centroid = np.sqrt(squared.min(1))
        return np.asarray((kept.mean(1) + to_centroid) / 2, dtype=np.float32), rows

    def leave_class_out(
        self, vectors: FloatArray, taxa: NameArray
    ) -> tuple[FloatArray, FloatArray]:
        """The novelty and the neighbors' statistics without the references of the own taxon.

        Returns
        -------
        novelty : ndarray of float32, shape (m,)
            0 if there are no other references.
        neighbor_statistics : ndarray of float32, shape (m, 9 or 0)
            NaN where there are none.
        """
        novelty = np.zeros(len(vectors), np.float32)
        statistics = np.full((len(vectors), self.statistics.shape[1]), np.nan, np.float32)
        for taxon in np.unique(taxa.astype(str)):
            of, others = taxa == taxon, np.flatnonzero(self.taxa != taxon)
            if len(others):
                ids = [self.ids[i] for i in others]
                taken = self.taxa[others], self.vectors[others], self.statistics[others]
                without = ReferenceSet(ids, *taken)
                some = vectors[of]
                some.flags.writeable = False  # searched once for both
                novelty[of] = without.novelty(some)
                statistics[of] = without.neighbor_statistics(some)
        return novelty, statistics

    def add(
        self,
        ids: Sequence[str],
        taxa: NameArray,
        vectors: FloatArray,
        statistics: FloatArray | None = None,
    ) -> ReferenceSet:
        """A reference set with further specimens: how a species is added without training.

        If neighbors of some vectors were searched last, they are compared with the new specimens
        only: to search the same vectors again takes no time.
        """
        together = ReferenceSet(
            [*self.ids, *ids],
            np.concatenate([self.taxa, taxa]),
            np.concatenate([self.vectors, vectors]),
            _joined(self.statistics, statistics, len(vectors)),
        )
        last = self._last.get("search")
        queries = last[0]() if last else None
        if last and queries is not None and len(vectors) and last[1] <= len(self):
            k, (distances, rows) = last[1:]
            more_distances, more_rows = Index(vectors).nearest(queries, k)
            distances = np.hstack([distances, more_distances])
            rows = np.hstack([rows, more_rows + len(self)])
            order = np.argsort(distances, axis=1, kind="stable")[:, :k]
            found = np.take_along_axis(distances, order, 1), np.take_along_axis(rows, order, 1)
            together._last["search"] = (last[0], k, found)
        return together

    def save(self, path: Path) -> None:
        """Write as Parquet: id, taxon, vector, image_statistics."""
        taxa = {"taxon": list(self.taxa)}
        write_vectors(path, self.ids, self.vectors, taxa, statistics=self.statistics)

    @classmethod
    def load(cls, path: Path) -> ReferenceSet:
        """Read what `save` wrote; `InputError` if it is damaged or lacks an id or a taxon."""
        table, vectors, _, statistics = read_embedded(path)
        if "taxon" not in table or (table["taxon"].fillna("") == "").any():
            raise InputError(f"{path} has references without a taxon.")
        taxa = table["taxon"].to_numpy(dtype=object)
        return cls(table["id"].tolist(), taxa, vectors, statistics)


def _joined(old: FloatArray, new: FloatArray | None, count: int) -> FloatArray:
    """The statistics of references and of further ones, which are NaN where they are missing."""
    if new is None or new.shape[1] != old.shape[1]:
        new = np.full((count, old.shape[1]), np.nan, np.float32)
    return np.concatenate([old, new])


def neighbor_weights(distances: FloatArray) -> FloatArray:
    """The weight of each of a query's neighbors, shape (m, k): near ones count more.

    exp(−4 d² / s²), where s² is the mean of the query's squared distances to its neighbors.
    """
    spread = np.maximum((distances**2).mean(1, keepdims=True), 1e-12)
    return np.asarray(np.exp(-KERNEL_SHARPNESS * distances**2 / spread))


def subsample_per_class(taxa: NameArray, most: int, seed: int) -> IntArray:
    """Positions of at most `most` specimens of each taxon, drawn by seed, in ascending order."""
    shuffled = pd.Series(taxa).sample(frac=1, random_state=seed)
    return np.sort(shuffled.groupby(shuffled).head(most).index.to_numpy(dtype=np.int64))
