"""Agreement between reviewers: Cohen's and Fleiss' kappa."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypedDict

import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score

from forametric._typing import AnyArray
from forametric.review.decisions import consensus, current_decisions
from forametric.utils.results import Result


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


@dataclass(frozen=True, eq=False, repr=False)
class AgreementReport(Result):
    """The decisions of all reviewers in figures.

    Attributes
    ----------
    table : DataFrame
        `consensus`: one row for each specimen.
    n_decisions : int
        Rows of the history.
    reviewers : list of str
    kappas : Agreement
    """

    table: pd.DataFrame
    n_decisions: int
    reviewers: list[str]
    kappas: Agreement

    def __len__(self) -> int:
        return len(self.table)

    def __str__(self) -> str:
        lines = [
            f"{self.n_decisions} decisions of {len(self.reviewers)} reviewers on {len(self)} "
            f"specimens, {len(self.conflicts)} with conflicts"
        ]
        for pair in self.kappas["cohen"]:
            kappa = "not defined" if pair["kappa"] is None else f"{pair['kappa']:.2f}"
            names = " and ".join(pair["reviewers"])
            lines.append(f"{names}: Cohen's kappa {kappa} over {pair['specimens']} specimens")
        return "\n".join(lines)

    @property
    def conflicts(self) -> pd.DataFrame:
        """The rows of `table` on which reviewers differ."""
        return self.table[self.table["conflict"]]

    @property
    def preview(self) -> pd.DataFrame | None:
        """The first conflicts; None where there are none."""
        return self.conflicts[["specimen", "reviewers"]].head(20) if len(self.conflicts) else None

    @property
    def summary(self) -> dict[str, Any]:
        """decisions, reviewers, specimens, conflicts, cohen, fleiss."""
        return {
            "decisions": self.n_decisions,
            "reviewers": self.reviewers,
            "specimens": len(self),
            "conflicts": self.conflicts.to_dict("records"),
            **self.kappas,
        }


def summarize(history: pd.DataFrame) -> AgreementReport:
    """A history of decisions in figures."""
    reviewers = sorted(history["reviewer"].unique().tolist())
    return AgreementReport(consensus(history), len(history), reviewers, agreement(history))


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
