"""Search by image: the specimens of a file of vectors that lie nearest to given vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from forametric.errors import InputError
from forametric.index import Index
from forametric.vectors import read_vectors

MOST = 10  # specimens shown for each image


@dataclass(frozen=True)
class Searched:
    """Specimens to search among.

    Attributes
    ----------
    specimens : DataFrame
        id and what else the file of vectors says: taxon, sample.
    index : Index
        Their vectors, in the same order.
    among : ndarray of bool, shape (n,)
        Which of them may be found.
    """

    specimens: pd.DataFrame
    index: Index
    among: npt.NDArray[np.bool_]

    @classmethod
    def open(cls, path: Path, model: str, where: Mapping[str, str] | None = None) -> Searched:
        """Read what `forametric embed` wrote, to search among those rows where the columns fit.

        Parameters
        ----------
        model : str
            The hash of the weights that must have made the vectors.
        where : mapping of str to str, optional
            What a column must say: {"taxon": "Globigerina bulloides"}.

        Raises
        ------
        InputError
            Another model's vectors, no such column, or no such rows.
        """
        specimens, vectors = read_vectors(path, model)
        among = np.ones(len(specimens), bool)
        for column, value in (where or {}).items():
            if column not in specimens:
                columns = ", ".join(specimens.columns)
                raise InputError(f"{path} has no column {column}; it has {columns}.")
            among &= (specimens[column].astype(str) == value).to_numpy()
        if not among.any():
            said = ", ".join(f"{k}={v}" for k, v in (where or {}).items()) or "any rows"
            raise InputError(f"{path} has no specimens with {said}.")
        return cls(specimens, Index(vectors), among)

    def nearest(
        self, images: Sequence[str], vectors: npt.NDArray[np.float32], most: int = MOST
    ) -> pd.DataFrame:
        """For each image its nearest specimens: image, rank, distance, id, taxon, sample."""
        distances, rows = self.index.nearest(vectors, most, self.among)
        count, k = rows.shape
        found = self.specimens.iloc[rows.ravel()].reset_index(drop=True)
        found.insert(0, "image", np.repeat(np.asarray(images, dtype=object), k))
        found.insert(1, "rank", np.tile(np.arange(1, k + 1), count))
        found.insert(2, "distance", distances.ravel().round(4))
        return found
