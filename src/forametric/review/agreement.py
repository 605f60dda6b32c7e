"""Agreement between reviewers: Cohen's and Fleiss' kappa."""

from __future__ import annotations

from itertools import combinations
from typing import TypedDict

import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score

from forametric._typing import AnyArray
from forametric.review.decisions import current_decisions


class CohenKappa(TypedDict):
    """Kappa of two reviewers, over the specimens that both judged."""

    reviewers: list[str]
    specimens: int
    kappa: float | None


class FleissKappa(TypedDict):
    """Kappa of all reviewers, over the specimens that all judged."""

    specimens: int
    kappa: float | None


class Agreement(TypedDict):
    """How far reviewers agree beyond chance."""

    cohen: list[CohenKappa]
    fleiss: FleissKappa


def agreement(history: pd.DataFrame) -> Agreement:
    """How far reviewers agree beyond chance.

    Returns
    -------
    Agreement
        A dictionary. `cohen`: for each pair of reviewers, kappa over the specimens that both
        judged (Cohen 1960) and their number. `fleiss`: kappa over the specimens that all judged
        (Fleiss 1971) and their number. Kappa is None where it is not defined: without common
        specimens, or when all answers are the same.
    """
    current = current_decisions(history)
    answer = current.groupby(["verdict", "taxon"]).ngroup().astype(str)
    table = current.assign(answer=answer).pivot(
        index="specimen", columns="reviewer", values="answer"
    )
    pairs = []
    for one, other in combinations(table.columns, 2):
        both = table[[one, other]].dropna()
        kappa = cohen_kappa(both[one].to_numpy(), both[other].to_numpy())
        pairs.append(CohenKappa(reviewers=[one, other], specimens=len(both), kappa=kappa))
    by_all = table.dropna() if table.shape[1] > 1 else table.iloc[:0]
    fleiss = FleissKappa(specimens=len(by_all), kappa=fleiss_kappa(by_all.to_numpy()))
    return Agreement(cohen=pairs, fleiss=fleiss)


def cohen_kappa(one: AnyArray, other: AnyArray) -> float | None:
    """Agreement of two raters beyond chance; None where it is not defined.

    >>> cohen_kappa(np.array(list("abab")), np.array(list("abbb")))
    0.5
    """
    if len({*one, *other}) < 2:
        return None
    return round(float(cohen_kappa_score(one, other)), 6)


def fleiss_kappa(answers: AnyArray) -> float | None:
    """Agreement of several raters beyond chance; None where it is not defined.

    Parameters
    ----------
    answers : ndarray of str, shape (specimens, raters)
    """
    if answers.size == 0:
        return None
    names, numbers = np.unique(answers.astype(str), return_inverse=True)
    counts = np.zeros((*answers.shape, len(names)))
    np.put_along_axis(counts, numbers.reshape(answers.shape)[..., None], 1, axis=2)
    raters = answers.shape[1]
    votes = counts.sum(1)
    observed = float(((votes**2).sum(1) - raters).mean() / (raters * (raters - 1)))
    shares = votes.mean(0) / raters
    expected = float(shares @ shares)
    return round((observed - expected) / (1 - expected), 6) if expected < 1 else None
