"""Vectors on disk: Parquet with an id and a fixed-size list of float32 in each row.

One file, or a folder of them (shards). Its metadata say what made it, and by which model's weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from forametric.errors import InputError
from forametric.files import atomic_path


def write_vectors(
    path: Path,
    ids: Sequence[str],
    vectors: npt.NDArray[np.float32],
    columns: Mapping[str, Sequence[str | None]] | None = None,
    about: dict[str, str] | None = None,
) -> None:
    """Write vectors of shape (n, dimensions) with their ids and any further columns of text.

    `about` becomes the file's metadata: made_by, and model (the hash of the weights).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    texts = {
        name: pa.array(list(values), pa.string(), from_pandas=True)
        for name, values in {"id": ids, **(columns or {})}.items()
    }
    table = pa.table({**texts, "vector": column}).replace_schema_metadata(about)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def join_vectors(parts: Sequence[Path], path: Path) -> None:
    """Write the rows of several files of vectors into one, holding one of them at a time."""
    import pyarrow.parquet as pq

    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, pq.read_schema(parts[0])) as writer,
    ):
        for part in parts:
            writer.write_table(pq.read_table(part))


def read_vectors(
    path: Path, model: str | None = None
) -> tuple[pd.DataFrame, npt.NDArray[np.float32]]:
    """Read the columns but `vector` as a DataFrame, and the vectors as (n, dimensions) float32.

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
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise InputError(f"{path} does not exist, or holds no Parquet files.")
    try:
        parts = [pq.ParquetFile(file, memory_map=True) for file in files]
        width = parts[0].schema_arrow.field("vector").type.list_size
        vectors = np.empty((sum(part.metadata.num_rows for part in parts), width), np.float32)
        tables, start = [], 0
        for file, part in zip(files, parts, strict=True):
            _refuse_foreign(file, part.schema_arrow.metadata or {}, model)
            for batch in part.iter_batches():  # never the whole column twice in memory
                flat = batch.column("vector").flatten().to_numpy(zero_copy_only=False)
                vectors[start : start + len(batch)] = flat.reshape(-1, width)
                start += len(batch)
                tables.append(batch.drop_columns(["vector"]))
        table = pa.Table.from_batches(tables).to_pandas()
    except (OSError, KeyError, AttributeError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as a file of vectors: {error}") from None
    return table, vectors


def _refuse_foreign(file: Path, metadata: dict[bytes, bytes], model: str | None) -> None:
    if model is not None and metadata.get(b"model", b"").decode() != model:
        made_by = metadata.get(b"made_by", b"an unknown model").decode()
        raise InputError(
            f"the vectors in {file} are of another model ({made_by}), and mean nothing beside "
            f"this one's; make them anew with: forametric embed"
        )
