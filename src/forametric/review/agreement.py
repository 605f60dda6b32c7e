"""Agreement between reviewers: Cohen's and Fleiss' kappa."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score

from forametric.review.decisions import (
    standing,
)


def agreement(history: pd.DataFrame) -> dict[str, Any]:
    """How far reviewers agree beyond chance.

    Returns
    -------
    dict
        `cohen`: for each two reviewers, kappa over the specimens that both judged (Cohen 1960) and
        their number; `fleiss`: kappa over those that all judged (Fleiss 1971), and their number.
        Kappa is None where it is not defined: no common specimens, or one answer to all.
    """
    table = standing(history).pivot(index="specimen", columns="reviewer", values="name")
    pairs = []
    for one, other in combinations(table.columns, 2):
        both = table[[one, other]].dropna()
        kappa = cohen_kappa(both[one].to_numpy(), both[other].to_numpy())
        pairs.append({"reviewers": [one, other], "specimens": len(both), "kappa": kappa})
    of_all = table.dropna() if table.shape[1] > 1 else table.iloc[:0]
    return {
        "cohen": pairs,
        "fleiss": {"specimens": len(of_all), "kappa": fleiss_kappa(of_all.to_numpy())},
    }


def cohen_kappa(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float | None:
    """Agreement of two raters beyond chance; None where there is nothing to agree on.

    >>> cohen_kappa(np.array(list("abab")), np.array(list("abbb")))
    0.5
    """
    if len({*one, *other}) < 2:
        return None
    return round(float(cohen_kappa_score(one, other)), 6)


def fleiss_kappa(answers: np.ndarray[Any, Any]) -> float | None:
    """Agreement of raters beyond chance; None where there is nothing to agree on.

    Parameters
    ----------
    answers : ndarray of str, shape (specimens, raters)
    """
    if answers.size == 0:
        return None
    names, of = np.unique(answers.astype(str), return_inverse=True)
    counts = np.zeros((*answers.shape, len(names)))
    np.put_along_axis(counts, of.reshape(answers.shape)[..., None], 1, axis=2)
    raters = answers.shape[1]
    together = counts.sum(1)
    seen = float(((together**2).sum(1) - raters).mean() / (raters * (raters - 1)))
    shares = together.mean(0) / raters
    chance = float(shares @ shares)
    return round((seen - chance) / (1 - chance), 6) if chance < 1 else None
