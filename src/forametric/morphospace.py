"""The morphospace: a flat map of vectors that keeps still while new specimens are placed in it.

The layout is t-SNE (van der Maaten & Hinton 2008) as openTSNE computes it (Poličar et al. 2024,
J. Stat. Softw. 109(3)), begun from the first two principal components so that the large-scale
arrangement means something (Kobak & Berens 2019). Beyond 40,000 specimens, so many representatives
are laid out and the others placed among them. Distances on the map are for looking at: identify and
cluster in the vectors, never in the map.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.neighbors import NearestNeighbors

from forametric.errors import InputError
from forametric.files import atomic_path
from forametric.gallery import nearness
from forametric.index import Index
from forametric.progress import bar

FORMAT_VERSION = 1
SMALLEST = 3  # fewer specimens make no map
SMALLEST_TSNE = 10  # below this the map is the plain principal components
MOST_LAID_OUT = 40_000  # of more specimens, so many representatives are laid out
PLACED_AT_ONCE = 10_000
PLACING_PERPLEXITY = 5.0  # neighbours weighed when a new specimen is placed: openTSNE's default


@dataclass(frozen=True)
class Morphospace:
    """A fitted map of N specimens.

    ids
        N identifiers, in the order of the rows below.
    vectors
        (N, D) float32, what was laid out; kept so that new specimens can be placed.
    coordinates
        (N, 2) float32, the map. They have no unit.
    seed
        Everything random follows from it.
    perplexity
        The perplexity that was used, after `perplexity_for` lowered it.
    laid_out
        (N,) bool, which specimens the layout was made of; the others were placed among them.

    >>> import numpy as np
    >>> space = Morphospace.fit(np.eye(5, dtype=np.float32), list("abcde"))
    >>> space.coordinates.shape
    (5, 2)
    """

    ids: list[str]
    vectors: NDArray[np.float32]
    coordinates: NDArray[np.float32]
    seed: int
    perplexity: float
    laid_out: NDArray[np.bool_]

    @classmethod
    def fit(
        cls,
        vectors: ArrayLike,
        ids: Sequence[str] | None = None,
        *,
        seed: int = 0,
        perplexity: float = 30.0,
    ) -> Morphospace:
        """Lay out (N, D) vectors; `ids` are "0", "1", … when not given.

        t-SNE from a PCA start. The perplexity is lowered for small N (`perplexity_for`); below 10
        specimens the map is the first two principal components themselves. Above 40,000, so many
        drawn by `seed` are laid out; each of the others gets the mean place of the five of them
        nearest to it, the nearer weighing more.
        """
        rows = _checked(vectors)
        names = [str(i) for i in (range(len(rows)) if ids is None else ids)]
        if len(names) != len(rows):
            raise InputError(f"{len(rows)} vectors came with {len(names)} ids; give one id each.")
        if len(rows) < SMALLEST:
            raise InputError(f"A map needs at least {SMALLEST} specimens; {len(rows)} were given.")
        if not np.ptp(rows, axis=0).any():
            raise InputError("All vectors are the same, so there is nothing to lay out.")
        laid_out = _representatives(len(rows), seed)
        chosen = rows if laid_out.all() else rows[laid_out]
        used = perplexity_for(len(chosen), perplexity)
        start = _principal(chosen, chosen)
        layout = _tsne(chosen, start, seed, used) if len(chosen) >= SMALLEST_TSNE else start
        coordinates = np.zeros((len(rows), 2), np.float32)
        coordinates[laid_out] = layout
        others = np.flatnonzero(~laid_out)
        with bar("placing" if len(others) else "", len(others)) as advance:
            index = Index(chosen)
            for first in range(0, len(others), PLACED_AT_ONCE):
                some = others[first : first + PLACED_AT_ONCE]
                coordinates[some] = _among_neighbours(index, layout, rows[some])
                advance(len(some))
        return cls(names, rows, coordinates, seed, used, laid_out)

    def place(self, vectors: ArrayLike) -> NDArray[np.float32]:
        """Where (M, D) new vectors lie on the map: (M, 2) float32. The old points do not move.

        Each new point is optimised against the old ones only, so its place does not depend on what
        else is placed with it. On a map of fewer than 10 specimens it is projected onto the same
        principal components. A point that the optimiser throws off the map gets the mean
        coordinates of its five nearest neighbours instead.
        """
        rows = _checked(vectors)
        if rows.shape[1] != self.vectors.shape[1]:
            raise InputError(
                f"The map was made of vectors of length {self.vectors.shape[1]}; "
                f"the new ones have length {rows.shape[1]}."
            )
        if len(rows) == 0:
            return np.zeros((0, 2), np.float32)
        if len(self.ids) < SMALLEST_TSNE:
            return _principal(self.vectors, rows).astype(np.float32)
        import openTSNE

        # openTSNE centres its copy of the map on its mid-range and answers in that frame.
        old = self.coordinates[self.laid_out].astype(np.float64)
        middle = (old.max(axis=0) + old.min(axis=0)) / 2
        embedding = openTSNE.TSNEEmbedding(
            old - middle,
            _affinities(self.vectors[self.laid_out], self.perplexity),
            random_state=self.seed,
            n_jobs=_jobs(len(old)),
            # Without a fixed method a large batch would be computed otherwise than a small one,
            # and only Barnes-Hut (bh) needs no grid that new points could fall outside of.
            negative_gradient_method="bh",
        )
        neighbours = min(PLACING_PERPLEXITY, self.perplexity)
        placed = middle + np.asarray(embedding.transform(rows, perplexity=neighbours))
        return self._kept_on_map(rows, placed.astype(np.float32))

    def near(self, vectors: ArrayLike) -> NDArray[np.float32]:
        """As `place`, but at once: the mean place of each vector's five nearest, (M, 2) float32."""
        rows = _checked(vectors)
        return _among_neighbours(self._index, self.coordinates, rows).astype(np.float32)

    @cached_property
    def _index(self) -> Index:
        return Index(self.vectors)

    def _kept_on_map(
        self, rows: NDArray[np.float32], placed: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Replace coordinates further than a tenth outside the map by their neighbours' mean."""
        low, high = self.coordinates.min(0), self.coordinates.max(0)
        margin = 0.1 * (high - low).max()
        inside = ((placed >= low - margin) & (placed <= high + margin)).all(1)
        for i in np.flatnonzero(~inside):
            distance = ((self.vectors - rows[i]) ** 2).sum(1)
            placed[i] = self.coordinates[np.argsort(distance, kind="stable")[:5]].mean(0)
        return placed

    def neighbours_kept(self, k: int = 10, most: int = 1000) -> dict[str, float]:
        """How much of the vectors' neighbourhoods the map keeps.

        For `most` specimens drawn by the seed: which share of the k nearest in vectors are among
        the k nearest on the map (Kobak & Berens 2019, "KNN"), for those that were `laid_out` and
        those that were `placed`. Chance would give k / N.
        """
        k = min(k, len(self.ids) - 1)
        in_vectors = Index(self.vectors, exact=len(self.vectors))
        on_map = NearestNeighbors(n_neighbors=k + 1, algorithm="kd_tree").fit(self.coordinates)
        found = {}
        for word, of in (("laid_out", self.laid_out), ("placed", ~self.laid_out)):
            rows = np.flatnonzero(of)
            if not len(rows):
                continue
            rng = np.random.default_rng(self.seed)
            tried = np.sort(rng.choice(rows, min(most, len(rows)), replace=False))
            true = in_vectors.nearest(self.vectors[tried], k + 1)[1]
            seen = on_map.kneighbors(self.coordinates[tried], return_distance=False)
            hits = [
                len((set(a) & set(b)) - {i})
                for i, a, b in zip(tried, true.tolist(), seen.tolist(), strict=True)
            ]
            found[word] = round(float(np.mean(hits)) / k, 4)
        return found

    def save(self, path: Path) -> None:
        """Write one Parquet file: id, x, y, laid_out, vector; its metadata: seed and perplexity."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        width = self.vectors.shape[1]
        flat = pa.array(np.ascontiguousarray(self.vectors).ravel(), pa.float32())
        table = pa.table(
            {
                "id": pa.array(self.ids, pa.string()),
                "x": pa.array(np.ascontiguousarray(self.coordinates[:, 0])),
                "y": pa.array(np.ascontiguousarray(self.coordinates[:, 1])),
                "laid_out": pa.array(self.laid_out),
                "vector": pa.FixedSizeListArray.from_arrays(flat, width),
            }
        )
        about = {"version": FORMAT_VERSION, "seed": self.seed, "perplexity": self.perplexity}
        table = table.replace_schema_metadata({"forametric.morphospace": json.dumps(about)})
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")

    @classmethod
    def load(cls, path: Path) -> Morphospace:
        """Read what `save` wrote; `InputError` when it is absent, damaged or of another version."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not path.is_file():
            raise InputError(f"{path} does not exist.")
        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path} is not a readable Parquet file: {reason}") from None
        about = _metadata(table.schema.metadata or {}, path)
        try:
            column = table["vector"].combine_chunks()
            space = cls(
                ids=table["id"].to_pylist(),
                vectors=np.array(column.flatten(), np.float32).reshape(-1, column.type.list_size),
                coordinates=np.column_stack([table["x"], table["y"]]).astype(np.float32),
                seed=int(about["seed"]),
                perplexity=float(about["perplexity"]),
                laid_out=(  # written since maps of more than 40,000 specimens
                    table["laid_out"].to_numpy()
                    if "laid_out" in table.column_names
                    else np.ones(len(table), bool)
                ),
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is a damaged map: {error}") from None
        whole = len(space.ids) == len(space.vectors) == len(space.coordinates) >= SMALLEST
        finite = np.isfinite(space.vectors).all() and np.isfinite(space.coordinates).all()
        if not whole or not finite or None in space.ids:
            raise InputError(f"{path} is a damaged map: rows are missing or not finite numbers.")
        return space

    def plot(
        self,
        path: Path,
        taxa: Sequence[str] | None = None,
        images: Callable[[int], NDArray[np.uint8]] | None = None,
        *,
        title: str | None = None,
        placed: tuple[ArrayLike, Sequence[str] | None] | None = None,
    ) -> None:
        """Draw the map for print: PNG, PDF or SVG by the suffix of `path`.

        taxa
            N names; an empty name is an unnamed specimen, drawn grey.
        images
            Gives the square (S, S, 3) uint8 picture of specimen i.
        placed
            What `place` gave, with the names of those specimens: drawn as open rings.
        """
        from forametric.mapfigure import draw_map

        draw_map(path, self.coordinates, taxa, images, title=title, placed=placed, seed=self.seed)

    def write_html(
        self,
        path: Path,
        taxa: Sequence[str] | None,
        images: Callable[[int], NDArray[np.uint8]] | None,
        *,
        title: str,
    ) -> None:
        """Write the map as one page to explore in a browser, which needs no network."""
        from forametric.mapfigure import write_page

        write_page(path, self.coordinates, self.ids, taxa, images, title=title, seed=self.seed)


def perplexity_for(count: int, wanted: float = 30.0) -> float:
    """The perplexity for `count` specimens: at most (count − 1) / 3, as t-SNE demands.

    >>> perplexity_for(1000), perplexity_for(31), perplexity_for(4)
    (30.0, 10.0, 1.0)
    """
    if not wanted >= 1:
        raise InputError(f"The perplexity must be 1 or more, not {wanted}.")
    return float(max(1.0, min(wanted, (count - 1) / 3)))


def _checked(vectors: ArrayLike) -> NDArray[np.float32]:
    """The vectors as contiguous (N, D) float32, all finite."""
    try:
        rows = np.ascontiguousarray(vectors, dtype=np.float32)
    except (ValueError, TypeError):
        raise InputError("Vectors must be numbers, all of the same length.") from None
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise InputError(f"Vectors must be a table of rows (N, D), not of shape {rows.shape}.")
    broken = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if broken.size:
        raise InputError(
            f"{broken.size} of {len(rows)} vectors hold NaN or infinity, first row {broken[0]}."
        )
    return rows


def _principal(vectors: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """`rows` on the first two principal components of `vectors`: (M, 2), signs fixed."""
    centre = vectors.mean(axis=0, dtype=np.float64)
    centred = vectors - centre
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :2]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
    flat = np.asarray((rows - centre) @ (axes * np.where(largest < 0, -1.0, 1.0)), np.float64)
    return np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))


def _jobs(count: int) -> int:
    """Threads: one for few specimens, where waiting for each other costs more than it saves."""
    return 1 if count < 3000 else os.cpu_count() or 1


def _affinities(vectors: NDArray[np.float32], perplexity: float) -> Any:
    """openTSNE's neighbour graph, of exact neighbours: the same whenever it is made."""
    import openTSNE

    index = Index(vectors, exact=len(vectors))
    # One more is asked for, since each vector is nearest to itself.
    count = min(len(vectors) - 1, int(3 * perplexity))
    distances, rows = index.nearest(vectors, count + 1)
    itself = rows == np.arange(len(rows))[:, None]
    itself[~itself.any(1), -1] = True  # copies of one picture may have pushed it out
    graph = openTSNE.nearest_neighbors.PrecomputedNeighbors(
        rows[~itself].reshape(-1, count), distances[~itself].reshape(-1, count).astype(np.float64)
    )

    def query(new: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        distances, rows = index.nearest(np.asarray(new, np.float32), k)
        return rows, distances.astype(np.float64)

    graph.query = query
    return openTSNE.affinity.PerplexityBasedNN(
        knn_index=graph, perplexity=perplexity, n_jobs=_jobs(len(vectors))
    )


def _representatives(count: int, seed: int) -> NDArray[np.bool_]:
    """Which of so many specimens are laid out: all, or 40,000 drawn by the seed."""
    if count <= MOST_LAID_OUT:
        return np.ones(count, bool)
    chosen = np.zeros(count, bool)
    chosen[np.random.default_rng(seed).choice(count, MOST_LAID_OUT, replace=False)] = True
    return chosen


def _among_neighbours(
    index: Index, layout: NDArray[Any], vectors: NDArray[np.float32]
) -> NDArray[np.float64]:
    """The mean place of each vector's five nearest in the layout, weighed by their nearness."""
    distances, rows = index.nearest(vectors, 5)
    weights = nearness(distances)
    weights /= weights.sum(1, keepdims=True)
    return np.asarray((layout[rows] * weights[:, :, None]).sum(1), np.float64)


def _tsne(
    vectors: NDArray[np.float32], start: NDArray[np.float64], seed: int, perplexity: float
) -> NDArray[np.float64]:
    """The (N, 2) layout, begun from `start` scaled down to a spread of 0.0001, with 1 % jitter."""
    import openTSNE

    start = start / start[:, 0].std()
    start = start + np.random.default_rng(seed).normal(0, 0.01, start.shape)
    optimiser = openTSNE.TSNE(
        perplexity=perplexity,
        initialization=start * 1e-4,
        random_state=seed,
        n_jobs=_jobs(len(vectors)),
    )
    layout = optimiser.fit(affinities=_affinities(vectors, perplexity))
    return np.asarray(layout, dtype=np.float64)


def _metadata(metadata: dict[bytes, bytes], path: Path) -> dict[str, Any]:
    """The `forametric.morphospace` entry of the schema, when its version is known."""
    try:
        about = json.loads(metadata[b"forametric.morphospace"])
        version = about["version"]
    except (KeyError, ValueError, TypeError):
        raise InputError(f"{path} is a Parquet file, but not a Forametric map.") from None
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path} is a map of format {version}; this Forametric reads format {FORMAT_VERSION}."
        )
    return dict(about)
