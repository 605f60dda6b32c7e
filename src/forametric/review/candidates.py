"""The most probable taxa of a specimen, each with its nearest reference specimens."""

from __future__ import annotations

import numpy as np

from forametric._typing import FloatArray
from forametric.identification.references import ReferenceSet
from forametric.review.views import Candidate, Reference


def candidates(
    references: ReferenceSet,
    probabilities: FloatArray,
    vector: FloatArray,
    n_taxa: int,
    n_references: int,
    exclude: str = "",
) -> list[Candidate]:
    """A specimen's most probable taxa, each with its nearest references.

    Parameters
    ----------
    probabilities : ndarray of float32, shape (taxa,)
    vector : ndarray of float32, shape (dimensions,)
    n_taxa, n_references : int
        How many taxa, and how many references of each.
    exclude : str
        The specimen's own id, where it may be a reference itself.
    """
    taxa = references.classes_
    return [
        Candidate(
            taxa[number],
            round(float(probabilities[number]), 4),
            nearest_references(references, taxa[number], vector, n_references, exclude),
        )
        for number in np.argsort(-probabilities, kind="stable")[:n_taxa]
    ]


def nearest_references(
    references: ReferenceSet, taxon: str, vector: FloatArray, most: int, exclude: str = ""
) -> list[Reference]:
    """A taxon's references that are nearest to a vector, the nearest first."""
    rows = references.rows_of[taxon]
    distances = np.linalg.norm(references.vectors[rows] - vector, axis=1)
    nearest = [
        Reference(references.ids[rows[i]], round(float(distances[i]), 3))
        for i in np.argsort(distances, kind="stable")[: most + 1]
    ]
    return [reference for reference in nearest if reference.id != exclude][:most]
