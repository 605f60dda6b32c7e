"""Vectors on disk: Parquet with an id and a fixed-size list of float32 in each row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from forametric.errors import InputError
from forametric.files import atomic_path


def write_vectors(
    path: Path,
    ids: Sequence[str],
    vectors: npt.NDArray[np.float32],
    columns: dict[str, Sequence[Any]] | None = None,
    made_by: str = "",
) -> None:
    """Write vectors of shape (n, dimensions) with their ids and any further columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    table = pa.table({"id": list(ids), **(columns or {}), "vector": column})
    table = table.replace_schema_metadata({"made_by": made_by}) if made_by else table
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def join_vectors(parts: Sequence[Path], path: Path, made_by: str) -> None:
    """Write the rows of several files of vectors into one, holding one of them at a time."""
    import pyarrow.parquet as pq

    with atomic_path(path) as temporary:
        schema = pq.read_schema(parts[0]).with_metadata({"made_by": made_by})
        with pq.ParquetWriter(temporary, schema) as writer:
            for part in parts:
                writer.write_table(pq.read_table(part).replace_schema_metadata(schema.metadata))


def read_vectors(path: Path) -> tuple[pd.DataFrame, npt.NDArray[np.float32]]:
    """Read the columns but `vector` as a DataFrame, and the vectors as (n, dimensions) float32."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        column = table.column("vector").combine_chunks()
        width = column.type.list_size
        flat = column.flatten().to_numpy(zero_copy_only=False)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except (OSError, KeyError, AttributeError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} cannot be read as a file of vectors: {error}") from None
    vectors = np.asarray(flat, dtype=np.float32).reshape(-1, width)
    return table.drop_columns(["vector"]).to_pandas(), vectors
