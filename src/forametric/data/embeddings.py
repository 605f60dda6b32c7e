"""Embeddings: vectors with what is known of their specimens, in memory and in Parquet files.

A file has one row for each specimen: `id`, further text columns (`taxon`, `sample`, …), `vector`,
`image_statistics` and, for a model with a class head, `class_probabilities`. With them specimens
can be identified again without their images. A file or a folder of files (shards). The metadata
state what made it and the hash of the model's weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forametric._typing import AnyArray, BoolArray, FloatArray, IntArray, PathLike
from forametric.data.tables import as_text, is_text
from forametric.errors import InputError
from forametric.utils.files import atomic_path
from forametric.utils.text import first_line

VECTOR, PROBABILITIES, STATISTICS = "vector", "class_probabilities", "image_statistics"
LISTS = (VECTOR, PROBABILITIES, STATISTICS)  # columns with a list of numbers for each specimen
MAX_VALUE = 1e15  # the square of a greater number may not be finite


def skipped_table(rows: Sequence[tuple[str, str]] = ()) -> pd.DataFrame:
    """The table of images that could not be read: image, reason."""
    return pd.DataFrame(list(rows), columns=["image", "reason"], dtype=object)


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Vectors of embedded specimens.

    Attributes
    ----------
    table : DataFrame
        One row for each vector: `image`, and `id`, `taxon`, `sample` where they are known.
    vectors : ndarray of float32, shape (n, dimensions)
    class_probabilities : ndarray of float32, shape (n, classes)
        The class head's probabilities; no columns for a model without one.
    skipped : DataFrame
        The images that could not be read: image, reason.
    rows : ndarray of int64, shape (n,)
        The positions of the embedded images among those given.
    projection_dim : int
        The width of the trained projection, which comes first in a vector; the rest are whitened
        backbone features. 0 for a model whose vectors have one part.
    origin : dict of str to str
        made_by, and model: the hash of the weights that made the vectors.
    source : collection, folder or images, optional
        What was embedded; `rows` are positions in it.
    statistics : ndarray of float32, shape (n, 9) or (n, 0)
        `image_statistics`; no columns where they are not known.

    Examples
    --------
    >>> some = Embeddings.of_vectors(np.eye(3, dtype=np.float32))
    >>> len(some[np.array([True, False, True])])
    2
    """

    table: pd.DataFrame
    vectors: FloatArray
    class_probabilities: FloatArray
    skipped: pd.DataFrame = field(default_factory=skipped_table)
    rows: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    projection_dim: int = 0
    origin: dict[str, str] = field(default_factory=dict)
    source: Any = field(default=None, repr=False)
    statistics: FloatArray = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    @classmethod
    def of_vectors(
        cls,
        vectors: AnyArray,
        class_probabilities: FloatArray | None = None,
        statistics: FloatArray | None = None,
    ) -> Embeddings:
        """Embeddings from vectors of shape (n, dimensions), without further columns."""
        vectors = np.asarray(vectors, np.float32)
        if vectors.ndim != 2:
            raise InputError(f"vectors must have the shape (n, dimensions), not {vectors.shape}.")
        none = np.zeros((len(vectors), 0), np.float32)
        return cls(
            pd.DataFrame({"image": [str(i) for i in range(len(vectors))]}),
            vectors,
            none if class_probabilities is None else class_probabilities,
            rows=np.arange(len(vectors)),
            statistics=none if statistics is None else statistics,
        )

    def __post_init__(self) -> None:
        if len(self.statistics) != len(self.vectors):
            object.__setattr__(self, "statistics", np.zeros((len(self.vectors), 0), np.float32))
        vectors = self.vectors.view()
        vectors.flags.writeable = False  # results computed from them stay valid
        object.__setattr__(self, "vectors", vectors)

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        skipped = f", {len(self.skipped)} images skipped" if len(self.skipped) else ""
        return f"Embeddings({len(self)} specimens × {self.vectors.shape[1]}{skipped})"

    def __array__(self, dtype: object = None, copy: bool | None = None) -> AnyArray:
        convert = np.array if copy else np.asarray
        return convert(self.vectors, dtype=dtype)  # type: ignore[call-overload, no-any-return]

    def __getitem__(self, rows: BoolArray | IntArray | slice | Sequence[int]) -> Embeddings:
        """The embeddings of some rows: a mask, positions or a slice."""
        if not isinstance(rows, slice):
            rows = np.asarray(rows) if len(rows) else slice(0)
        positions = np.arange(len(self))[rows]
        return replace(
            self,
            table=self.table.iloc[positions].reset_index(drop=True),
            vectors=self.vectors[positions],
            class_probabilities=self.class_probabilities[positions],
            statistics=self.statistics[positions],
            rows=self.rows[positions],
        )

    @property
    def projection(self) -> FloatArray:
        """The trained projection's part of the vectors, shape (n, projection_dim or dimensions)."""
        return self.vectors[:, : self.projection_dim or None]

    @property
    def features(self) -> FloatArray:
        """The backbone features' part of the vectors; whole vectors where they have one part."""
        return self.vectors[:, self.projection_dim :]

    def taxa(self) -> AnyArray:
        """The taxon of each specimen as str, "" for unknown ones."""
        if "taxon" not in self.table:
            return np.full(len(self), "", dtype=object)
        return np.asarray(self.table["taxon"].fillna("").astype(str), dtype=object)

    def save(self, path: PathLike) -> Path:
        """Write as Parquet; returns the path."""
        path = Path(path)
        columns = {str(c): self.table[c].tolist() for c in self.table.columns if c != "id"}
        ids = self.table.get("id", self.table["image"]).astype(str).tolist()
        lists = self.class_probabilities, self.statistics
        write_vectors(path, ids, self.vectors, columns, self.origin, *lists)
        return path

    @classmethod
    def load(cls, path: PathLike, model: str | None = None) -> Embeddings:
        """Read what `save` or `forametric embed` wrote; errors as `read_vectors`."""
        table, vectors, probabilities, statistics = read_embedded(Path(path), model)
        if "image" not in table:
            table = table.assign(image=table["id"])
        rows = np.arange(len(table))
        return cls(table, vectors, probabilities, rows=rows, statistics=statistics)


def write_vectors(
    path: Path,
    ids: Sequence[str],
    vectors: FloatArray,
    columns: Mapping[str, Sequence[str | None]] | None = None,
    metadata: Mapping[str, str] | None = None,
    class_probabilities: FloatArray | None = None,
    statistics: FloatArray | None = None,
) -> None:
    """Write vectors of shape (n, dimensions) with their ids and any further text columns.

    `metadata` becomes the file's own: made_by, and model (the hash of the weights).
    `class_probabilities` has the shape (n, classes), `statistics` (n, statistics); without columns
    they are left out.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"id": ids, **(columns or {})}
    table = pa.table(
        {name: pa.array(list(v), pa.string(), from_pandas=True) for name, v in columns.items()}
    )
    for name, numbers in zip(LISTS, (vectors, class_probabilities, statistics), strict=True):
        if numbers is not None and numbers.shape[1]:
            flat = pa.array(np.ascontiguousarray(numbers, np.float32).reshape(-1))
            lists = pa.FixedSizeListArray.from_arrays(flat, numbers.shape[1])
            table = table.append_column(name, lists)
    with atomic_path(path) as temporary:
        # The values of vectors are nearly all different: dictionary encoding would waste space.
        texts = list(columns)
        metadata = dict(metadata) if metadata else None
        pq.write_table(table.replace_schema_metadata(metadata), temporary, use_dictionary=texts)


def join_vectors(parts: Sequence[Path], path: Path) -> None:
    """Write the rows of several files of vectors into one, with one of them in memory at a time."""
    import pyarrow.parquet as pq

    schema = pq.read_schema(parts[0])
    texts = [name for name in schema.names if name not in LISTS]
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, schema, use_dictionary=texts) as writer,
    ):
        for part in parts:
            writer.write_table(pq.read_table(part))


def read_vectors(path: Path, model: str | None = None) -> tuple[pd.DataFrame, FloatArray]:
    """Read the text columns as a DataFrame, and the vectors as (n, dimensions) float32.

    Parameters
    ----------
    path : Path
        A file, or a folder whose Parquet files are its parts.
    model : str, optional
        The hash of the weights that must have made the vectors.

    Raises
    ------
    InputError
        When it does not exist, cannot be read, or was made by another model.
    """
    table, numbers = _read(path, model, (VECTOR,))
    return table, numbers[VECTOR]


def read_embedded(
    path: Path, model: str | None = None
) -> tuple[pd.DataFrame, FloatArray, FloatArray, FloatArray]:
    """As `read_vectors`, then class probabilities (n, classes) and image statistics (n, 9).

    What the file does not hold has no columns.
    """
    table, numbers = _read(path, model, LISTS)
    return table, *(numbers[name] for name in LISTS)  # type: ignore[return-value]


def _read(
    path: Path, model: str | None, wanted: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, FloatArray]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    damaged = (OSError, LookupError, AttributeError, TypeError, ValueError, pa.ArrowException)
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise InputError(f"{path} does not exist, or holds no Parquet files.")
    try:
        parts = [pq.ParquetFile(file, memory_map=True) for file in files]
        count, schema = sum(part.metadata.num_rows for part in parts), parts[0].schema_arrow
        lists = [name for name in wanted if name == VECTOR or name in schema.names]
        widths = {name: schema.field(name).type.list_size for name in lists}
        read = {name: np.empty((count, width), np.float32) for name, width in widths.items()}
        texts = [name for name in schema.names if name not in LISTS]
        tables, start = [], 0
        for file, part in zip(files, parts, strict=True):
            _check_model(file, part.schema_arrow.metadata or {}, model)
            # By batches, so that a column is never in memory twice.
            for batch in part.iter_batches(columns=[*texts, *read]):
                for name, numbers in read.items():
                    flat = batch.column(name).flatten().to_numpy(zero_copy_only=False)
                    unknown = np.isnan(flat) & (name == STATISTICS)
                    if not (unknown | (np.abs(flat) < MAX_VALUE)).all():  # nor NaN
                        raise InputError(
                            f"{file}: its column {name} has values that are not finite."
                        )
                    numbers[start : start + len(batch)] = flat.reshape(len(batch), -1)
                start += len(batch)
                tables.append(batch.select(texts))
        if start != count:
            raise InputError(f"{path} is damaged: it has {start} vectors in place of {count}.")
        table = pa.Table.from_batches(tables, pa.schema([schema.field(t) for t in texts]))
        table.validate(full=True)  # else text that is not UTF-8 fails much later
        table = table.to_pandas().reset_index(drop=True)
    except damaged as error:
        raise InputError(
            f"{path} cannot be read as a file of vectors: {first_line(error)}"
        ) from None
    if "id" not in table:
        raise InputError(f"{path} has no column id, so it is not a file of vectors.")
    table = table.assign(**{c: as_text(table[c], path) for c in table if not is_text(table[c])})
    if table["id"].isna().any():
        raise InputError(f"{path} has vectors without an id.")
    return table, {name: read.get(name, np.zeros((count, 0), np.float32)) for name in wanted}


def _check_model(file: Path, metadata: dict[bytes, bytes], model: str | None) -> None:
    if model is not None and metadata.get(b"model", b"").decode() != model:
        made_by = metadata.get(b"made_by", b"an unknown model").decode()
        raise InputError(
            f"the vectors in {file} were made with a different model ({made_by}) and cannot be "
            f"compared with this one's. Make them again with: forametric embed"
        )
