"""Vectors on disk: Parquet with an id and a fixed-size list of float32 in each row.

Beside the vector `head`, the class head's probabilities, where the model has one: with both of them
specimens can be named again without their images. One file, or a folder of them (shards). Its
metadata say what made it, and by which model's weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from forametric.errors import InputError
from forametric.files import atomic_path

VECTOR, HEAD = "vector", "head"
Floats = npt.NDArray[np.float32]


def write_vectors(
    path: Path,
    ids: Sequence[str],
    vectors: Floats,
    columns: Mapping[str, Sequence[str | None]] | None = None,
    about: dict[str, str] | None = None,
    head: Floats | None = None,
) -> None:
    """Write vectors of shape (n, dimensions) with their ids and any further columns of text.

    `about` becomes the file's metadata: made_by, and model (the hash of the weights). `head` has
    the shape (n, classes); without classes it is left out.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"id": ids, **(columns or {})}
    table = pa.table(
        {name: pa.array(list(v), pa.string(), from_pandas=True) for name, v in columns.items()}
    )
    for name, numbers in ((VECTOR, vectors), (HEAD, head)):
        if numbers is not None and numbers.shape[1]:
            flat = pa.array(np.ascontiguousarray(numbers, np.float32).reshape(-1))
            lists = pa.FixedSizeListArray.from_arrays(flat, numbers.shape[1])
            table = table.append_column(name, lists)
    with atomic_path(path) as temporary:
        # Hardly two of so many numbers are the same: a dictionary of them only takes room.
        texts = list(columns)
        pq.write_table(table.replace_schema_metadata(about), temporary, use_dictionary=texts)


def join_vectors(parts: Sequence[Path], path: Path) -> None:
    """Write the rows of several files of vectors into one, holding one of them at a time."""
    import pyarrow.parquet as pq

    schema = pq.read_schema(parts[0])
    texts = [name for name in schema.names if name not in (VECTOR, HEAD)]
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, schema, use_dictionary=texts) as writer,
    ):
        for part in parts:
            writer.write_table(pq.read_table(part))


def read_vectors(path: Path, model: str | None = None) -> tuple[pd.DataFrame, Floats]:
    """Read the columns of text as a DataFrame, and the vectors as (n, dimensions) float32.

    Parameters
    ----------
    path : Path
        A file, or a folder whose Parquet files are its parts.
    model : str, optional
        The hash of the weights that must have made the vectors.

    Raises
    ------
    InputError
        When it is not there, cannot be read, or was made by another model.
    """
    table, vectors, _ = _read(path, model, head=False)
    return table, vectors


def read_embedded(path: Path, model: str) -> tuple[pd.DataFrame, Floats, Floats]:
    """As `read_vectors`, and the class head's probabilities, shape (n, classes).

    A model without a class head gives no columns.
    """
    return _read(path, model, head=True)


def _read(path: Path, model: str | None, *, head: bool) -> tuple[pd.DataFrame, Floats, Floats]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise InputError(f"{path} does not exist, or holds no Parquet files.")
    try:
        parts = [pq.ParquetFile(file, memory_map=True) for file in files]
        count, schema = sum(part.metadata.num_rows for part in parts), parts[0].schema_arrow
        found = {VECTOR: np.empty((count, schema.field(VECTOR).type.list_size), np.float32)}
        if head and HEAD in schema.names:
            found[HEAD] = np.empty((count, schema.field(HEAD).type.list_size), np.float32)
        texts = [name for name in schema.names if name not in (VECTOR, HEAD)]
        tables, start = [], 0
        for file, part in zip(files, parts, strict=True):
            _refuse_foreign(file, part.schema_arrow.metadata or {}, model)
            # Never the whole column twice in memory.
            for batch in part.iter_batches(columns=[*texts, *found]):
                for name, numbers in found.items():
                    flat = batch.column(name).flatten().to_numpy(zero_copy_only=False)
                    numbers[start : start + len(batch)] = flat.reshape(len(batch), -1)
                start += len(batch)
                tables.append(batch.select(texts))
        table = pa.Table.from_batches(tables).to_pandas()
    except (OSError, KeyError, AttributeError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as a file of vectors: {error}") from None
    return table, found[VECTOR], found.get(HEAD, np.zeros((count, 0), np.float32))


def _refuse_foreign(file: Path, metadata: dict[bytes, bytes], model: str | None) -> None:
    if model is not None and metadata.get(b"model", b"").decode() != model:
        made_by = metadata.get(b"made_by", b"an unknown model").decode()
        raise InputError(
            f"the vectors in {file} are of another model ({made_by}), and mean nothing beside "
            f"this one's; make them anew with: forametric embed"
        )
