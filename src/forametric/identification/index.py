"""Nearest vectors among many: exactly among up to 100,000, by FAISS's cells beyond.

There is never a table of all distances. Beyond the limit the vectors lie in cells around centroids
(an inverted file, Jégou et al. 2011), rounded to half precision, and a query looks into the cells
nearest to it. How many cells is settled when the index is built: as few as find 99 % of the true
neighbours. What FAISS finds is measured again with the vectors themselves, and put in order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import NearestNeighbors

from forametric.errors import InputError

EXACT = 100_000  # up to so many vectors are specimen_index one by one
FEW = 20_000  # up to so many by scikit-learn: FAISS, four times as fast, is not even loaded
RECALL = 0.99  # least share of the true nearest neighbours that the cells must find
TRIED = 200  # vectors that the recall is measured with
MEASURED = 4  # so many times k candidates from the cells are measured again
Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


class Index:
    """Vectors to be specimen_index, known by their row: the order in which they came.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dimensions)
    exact : int
        Up to so many vectors are specimen_index one by one.
    seed : int
        Of the centroids of the cells.

    Attributes
    ----------
    recall : float
        Share of the true ten nearest neighbours that were found, over 200 of the vectors
        themselves, when the index was built; 1 where the search is exact.

    Examples
    --------
    >>> index = Index(np.eye(3, dtype=np.float32))
    >>> index.nearest(np.array([[1, 0.5, 0]], np.float32), 2)[1]
    array([[0, 1]])
    """

    def __init__(self, vectors: Floats, *, exact: int = EXACT, seed: int = 0) -> None:
        self._vectors = vectors  # may have room behind the last row, for more to come
        self._count = len(vectors)
        self._there = np.ones(self._count, bool)
        self._exact = exact
        self._seed = seed
        self._cells: Any = None
        self.recall = 1.0
        self._grow_cells(0)

    def __len__(self) -> int:
        return int(self._there[: self._count].sum())

    def nearest(
        self, queries: Floats, k: int, among: npt.NDArray[np.bool_] | None = None
    ) -> tuple[Floats, Rows]:
        """The k nearest vectors of each query, nearest first.

        Parameters
        ----------
        queries : ndarray of float32, shape (m, dimensions)
        among : ndarray of bool, shape (rows so far,), optional
            Look only among these rows: those of a taxon, of a sample.

        Returns
        -------
        distances : ndarray of float32, shape (m, k)
            Euclidean.
        rows : ndarray of int64, shape (m, k)
            k is lowered to how many vectors there are to look among.

        Raises
        ------
        InputError
            When there are none.
        """
        there = self._there[: self._count]
        allowed = there if among is None else there & among
        number = int(allowed.sum())
        if not number:
            raise InputError("there are no vectors to search among.")
        k = min(k, number)
        if self._cells is None or number <= self._exact:
            return self._exactly(queries, k, allowed)
        distances, rows = self._by_cells(queries, k, self._probes, allowed)
        # A query whose cells hold too few allowed vectors looks at all of them.
        short = np.flatnonzero(~np.isfinite(distances[:, -1]))
        if len(short):
            distances[short], rows[short] = self._exactly(queries[short], k, allowed)
        return distances, rows

    def add(self, vectors: Floats) -> Rows:
        """Put in more vectors, and say which rows they are. What is there stays as it is."""
        first, after = self._count, self._count + len(vectors)
        if after > len(self._vectors):  # doubled, so that many small additions cost little
            room = np.empty((max(after, 2 * first), self._vectors.shape[1]), np.float32)
            room[:first] = self._vectors[:first]
            self._vectors = room
            self._there = np.resize(self._there, len(room))
        self._vectors[first:after] = vectors
        self._there[first:after] = True
        self._count = after
        self._grow_cells(first)
        return np.arange(first, after)

    def remove(self, rows: Rows) -> None:
        """Take out these rows; the others keep their numbers."""
        self._there[rows] = False
        if self._cells is not None:
            self._cells.remove_ids(np.asarray(rows, np.int64))

    def _exactly(
        self, queries: Floats, k: int, allowed: npt.NDArray[np.bool_]
    ) -> tuple[Floats, Rows]:
        everything = bool(allowed.all())
        chosen = np.arange(self._count) if everything else np.flatnonzero(allowed)
        vectors = self._vectors[: self._count] if everything else self._vectors[chosen]
        if len(chosen) <= FEW:
            search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(vectors)
            distances, rows = search.kneighbors(queries)
            return distances.astype(np.float32), chosen[rows]
        import faiss

        # A few more than wanted, since its distances are rounded.
        queries = np.ascontiguousarray(queries, np.float32)
        _, rows = faiss.knn(queries, np.ascontiguousarray(vectors), min(k + 8, len(chosen)))
        return self._measured(queries, chosen[rows], k)

    def _measured(self, queries: Floats, rows: Rows, k: int) -> tuple[Floats, Rows]:
        """The k nearest of candidate rows; a row of −1 is none, and infinitely far."""
        distances = np.full(rows.shape, np.inf, np.float32)
        for query, found, place in zip(queries, rows, distances, strict=True):
            real = found >= 0
            place[real] = np.linalg.norm(self._vectors[found[real]] - query, axis=1)
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(distances, order, 1), np.take_along_axis(rows, order, 1)

    def _grow_cells(self, first: int) -> None:
        """Put the rows from `first` on into cells, which are made when there are enough rows."""
        if self._count <= self._exact:
            return
        import faiss

        if self._cells is None:
            first = 0
            number = max(1, round(self._count**0.5))
            self._cells = faiss.index_factory(self._vectors.shape[1], f"IVF{number},SQfp16")
            self._cells.cp.seed = self._seed
            shown = np.random.default_rng(self._seed).choice(
                self._count, min(self._count, 50 * number), replace=False
            )
            self._cells.train(np.ascontiguousarray(self._vectors[np.sort(shown)]))
        for start in range(first, self._count, self._exact):
            rows = np.arange(start, min(start + self._exact, self._count))
            self._cells.add_with_ids(np.ascontiguousarray(self._vectors[rows]), rows)
        if first == 0:
            self._cells.remove_ids(np.flatnonzero(~self._there[: self._count]))
            self._probes, self.recall = self._enough_probes()

    def _enough_probes(self) -> tuple[int, float]:
        """In how many cells to look, and the recall that this gives."""
        there = self._there[: self._count]
        rng = np.random.default_rng(self._seed + 1)
        tried = rng.choice(np.flatnonzero(there), min(TRIED, int(there.sum())), replace=False)
        queries, k = self._vectors[np.sort(tried)], min(10, int(there.sum()))
        true = self._exactly(queries, k, there)[1]
        probes = 4
        while True:
            probes = min(2 * probes, self._cells.nlist)
            found = self._by_cells(queries, k, probes, there)[1]
            hits = [len(np.intersect1d(a, b)) for a, b in zip(true, found, strict=True)]
            recall = float(np.mean(hits)) / k
            if recall >= RECALL or probes == self._cells.nlist:
                return probes, recall

    def _by_cells(
        self, queries: Floats, k: int, probes: int, allowed: npt.NDArray[np.bool_]
    ) -> tuple[Floats, Rows]:
        """As `nearest`; infinite distances where the cells hold fewer than k."""
        import faiss

        settings = faiss.SearchParametersIVF(nprobe=probes)
        if not np.array_equal(allowed, self._there[: self._count]):
            chosen = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
            settings.sel = chosen
        _, rows = self._cells.search(
            np.ascontiguousarray(queries, np.float32), MEASURED * k, params=settings
        )
        return self._measured(queries, rows, k)
