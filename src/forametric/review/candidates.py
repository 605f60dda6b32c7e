"""The most likely taxa of a specimen, each with its nearest reference specimens."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from forametric.identification.references import ReferenceSet


def candidates(
    references: ReferenceSet,
    ranking: npt.NDArray[np.float32],
    vector: npt.NDArray[np.float32],
    n_taxa: int,
    n_references: int,
    without: str = "",
) -> list[dict[str, Any]]:
    """A specimen's likeliest taxa, each with its n_references that lie nearest to it.

    Parameters
    ----------
    ranking : ndarray of float32, shape (references's taxa,)
    taxa, n_references : int
        How many taxa, and n_references of each.
    without : str
        The specimen's own id, where it may be a reference itself.

    Returns
    -------
    list of dict
        taxon, probability, n_references (each with id and distance).
    """
    names = references.classes_
    return [
        {
            "taxon": names[number],
            "probability": round(float(ranking[number]), 4),
            "references": nearest_of(references, names[number], vector, n_references, without),
        }
        for number in np.argsort(-ranking, kind="stable")[:n_taxa]
    ]


def nearest_of(
    references: ReferenceSet,
    taxon: str,
    vector: npt.NDArray[np.float32],
    most: int,
    without: str = "",
) -> list[dict[str, Any]]:
    """A taxon's n_references that lie nearest to a vector: id and distance, nearest first."""
    own = np.flatnonzero(references.taxa == taxon)
    own = own[[references.ids[i] != without for i in own]]
    away = np.linalg.norm(references.vectors[own] - vector, axis=1)
    return [
        {"id": references.ids[own[i]], "distance": round(float(away[i]), 3)}
        for i in np.argsort(away, kind="stable")[:most]
    ]
