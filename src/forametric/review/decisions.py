"""Decisions of reviewers: one record, each reviewer's current decisions, and their consensus.

A history of decisions is a table to which rows are only added. What counts now follows from it:
of each reviewer the last decision on a specimen that was not undone, and of several reviewers the
decision that more than half of them made.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from forametric.data.verdicts import Verdict, name_no_specimens
from forametric.errors import InputError

CURRENT = ["specimen", "reviewer", "verdict", "taxon", "time"]
CONSENSUS = ["specimen", "verdict", "taxon", "reviewers", "agreeing", "agreement", "conflict",
             "time"]  # fmt: skip
UNDO = "undo"  # in place of a verdict: the row undoes another one
# What an expert may write in place of a name.
WRITTEN_VERDICTS = {
    "unknown": Verdict.UNLISTED,
    "unlisted": Verdict.UNLISTED,
    "none": Verdict.NOT_A_SPECIMEN,
    "no shell": Verdict.NOT_A_SPECIMEN,
    "no specimen": Verdict.NOT_A_SPECIMEN,
    "not a specimen": Verdict.NOT_A_SPECIMEN,
    "duplicate": Verdict.DUPLICATE,
    "skip": Verdict.SKIP,
}
# What is neither a verdict nor a name. Text without a letter is not one either.
NOT_NAME = re.compile(r"undo|na|n/a|nan|null|<\w*>", re.IGNORECASE)


@dataclass(frozen=True)
class Decision:
    """A reviewer's decision on one specimen.

    Attributes
    ----------
    specimen : str
        Its id.
    verdict : Verdict
        A Verdict, or its value as text.
    taxon : str
        The name, for the verdict `taxon`; else empty. A name of no specimen (`name_no_specimens`)
        becomes the verdict `not_a_specimen`.
    reviewer : str
    suggested, probability, model : str, float, str
        What the model had suggested, with which probability, and the model's fingerprint.

    Examples
    --------
    >>> Decision("5883e3", "unlisted", "", "K. Lee").verdict
    <Verdict.UNLISTED: 'unlisted'>
    """

    specimen: str
    verdict: Verdict
    taxon: str
    reviewer: str
    suggested: str = ""
    probability: float | None = None
    model: str = ""

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "verdict", Verdict(self.verdict))
        except ValueError:
            raise InputError(
                f"{self.verdict!r} is not a verdict; verdicts are {', '.join(Verdict)}."
            ) from None
        if self.verdict == Verdict.TAXON and name_no_specimens([self.taxon])[0]:
            object.__setattr__(self, "verdict", Verdict.NOT_A_SPECIMEN)
            object.__setattr__(self, "taxon", "")
        if (self.verdict == Verdict.TAXON) != bool(self.taxon.strip()):
            raise InputError(
                f"the verdict {str(self.verdict)!r} and the name {self.taxon!r} contradict each "
                f"other: give a name with the verdict 'taxon', and only with it."
            )
        if not self.reviewer.strip() or not self.specimen.strip():
            raise InputError("a decision needs a specimen and the name of its reviewer.")


def current_decisions(history: pd.DataFrame, *, include_skipped: bool = False) -> pd.DataFrame:
    """The current decision of each reviewer on each specimen.

    Parameters
    ----------
    history : DataFrame
        From `DecisionStore.history`.
    include_skipped : bool
        Whether specimens that a reviewer has only skipped have a row.

    Returns
    -------
    DataFrame
        specimen, reviewer, verdict, taxon, time.
    """
    valid = _not_undone(history)
    columns = [valid[name].tolist() for name in CURRENT]
    last: dict[tuple[str, str], tuple[str, ...]] = {}
    # Skipping a specimen that was judged earlier does not change the judgement.
    for is_skip in (True, False) if include_skipped else (False,):
        for row in zip(*columns, strict=True):
            specimen, reviewer, verdict = row[:3]
            if (verdict == Verdict.SKIP) == is_skip:
                last.pop((specimen, reviewer), None)  # so that the last one comes last
                last[specimen, reviewer] = row
    return pd.DataFrame(list(last.values()), columns=CURRENT, dtype=None if last else str)


def answers(current: pd.DataFrame) -> dict[tuple[str, str], tuple[str, str]]:
    """(specimen, reviewer) → (verdict, taxon), of a table with one row for each of them."""
    keys = zip(current["specimen"], current["reviewer"], strict=True)
    return dict(zip(keys, zip(current["verdict"], current["taxon"], strict=True), strict=True))


def without_repeats(decisions: Sequence[Decision], history: pd.DataFrame) -> list[Decision]:
    """Those that differ from what their reviewer has decided last on the specimen.

    Parameters
    ----------
    history : DataFrame
        At least the rows about the specimens of the decisions.
    """
    current = answers(current_decisions(history))
    last = answers(_not_undone(history).drop_duplicates(["specimen", "reviewer"], keep="last"))
    new = []
    for decision in decisions:
        key, answer = (decision.specimen, decision.reviewer), (decision.verdict, decision.taxon)
        if answer in (current.get(key), last.get(key)):
            continue
        new.append(decision)
        last[key] = answer
        if decision.verdict != Verdict.SKIP:
            current[key] = answer
    return new


def _not_undone(history: pd.DataFrame) -> pd.DataFrame:
    """The decisions of a history that were not undone, current or superseded."""
    undone = {int(number) for number in history["undoes"].dropna()}
    return history[(history["verdict"] != UNDO) & ~history["number"].isin(undone)]


def consensus(history: pd.DataFrame) -> pd.DataFrame:
    """The common decision of all reviewers on each specimen.

    Returns
    -------
    DataFrame
        specimen; verdict and taxon that more than half of its reviewers give ("" where none has
        more than half); reviewers (their names, separated by |); agreeing (those of them who gave
        that verdict); agreement (the share that gives the most common answer); conflict (whether
        they differ); time (of the last decision).
    """
    given: dict[str, dict[tuple[str, str], list[str]]] = {}  # specimen → answer → reviewers
    times: dict[str, str] = {}
    for specimen, reviewer, verdict, taxon, time in current_decisions(history).to_numpy():
        given.setdefault(specimen, {}).setdefault((verdict, taxon), []).append(reviewer)
        times[specimen] = max(time, times.get(specimen, ""))
    rows = []
    for specimen, answered in given.items():
        (verdict, taxon), agreeing = max(answered.items(), key=lambda one: len(one[1]))
        reviewers = sorted(reviewer for some in answered.values() for reviewer in some)
        share = len(agreeing) / len(reviewers)
        agreed = (verdict, taxon, "|".join(sorted(agreeing))) if share > 0.5 else ("", "", "")
        settled_as, name, names = agreed
        rows.append(
            (specimen, settled_as, name, "|".join(reviewers), names, round(share, 3),
             len(answered) > 1, times[specimen])
        )  # fmt: skip
    table = pd.DataFrame(rows, columns=CONSENSUS, dtype=None if rows else str)
    return table.astype({"agreement": float, "conflict": bool})


def parse_verdict(text: str) -> tuple[Verdict, str]:
    """What an expert wrote, as a verdict and a name.

    `unknown` is read as `unlisted`; `none` and what begins with `not a specimen` as
    `not_a_specimen`.

    >>> parse_verdict(" Orbulina  universa")
    (<Verdict.TAXON: 'taxon'>, 'Orbulina universa')
    >>> parse_verdict("None")
    (<Verdict.NOT_A_SPECIMEN: 'not_a_specimen'>, '')

    Raises
    ------
    InputError
        For a word that is neither, as "NA", "undo" or "<unknown>".
    """
    text = " ".join(text.split())
    is_none = bool(name_no_specimens([text])[0])
    verdict = Verdict.NOT_A_SPECIMEN if is_none else WRITTEN_VERDICTS.get(text.lower())
    if verdict is not None:
        return verdict, ""
    if text and (NOT_NAME.fullmatch(text) or not any(map(str.isalpha, text))):
        raise InputError(
            f"{text!r} is not the name of a taxon; write a name, or one of "
            f"{', '.join(WRITTEN_VERDICTS)}."
        )
    return Verdict.TAXON, text
