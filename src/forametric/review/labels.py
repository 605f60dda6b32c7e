"""Decisions as labels: apply them to a collection, or read them from a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from forametric._typing import PathLike
from forametric.data.collection import Collection
from forametric.data.tables import Column, check_table, read_table, text_table
from forametric.data.verdicts import REVIEWERS_COLUMN, VERDICT_COLUMN, Verdict
from forametric.errors import InputError
from forametric.review.decisions import Decision, consensus, parse_verdict
from forametric.review.store import DecisionStore

TIME_COLUMN = "verdict_time"
TABLE = [Column("expert", required=True), Column("best_probability", "probability")]
SPOILED = re.compile(r"[\d.,]+[eE]\+?\d+|\d+0")  # an id of digits that became a number
NUMBERED = (
    " A spreadsheet program has turned its digits into a rounded number: add the column `image`, "
    "or format the column `id` as text."
)


def apply_decisions(collection: Collection, store: DecisionStore) -> Collection:
    """The collection with the names on which its reviewers agree.

    A specimen that they call unlisted, not a specimen or a duplicate loses its taxon. Where they
    differ, the old taxon stays. `label` never changes. Columns are added: `verdict`, `verdict_by`
    (the reviewers who gave it, separated by |) and `verdict_time`.

    Raises
    ------
    InputError
        When the decisions settle no specimen of the collection.

    Examples
    --------
    >>> store = DecisionStore.open("decisions.sqlite")  # doctest: +SKIP
    >>> apply_decisions(Collection.open("core"), store).save("core-reviewed")  # doctest: +SKIP
    """
    agreed = consensus(store.history()).set_index("specimen")
    agreed = agreed.reindex(collection.specimens["id"]).reset_index(drop=True)
    settled = agreed["verdict"].fillna("").ne("").to_numpy()
    if not settled.any():
        raise InputError(f"the decisions in {store.place} settle no specimen of this collection.")
    table = collection.specimens.reset_index(drop=True)
    taxon = agreed["taxon"].where(agreed["verdict"] == Verdict.TAXON, None)
    table["taxon"] = table["taxon"].where(~settled, taxon)
    for column, source in (
        (VERDICT_COLUMN, "verdict"),
        (REVIEWERS_COLUMN, "agreeing"),
        (TIME_COLUMN, "time"),
    ):
        table[column] = agreed[source].where(settled, None)
    return Collection(table, collection.images, collection.info)


def read_decisions(
    table: pd.DataFrame | PathLike, collection: Collection, reviewer: str
) -> list[Decision]:
    """The decisions in a table that an expert has filled in.

    Parameters
    ----------
    table : DataFrame, or CSV, Excel or Parquet file
        `id` or `image` identifies the specimen; with both, `image` counts for ids that a
        spreadsheet program has changed. `expert` has its name, or `unlisted` (`unknown` is
        read as this), `not a specimen` (also `none`), `duplicate` or `skip`; it is
        empty for specimens that the expert has not seen. `best`, `best_probability` and `model`,
        as the queue has them, are recorded as what the model had suggested.

    Raises
    ------
    InputError
        When a column is missing, a specimen is not of the collection or has two different
        decisions, a word such as "NA" stands for a name, or nothing is filled in.
    """
    if isinstance(table, pd.DataFrame):
        name = "the table"
        rows = check_table(text_table(table, name), TABLE, name)
    else:
        name, rows = str(table), read_table(table, TABLE).rows
    if not {"id", "image"} & set(rows):
        raise InputError(f"{name} needs a column `id` or `image`.")
    filled = rows[rows["expert"].str.strip() != ""]
    if not len(filled):
        raise InputError(f"the column `expert` of {name} is empty, so there is nothing to record.")
    find = _finder(collection)
    decisions: dict[str, Decision] = {}
    for number, row in zip(filled.index, filled.to_dict("records"), strict=True):
        try:
            decision = _decision(row, find(row), reviewer)
        except InputError as error:
            raise InputError(f"{name}, row {number}: {error}") from None
        earlier = decisions.setdefault(decision.specimen, decision)
        if (earlier.verdict, earlier.taxon) != (decision.verdict, decision.taxon):
            raise InputError(
                f"{name}, row {number}: the specimen {decision.specimen} occurs twice with "
                f"different decisions; leave one of them."
            )
    return list(decisions.values())


def _finder(collection: Collection) -> Callable[[Mapping[Hashable, str]], str]:
    """A function that finds the id of the specimen of a row."""
    specimens = collection.specimens
    ids = set(specimens["id"])
    # Several specimens may share an image only in a table that was made by hand.
    id_of = specimens.drop_duplicates("image", keep=False).set_index("image")["id"].to_dict()

    def find(row: Mapping[Hashable, str]) -> str:
        written, image = row.get("id", "").strip(), row.get("image", "").strip()
        by_image = id_of.get(image)
        if written in ids:
            if by_image not in (None, written):
                raise InputError(f"id {written} and image {image} are of different specimens.")
            return written
        if by_image is not None:
            return str(by_image)
        hint = NUMBERED if SPOILED.fullmatch(written) else ""
        raise InputError(f"the collection has no specimen {written or image!r}.{hint}")

    return find


def _decision(row: Mapping[Hashable, Any], specimen: str, reviewer: str) -> Decision:
    verdict, taxon = parse_verdict(row["expert"])
    probability = row.get("best_probability", np.nan)
    return Decision(
        specimen,
        verdict,
        taxon,
        reviewer,
        suggested=row.get("best", ""),
        probability=None if np.isnan(probability) else probability,
        model=row.get("model", ""),
    )
