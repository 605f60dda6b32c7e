"""Search nearest vectors: exactly among up to 100,000, with an inverted file of FAISS beyond.

The inverted file (Jégou et al. 2011) groups the vectors into cells around centroids, in half
precision, and a query searches the cells nearest to it. Their number is chosen when the index is
built: the smallest that finds 99 % of the true neighbors. The distances of the candidates are
computed again from the vectors in full precision. There is never a table of all distances.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from forametric._typing import BoolArray, FloatArray, IntArray
from forametric.errors import InputError

EXACT = 100_000  # greatest number of vectors that are searched exactly
FEW = 20_000  # up to this number with scikit-learn: four times slower, but FAISS is not loaded
RECALL = 0.99  # least share of the true nearest neighbors that the cells must find
RECALL_QUERIES = 200  # vectors on which the recall is measured
CANDIDATES = 4  # candidates from the cells for each neighbor
MEASURED = 128  # queries whose distances to their candidates are measured at a time


class Index:
    """Vectors to search in, numbered in the order in which they were added.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dimensions)
    exact : int
        The greatest number of vectors that are searched exactly.
    seed : int
        Seed of the cells' centroids.

    Attributes
    ----------
    recall : float
        Share of the true ten nearest neighbors that the search finds, measured on 200 of the
        vectors when the index was built; 1 for an exact search.

    Examples
    --------
    >>> index = Index(np.eye(3, dtype=np.float32))
    >>> index.nearest(np.array([[1, 0.5, 0]], np.float32), 2)[1]
    array([[0, 1]])
    """

    def __init__(self, vectors: FloatArray, *, exact: int = EXACT, seed: int = 0) -> None:
        self._vectors = vectors  # may have free rows at the end
        self._count = len(vectors)
        self._present = np.ones(self._count, bool)
        self._exact = exact
        self._seed = seed
        self._cells: Any = None
        self.recall = 1.0
        self._grow_cells(0)

    def __len__(self) -> int:
        return int(self._present[: self._count].sum())

    def nearest(
        self, queries: FloatArray, k: int, mask: BoolArray | None = None
    ) -> tuple[FloatArray, IntArray]:
        """The k nearest vectors of each query, nearest first.

        Parameters
        ----------
        queries : ndarray of float32, shape (m, dimensions)
        mask : ndarray of bool, shape (rows so far,), optional
            Search only these rows, for instance those of one taxon or sample.

        Returns
        -------
        distances : ndarray of float32, shape (m, k)
            Euclidean.
        rows : ndarray of int64, shape (m, k)
            k is at most the number of vectors that are searched.

        Raises
        ------
        InputError
            When there are no vectors to search.
        """
        present = self._present[: self._count]
        allowed = present if mask is None else present & mask
        count = int(allowed.sum())
        if not count:
            raise InputError("there are no vectors to search.")
        k = min(k, count)
        if self._cells is None or count <= self._exact:
            return self._exactly(queries, k, allowed)
        distances, rows = self._by_cells(queries, k, self._probes, allowed)
        # If the cells of a query have too few of the allowed vectors, search all of these exactly.
        short = np.flatnonzero(~np.isfinite(distances[:, -1]))
        if len(short):
            distances[short], rows[short] = self._exactly(queries[short], k, allowed)
        return distances, rows

    def add(self, vectors: FloatArray) -> IntArray:
        """Add vectors, and return their rows. The rows of the other vectors do not change."""
        first, after = self._count, self._count + len(vectors)
        if after > len(self._vectors):  # doubled, so that many small additions cost little
            buffer = np.empty((max(after, 2 * first), self._vectors.shape[1]), np.float32)
            buffer[:first] = self._vectors[:first]
            self._vectors = buffer
            self._present = np.resize(self._present, len(buffer))
        self._vectors[first:after] = vectors
        self._present[first:after] = True
        self._count = after
        self._grow_cells(first)
        return np.arange(first, after)

    def remove(self, rows: IntArray) -> None:
        """Remove these rows; the other rows keep their numbers."""
        self._present[rows] = False
        if self._cells is not None:
            self._cells.remove_ids(np.asarray(rows, np.int64))

    def _exactly(
        self, queries: FloatArray, k: int, allowed: BoolArray
    ) -> tuple[FloatArray, IntArray]:
        all_allowed = bool(allowed.all())
        ids = np.arange(self._count) if all_allowed else np.flatnonzero(allowed)
        vectors = self._vectors[: self._count] if all_allowed else self._vectors[ids]
        if len(ids) <= FEW:
            search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(vectors)
            distances, rows = search.kneighbors(queries)
            return distances.astype(np.float32), ids[rows]
        import faiss

        # More than k, because its distances are rounded.
        queries = np.ascontiguousarray(queries, np.float32)
        _, rows = faiss.knn(queries, np.ascontiguousarray(vectors), min(k + 8, len(ids)))
        return self._measured(queries, ids[rows], k)

    def _measured(self, queries: FloatArray, rows: IntArray, k: int) -> tuple[FloatArray, IntArray]:
        """The k nearest of candidate rows, where −1 stands for no candidate (infinite distance)."""
        distances = np.full(rows.shape, np.inf, np.float32)
        for start in range(0, len(rows), MEASURED):
            part = slice(start, start + MEASURED)
            apart = self._vectors[rows[part]] - queries[part, None]
            found = np.linalg.norm(apart, axis=2)
            distances[part] = np.where(rows[part] >= 0, found, np.inf)
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(distances, order, 1), np.take_along_axis(rows, order, 1)

    def _grow_cells(self, first: int) -> None:
        """Add the rows from `first` on to the cells, which are made when there are enough rows."""
        if self._count <= self._exact:
            return
        import faiss

        if self._cells is None:
            first = 0
            number = max(1, round(self._count**0.5))
            self._cells = faiss.index_factory(self._vectors.shape[1], f"IVF{number},SQfp16")
            self._cells.cp.seed = self._seed
            sample = np.random.default_rng(self._seed).choice(
                self._count, min(self._count, 50 * number), replace=False
            )
            self._cells.train(np.ascontiguousarray(self._vectors[np.sort(sample)]))
        for start in range(first, self._count, self._exact):
            rows = np.arange(start, min(start + self._exact, self._count))
            self._cells.add_with_ids(np.ascontiguousarray(self._vectors[rows]), rows)
        if first == 0:
            self._cells.remove_ids(np.flatnonzero(~self._present[: self._count]))
            self._probes, self.recall = self._enough_probes()

    def _enough_probes(self) -> tuple[int, float]:
        """The number of cells to search for each query, and the recall that it gives."""
        present = self._present[: self._count]
        rng = np.random.default_rng(self._seed + 1)
        count = int(present.sum())
        sample = rng.choice(np.flatnonzero(present), min(RECALL_QUERIES, count), replace=False)
        queries, k = self._vectors[np.sort(sample)], min(10, count)
        true = self._exactly(queries, k, present)[1]
        probes = 4
        while True:
            probes = min(2 * probes, self._cells.nlist)
            rows = self._by_cells(queries, k, probes, present)[1]
            hits = [len(np.intersect1d(a, b)) for a, b in zip(true, rows, strict=True)]
            recall = float(np.mean(hits)) / k
            if recall >= RECALL or probes == self._cells.nlist:
                return probes, recall

    def _by_cells(
        self, queries: FloatArray, k: int, probes: int, allowed: BoolArray
    ) -> tuple[FloatArray, IntArray]:
        """As `nearest`, with infinite distances if the cells have fewer than k vectors."""
        import faiss

        settings = faiss.SearchParametersIVF(nprobe=probes)
        if not np.array_equal(allowed, self._present[: self._count]):
            selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
            settings.sel = selector
        _, rows = self._cells.search(
            np.ascontiguousarray(queries, np.float32), CANDIDATES * k, params=settings
        )
        return self._measured(queries, rows, k)
