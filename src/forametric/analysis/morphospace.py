"""The morphospace: a map of embeddings that stays fixed while new specimens are placed in it.

The layout is t-SNE (van der Maaten & Hinton 2008) as openTSNE computes it (Poličar et al. 2024,
J. Stat. Softw. 109(3)), started from the first two principal components so that the large-scale
arrangement is meaningful (Kobak & Berens 2019). Above 40,000 specimens, 40,000 landmarks are laid
out and the others placed among them. Distances on the map are for looking at: identify and cluster
in the vectors, never on the map.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.neighbors import NearestNeighbors

from forametric._typing import (
    AnyArray,
    BoolArray,
    Float64Array,
    FloatArray,
    IntArray,
    PathLike,
    Pixels,
)
from forametric.analysis.plots.morphospace_figure import draw_map
from forametric.analysis.plots.morphospace_page import write_map_page
from forametric.data.embeddings import Embeddings
from forametric.data.sources import list_images
from forametric.errors import InputError
from forametric.identification.index import Index
from forametric.identification.references import neighbor_weights
from forametric.images import load_image
from forametric.utils.files import atomic_path
from forametric.utils.outputs import check_file
from forametric.utils.progress import bar
from forametric.utils.ranges import COUNT, SEED
from forametric.utils.text import first_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT_VERSION = 1
MIN_SPECIMENS = 3  # fewer specimens make no map
MIN_TSNE = 10  # below this the map is the plain principal components
MAX_LANDMARKS = 40_000  # of more specimens, this many are laid out and the rest placed
PLACED_AT_ONCE = 10_000
PLACING_PERPLEXITY = 5.0  # neighbors weighed when a new specimen is placed: openTSNE's default
THUMBNAIL = 96  # px


class Morphospace:
    """A map of specimens, in the manner of a scikit-learn transformer.

    Parameters
    ----------
    seed : int
        Everything random follows from it.
    perplexity : float
        Lowered for few specimens: see `perplexity_for`.
    max_landmarks : int
        Of more specimens, this many drawn by the seed are laid out; each of the others gets the
        mean position of its five nearest landmarks, near ones weighted more.

    Attributes
    ----------
    ids_ : list of str
        The specimens, in the order of the rows below.
    vectors_ : ndarray of float32, shape (n, dimensions)
        What was laid out; kept so that new specimens can be placed.
    coordinates_ : ndarray of float32, shape (n, 2)
        The map. The coordinates have no unit.
    perplexity_ : float
        The perplexity that was used.
    is_landmark_ : ndarray of bool, shape (n,)
        Which specimens were laid out; the others were placed among them.
    table_ : DataFrame
        What is known of each specimen: `image`, `taxon`, `sample`.

    Examples
    --------
    >>> space = Morphospace(seed=0).fit(np.eye(5, dtype=np.float32), list("abcde"))
    >>> space.coordinates_.shape
    (5, 2)
    """

    ids_: list[str]
    vectors_: FloatArray
    coordinates_: FloatArray
    perplexity_: float
    is_landmark_: BoolArray
    table_: pd.DataFrame

    def __init__(
        self, *, seed: int = 0, perplexity: float = 30.0, max_landmarks: int = MAX_LANDMARKS
    ) -> None:
        SEED.check(seed=seed)
        COUNT.check(max_landmarks=max_landmarks)
        self.seed = seed
        self.perplexity = perplexity
        self.max_landmarks = max_landmarks
        self._load_image: Callable[[int], Pixels] | None = None

    def __len__(self) -> int:
        return len(self.ids_)

    def __repr__(self) -> str:
        fitted = f", {len(self)} specimens" if hasattr(self, "ids_") else ""
        return f"Morphospace(seed={self.seed}, perplexity={self.perplexity}{fitted})"

    def fit(
        self, embeddings: Embeddings | ArrayLike, ids: Sequence[str] | None = None
    ) -> Morphospace:
        """Lay out embeddings, or vectors of shape (n, dimensions); returns the map itself.

        t-SNE from a PCA start; below 10 specimens the map is the first two principal components.
        `ids` are those of the embeddings, or "0", "1", ….

        Raises
        ------
        InputError
            When there are too few vectors, all are the same, or some are not finite.
        """
        table = pd.DataFrame()
        if isinstance(embeddings, Embeddings):
            table = embeddings.table
            ids = ids or table.get("id", table["image"]).astype(str).tolist()
            self._load_image = _loader(embeddings)
        rows = _checked(
            np.asarray(embeddings) if isinstance(embeddings, Embeddings) else embeddings
        )
        names = [str(i) for i in (range(len(rows)) if ids is None else ids)]
        if len(names) != len(rows):
            raise InputError(f"{len(rows)} vectors came with {len(names)} ids; give one id each.")
        if len(rows) < MIN_SPECIMENS:
            raise InputError(f"a map needs at least {MIN_SPECIMENS} specimens, not {len(rows)}.")
        if not np.ptp(rows, axis=0).any():
            raise InputError("all vectors are the same, so there is nothing to lay out.")
        is_landmark = _landmarks(len(rows), self.max_landmarks, self.seed)
        chosen = rows if is_landmark.all() else rows[is_landmark]
        perplexity = perplexity_for(len(chosen), self.perplexity)
        start = _principal(chosen, chosen)
        layout = _tsne(chosen, start, self.seed, perplexity) if len(chosen) >= MIN_TSNE else start
        coordinates = np.zeros((len(rows), 2), np.float32)
        coordinates[is_landmark] = layout
        others = np.flatnonzero(~is_landmark)
        with bar("placing" if len(others) else "", len(others)) as advance:
            index = Index(chosen)
            for first in range(0, len(others), PLACED_AT_ONCE):
                some = others[first : first + PLACED_AT_ONCE]
                coordinates[some] = _among_neighbors(index, layout, rows[some])
                advance(len(some))
        self.ids_, self.vectors_, self.coordinates_ = names, rows, coordinates
        self.perplexity_, self.is_landmark_, self.table_ = perplexity, is_landmark, table
        return self

    def transform(
        self,
        embeddings: Embeddings | ArrayLike,
        *,
        method: Literal["optimize", "neighbors"] = "optimize",
    ) -> FloatArray:
        """The coordinates of new specimens, shape (m, 2). The old points do not move.

        With `optimize` each new point is optimised against the old ones only, so its position does
        not depend on what else is placed with it. On a map of fewer than 10 specimens it is
        projected onto the same principal components. A point that the optimiser moves off the map
        gets the mean coordinates of its five nearest neighbors instead. `neighbors` gives every
        point the mean position of its five nearest specimens, and is fast.

        Raises
        ------
        InputError
            For vectors of another length.
        """
        rows = _checked(
            np.asarray(embeddings) if isinstance(embeddings, Embeddings) else embeddings
        )
        if rows.shape[1] != self.vectors_.shape[1]:
            raise InputError(
                f"the map was made from vectors of length {self.vectors_.shape[1]}; the new ones "
                f"have length {rows.shape[1]}."
            )
        if len(rows) == 0:
            return np.zeros((0, 2), np.float32)
        if method == "neighbors":
            return _among_neighbors(self._index, self.coordinates_, rows).astype(np.float32)
        if len(self.ids_) < MIN_TSNE:
            return _principal(self.vectors_, rows).astype(np.float32)
        import openTSNE

        # openTSNE centers its copy of the map on its mid-range and answers in that frame.
        old = self.coordinates_[self.is_landmark_].astype(np.float64)
        middle = (old.max(axis=0) + old.min(axis=0)) / 2
        embedding = openTSNE.TSNEEmbedding(
            old - middle,
            _affinities(self.vectors_[self.is_landmark_], self.perplexity_),
            random_state=self.seed,
            n_jobs=_jobs(len(old)),
            # Without a fixed method a large batch would be computed differently from a small one,
            # and only Barnes-Hut (bh) needs no grid that new points could fall outside of.
            negative_gradient_method="bh",
        )
        neighbors = min(PLACING_PERPLEXITY, self.perplexity_)
        placed = middle + np.asarray(embedding.transform(rows, perplexity=neighbors))
        return self._kept_on_map(rows, placed.astype(np.float32))

    @cached_property
    def _index(self) -> Index:
        return Index(self.vectors_)

    def _kept_on_map(self, rows: FloatArray, placed: FloatArray) -> FloatArray:
        """Replace coordinates more than a tenth outside the map by their neighbors' mean."""
        low, high = self.coordinates_.min(0), self.coordinates_.max(0)
        margin = 0.1 * (high - low).max()
        inside = ((placed >= low - margin) & (placed <= high + margin)).all(1)
        for i in np.flatnonzero(~inside):
            distance = ((self.vectors_ - rows[i]) ** 2).sum(1)
            placed[i] = self.coordinates_[np.argsort(distance, kind="stable")[:5]].mean(0)
        return placed

    def knn_preservation(self, k: int = 10, most: int = 1000) -> dict[str, float]:
        """The share of each specimen's k nearest in vectors that are its k nearest on the map.

        (Kobak & Berens 2019, "KNN".) The mean over `most` specimens drawn by the seed, for
        `landmarks` and for those `placed` among them. Chance gives k / n.
        """
        k = min(k, len(self.ids_) - 1)
        in_vectors = Index(self.vectors_, exact=len(self.vectors_))
        on_map = NearestNeighbors(n_neighbors=k + 1, algorithm="kd_tree").fit(self.coordinates_)
        preserved = {}
        for word, of in (("landmarks", self.is_landmark_), ("placed", ~self.is_landmark_)):
            rows = np.flatnonzero(of)
            if not len(rows):
                continue
            rng = np.random.default_rng(self.seed)
            tried = np.sort(rng.choice(rows, min(most, len(rows)), replace=False))
            true = in_vectors.nearest(self.vectors_[tried], k + 1)[1]
            seen = on_map.kneighbors(self.coordinates_[tried], return_distance=False)
            hits = [
                len((set(a) & set(b)) - {i})
                for i, a, b in zip(tried, true.tolist(), seen.tolist(), strict=True)
            ]
            preserved[word] = round(float(np.mean(hits)) / k, 4)
        return preserved

    def save(self, path: PathLike, *, overwrite: bool = True) -> Path:
        """Write one Parquet file: id, x, y, is_landmark, vector; metadata: seed and perplexity."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = Path(path)
        check_file(path, overwrite)
        flat = pa.array(np.ascontiguousarray(self.vectors_).ravel(), pa.float32())
        table = pa.table(
            {
                "id": pa.array(self.ids_, pa.string()),
                "x": pa.array(np.ascontiguousarray(self.coordinates_[:, 0])),
                "y": pa.array(np.ascontiguousarray(self.coordinates_[:, 1])),
                "is_landmark": pa.array(self.is_landmark_),
                "vector": pa.FixedSizeListArray.from_arrays(flat, self.vectors_.shape[1]),
            }
        )
        metadata = {"version": FORMAT_VERSION, "seed": self.seed, "perplexity": self.perplexity_}
        table = table.replace_schema_metadata({"forametric.morphospace": json.dumps(metadata)})
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")
        return path

    @classmethod
    def load(cls, path: PathLike) -> Morphospace:
        """Read what `save` wrote; `InputError` when it is absent, damaged or of another version."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path} does not exist.")
        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = first_line(error)
            raise InputError(f"{path} is not a readable Parquet file: {reason}") from None
        metadata = _metadata(table.schema.metadata or {}, path)
        try:
            column = table["vector"].combine_chunks()
            space = cls(seed=int(metadata["seed"]), perplexity=float(metadata["perplexity"]))
            space.ids_ = table["id"].to_pylist()
            space.vectors_ = np.array(column.flatten(), np.float32).reshape(
                -1, column.type.list_size
            )
            space.coordinates_ = np.column_stack([table["x"], table["y"]]).astype(np.float32)
            space.perplexity_ = float(metadata["perplexity"])
            space.is_landmark_ = table["is_landmark"].to_numpy()
            space.table_ = pd.DataFrame()
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is a damaged map: {error}") from None
        count = len(space.ids_)
        whole = count == len(space.vectors_) == len(space.coordinates_) >= MIN_SPECIMENS
        finite = np.isfinite(space.vectors_).all() and np.isfinite(space.coordinates_).all()
        if not whole or not finite or None in space.ids_:
            raise InputError(f"{path} is a damaged map: rows are missing or not finite numbers.")
        return space

    def plot(
        self,
        path: PathLike | None = None,
        *,
        color: str | Sequence[str] = "taxon",
        title: str = "",
        images: bool | Callable[[int], Pixels] = True,
        new: Embeddings | None = None,
    ) -> Figure:
        """Draw the map for print; written as PNG, PDF or SVG when a path is given.

        Parameters
        ----------
        color : str or sequence of str
            A column of the embeddings, or one name for each specimen; "" is drawn grey.
        images : bool or callable
            Whether to show thumbnails of typical specimens, where the images are known; or a
            function that gives the pixels of specimen i, shape (s, s, 3).
        new : Embeddings, optional
            Further specimens, placed by `transform` and drawn as open rings.
        """
        placed = None
        if new is not None:
            placed = (self.transform(new), [str(t) for t in new.taxa()])
        return draw_map(
            None if path is None else Path(path),
            self.coordinates_,
            self._names(color),
            self._images(images),
            title=title,
            placed=placed,
            seed=self.seed,
        )

    def to_html(
        self,
        path: PathLike,
        *,
        color: str | Sequence[str] = "taxon",
        title: str = "Morphospace",
        images: bool | Callable[[int], Pixels] = True,
    ) -> Path:
        """Write an interactive map: one page for the browser, which needs no network."""
        path = Path(path)
        names, pixels = self._names(color), self._images(images)
        write_map_page(
            path, self.coordinates_, self.ids_, names, pixels, title=title, seed=self.seed
        )
        return path

    def _names(self, color: str | Sequence[str]) -> list[str] | None:
        if not isinstance(color, str):
            return list(color)
        if color not in self.table_:
            if self.table_.empty:
                return None
            columns = ", ".join(map(str, self.table_.columns))
            raise InputError(f"the embeddings have no column {color!r}; they have {columns}.")
        return self.table_[color].fillna("").astype(str).tolist()

    def _images(self, images: bool | Callable[[int], Pixels]) -> Callable[[int], Pixels] | None:
        if callable(images):
            return images
        return self._load_image if images else None


def _loader(embeddings: Embeddings) -> Callable[[int], Pixels] | None:
    """A function that gives the pixels of specimen i, where the embeddings know their images."""
    if embeddings.source is None:
        return None
    _, files = list_images(embeddings.source)
    return lambda i: load_image(files[int(embeddings.rows[i])], THUMBNAIL)


def perplexity_for(count: int, wanted: float = 30.0) -> float:
    """The perplexity for `count` specimens: at most (count − 1) / 3, as t-SNE demands.

    >>> perplexity_for(1000), perplexity_for(31), perplexity_for(4)
    (30.0, 10.0, 1.0)
    """
    if not wanted >= 1:
        raise InputError(f"The perplexity must be 1 or more, not {wanted}.")
    return float(max(1.0, min(wanted, (count - 1) / 3)))


def _checked(vectors: ArrayLike) -> FloatArray:
    """The vectors as contiguous (N, D) float32, all finite."""
    try:
        rows = np.ascontiguousarray(vectors, dtype=np.float32)
    except (ValueError, TypeError):
        raise InputError("Embeddings must be numbers, all of the same length.") from None
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise InputError(f"Embeddings must be a table of rows (N, D), not of shape {rows.shape}.")
    broken = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if broken.size:
        raise InputError(
            f"{broken.size} of {len(rows)} vectors hold NaN or infinity, first row {broken[0]}."
        )
    return rows


def _principal(vectors: FloatArray, rows: FloatArray) -> Float64Array:
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


def _affinities(vectors: FloatArray, perplexity: float) -> Any:
    """openTSNE's neighbour graph, of exact neighbors: the same whenever it is made."""
    import openTSNE

    index = Index(vectors, exact=len(vectors))
    # One more is asked for, since each vector is nearest to itself.
    count = min(len(vectors) - 1, int(3 * perplexity))
    distances, rows = index.nearest(vectors, count + 1)
    itself = rows == np.arange(len(rows))[:, None]
    itself[~itself.any(1), -1] = True  # copies of one image may have displaced it
    graph = openTSNE.nearest_neighbors.PrecomputedNeighbors(
        rows[~itself].reshape(-1, count), distances[~itself].reshape(-1, count).astype(np.float64)
    )

    def query(new: FloatArray, k: int) -> tuple[IntArray, Float64Array]:
        distances, rows = index.nearest(np.asarray(new, np.float32), k)
        return rows, distances.astype(np.float64)

    graph.query = query
    return openTSNE.affinity.PerplexityBasedNN(
        knn_index=graph, perplexity=perplexity, n_jobs=_jobs(len(vectors))
    )


def _landmarks(count: int, most: int, seed: int) -> BoolArray:
    """Which of `count` specimens are laid out: all, or `most` of them drawn by the seed."""
    if count <= most:
        return np.ones(count, bool)
    chosen = np.zeros(count, bool)
    chosen[np.random.default_rng(seed).choice(count, most, replace=False)] = True
    return chosen


def _among_neighbors(index: Index, layout: AnyArray, vectors: FloatArray) -> Float64Array:
    """The mean place of each vector's five nearest, weighted by `neighbor_weights`."""
    distances, rows = index.nearest(vectors, 5)
    weights = neighbor_weights(distances)
    weights /= weights.sum(1, keepdims=True)
    return np.asarray((layout[rows] * weights[:, :, None]).sum(1), np.float64)


def _tsne(vectors: FloatArray, start: Float64Array, seed: int, perplexity: float) -> Float64Array:
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
        found = json.loads(metadata[b"forametric.morphospace"])
        version = found["version"]
    except (KeyError, ValueError, TypeError):
        raise InputError(f"{path} is a Parquet file, but not a Forametric map.") from None
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path} is a map of format {version}; this Forametric reads format {FORMAT_VERSION}."
        )
    return dict(found)
