"""Decisions: who called which specimen what, when, and instead of what.

A table in SQLite (one file) or PostgreSQL to which rows are only ever added: a change of mind is
another row, an undone decision stays on record, and the database itself refuses to change or delete
one. What stands follows from the rows: of each reviewer the last decision on a specimen that was
not undone; of several reviewers what more than half of them say.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from forametric.errors import InputError

TAXON, UNKNOWN, NONE, SKIP, UNDO = "taxon", "unknown", "none", "skip", "undo"
DUPLICATE = "duplicate"
VERDICTS = (TAXON, UNKNOWN, NONE, DUPLICATE, SKIP)


@dataclass(frozen=True)
class Decision:
    """One expert's word on one specimen.

    Attributes
    ----------
    specimen : str
        Its id.
    verdict : str
        `taxon`; `unknown`: a shell, but of no taxon known here; `none`: no shell at all;
        `duplicate`: another picture of a specimen that is counted already; `skip`.
    taxon : str
        The name, for the verdict `taxon`; else empty.
    reviewer : str
    suggested, probability, model : str, float, str
        What the model had said, how min_probability it was, and the hash of its weights.
    """

    specimen: str
    verdict: str
    taxon: str
    reviewer: str
    suggested: str = ""
    probability: float | None = None
    model: str = ""

    @property
    def name(self) -> str:
        """The taxon, or the verdict in angle brackets."""
        return self.taxon if self.verdict == TAXON else f"<{self.verdict}>"

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise InputError(f"a verdict is one of {', '.join(VERDICTS)}, not {self.verdict!r}.")
        if (self.verdict == TAXON) != bool(self.taxon.strip()):
            raise InputError(f"the verdict {self.verdict!r} and the name {self.taxon!r} disagree.")
        if not self.reviewer.strip() or not self.specimen.strip():
            raise InputError("a decision needs a specimen and the name of its reviewer.")


def standing(history: pd.DataFrame, *, skipped: bool = False) -> pd.DataFrame:
    """What each reviewer says now: specimen, reviewer, verdict, taxon, name, time.

    `name` is the taxon, or the verdict in angle brackets. Skipped specimens have a row only if
    asked for.
    """
    gone = {int(number) for number in history["undoes"].dropna()}
    kept = history[(history["verdict"] != UNDO) & ~history["number"].isin(gone)]
    # Who skips what was judged before has not changed the judgement.
    said = kept[kept["verdict"] != SKIP].drop_duplicates(["specimen", "reviewer"], keep="last")
    if skipped:
        both = pd.concat([kept[kept["verdict"] == SKIP], said])
        said = both.drop_duplicates(["specimen", "reviewer"], keep="last")
    last = said.reset_index(drop=True)
    name = last["taxon"].where(last["verdict"] == TAXON, "<" + last["verdict"] + ">")
    return last.assign(name=name)[["specimen", "reviewer", "verdict", "taxon", "name", "time"]]


def consensus(history: pd.DataFrame) -> pd.DataFrame:
    """What the reviewers say together, one row a specimen.

    Returns
    -------
    DataFrame
        specimen; verdict and taxon that more than half of its reviewers give ("" where none has
        more than half); reviewers (their names, parted by |); agreement (the share that gives the
        commonest answer); conflict (whether they differ); time (of the last word).
    """
    said = standing(history)
    answers = said.groupby(["specimen", "name"], sort=False).agg(
        votes=("reviewer", "size"),
        verdict=("verdict", "first"),
        taxon=("taxon", "first"),
        agreeing=("reviewer", lambda names: "|".join(sorted(names))),
    )
    answers = answers.reset_index()
    of = answers.groupby("specimen", sort=False)
    found = answers.loc[of["votes"].idxmax()].set_index("specimen")
    share = found["votes"] / of["votes"].sum()
    by = said.sort_values("reviewer", kind="stable").groupby("specimen")
    settled = share > 0.5
    table = pd.DataFrame(
        {
            "verdict": found["verdict"].where(settled, ""),
            "taxon": found["taxon"].where(settled, ""),
            "reviewers": by["reviewer"].agg("|".join),
            "agreeing": found["agreeing"].where(settled, ""),
            "agreement": share.round(3),
            "conflict": of.size() > 1,
            "time": by["time"].max(),
        },
        index=found.index,
    )
    return table.reset_index()


def verdict_of(said: str) -> tuple[str, str]:
    """What somebody wrote, as a verdict and a name: `unknown`, `none`, `duplicate` are no names.

    >>> verdict_of(" Orbulina  universa"), verdict_of("None")
    (('taxon', 'Orbulina universa'), ('none', ''))
    """
    said = " ".join(said.split())
    plain = said.lower() in (UNKNOWN, NONE, DUPLICATE)
    return (said.lower(), "") if plain else (TAXON, said)
