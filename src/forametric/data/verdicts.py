"""The verdicts of experts on specimens, and the columns of a collection that record them."""

from __future__ import annotations

from enum import StrEnum

import pandas as pd

from forametric._typing import NameArray

VERDICT_COLUMN = "verdict"
REVIEWERS_COLUMN = "verdict_by"


class Verdict(StrEnum):
    """An expert's verdict on a specimen.

    `TAXON` names it. `UNLISTED` is a specimen of a taxon that is not in the list. `NOT_A_SPECIMEN`
    is debris or an empty image. `DUPLICATE` is a specimen that is counted already. `SKIP` leaves
    the decision to others.
    """

    TAXON = "taxon"
    UNLISTED = "unlisted"
    NOT_A_SPECIMEN = "not_a_specimen"
    DUPLICATE = "duplicate"
    SKIP = "skip"


NOT_COUNTED = (Verdict.NOT_A_SPECIMEN, Verdict.DUPLICATE)


def verdicts_in(specimens: pd.DataFrame) -> NameArray:
    """The verdict on each specimen of a table, "" for none."""
    empty = pd.Series("", specimens.index)
    column = specimens.get(VERDICT_COLUMN, empty).fillna("")
    return column.astype(str).to_numpy(dtype=object)
