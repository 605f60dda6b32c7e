"""The verdicts of experts on specimens, and the columns of a collection that record them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

import numpy as np
import pandas as pd

from forametric._typing import BoolArray, NameArray

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


NOT_A_SPECIMEN_NAME = re.compile(r"\W*not[\s_-]a[\s_-]specimen(?![a-z])", re.IGNORECASE)
NOT_COUNTED = (Verdict.NOT_A_SPECIMEN, Verdict.DUPLICATE)


def name_no_specimens(names: Iterable[object]) -> BoolArray:
    """Which of some labels name what is not a specimen, so that it is learnt but not counted.

    These are the labels that begin so, as a folder "not a specimen, debris".

    >>> name_no_specimens(["Not_a_specimen_debris", "not a specimen", "Orbulina universa"]).tolist()
    [True, True, False]
    """
    return np.array([bool(NOT_A_SPECIMEN_NAME.match(str(name))) for name in names], dtype=bool)


def verdicts_in(specimens: pd.DataFrame) -> NameArray:
    """The verdict on each specimen of a table, "" for none."""
    empty = pd.Series("", specimens.index)
    column = specimens.get(VERDICT_COLUMN, empty).fillna("")
    return column.astype(str).to_numpy(dtype=object)
