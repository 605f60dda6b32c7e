"""Search by image: find the embedded specimens that are nearest to given vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forametric._typing import BoolArray, FloatArray, PathLike
from forametric.data.embeddings import Embeddings
from forametric.errors import InputError
from forametric.identification.index import Index


@dataclass(frozen=True, eq=False)
class SpecimenIndex:
    """Specimens to search in.

    Attributes
    ----------
    specimens : DataFrame
        id, and the other text columns of the embeddings: taxon, sample.
    index : Index
        Their vectors, in the same order.
    mask : ndarray of bool, shape (n,)
        The specimens to search.

    Examples
    --------
    >>> index = SpecimenIndex.of(Embeddings.of_vectors(np.eye(3, dtype=np.float32)))
    >>> index.kneighbors(np.array([[0, 1, 0]], np.float32), 1)["image"].tolist()
    ['1']
    """

    specimens: pd.DataFrame
    index: Index
    mask: BoolArray

    @classmethod
    def of(cls, embeddings: Embeddings, where: Mapping[str, str] | None = None) -> SpecimenIndex:
        """Search in embeddings, only in rows whose columns have the values of `where`.

        Raises
        ------
        InputError
            When there is no such column, or no such row.
        """
        mask = np.ones(len(embeddings), bool)
        for column, value in (where or {}).items():
            if column not in embeddings.table:
                columns = ", ".join(embeddings.table.columns)
                raise InputError(f"the embeddings have no column {column}; they have {columns}.")
            mask &= (embeddings.table[column].astype(str) == value).to_numpy()
        if not mask.any():
            conditions = ", ".join(f"{k}={v}" for k, v in (where or {}).items())
            raise InputError(f"no embedded specimen has {conditions or 'a vector'}.")
        return cls(embeddings.table, Index(embeddings.vectors), mask)

    @classmethod
    def open(
        cls, path: PathLike, model: str, where: Mapping[str, str] | None = None
    ) -> SpecimenIndex:
        """As `of`, reading what `forametric embed` wrote.

        Parameters
        ----------
        model : str
            The hash of the weights that must have made the vectors: `Model.weights_sha256`.
        where : mapping of str to str, optional
            The value that a column must have: {"taxon": "Globigerina bulloides"}.

        Raises
        ------
        InputError
            For another model's vectors, a missing column, or no such row.
        """
        return cls.of(Embeddings.load(path, model), where)

    def kneighbors(
        self, vectors: FloatArray, n_neighbors: int = 10, *, images: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """The nearest specimens of each query: query, rank, distance, and their own columns.

        `images` are the names of the queries; by default they are numbered.
        """
        distances, rows = self.index.nearest(vectors, n_neighbors, self.mask)
        count, k = rows.shape
        queries = list(images) if images is not None else [str(i) for i in range(count)]
        table = self.specimens.iloc[rows.ravel()].reset_index(drop=True)
        table.insert(0, "query", np.repeat(np.asarray(queries, dtype=object), k))
        table.insert(1, "rank", np.tile(np.arange(1, k + 1), count))
        table.insert(2, "distance", distances.ravel().round(4))
        return table
