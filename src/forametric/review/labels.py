"""Decisions as labels: apply them to a collection, or read them from a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from forametric._typing import PathLike
from forametric.data.collection import Collection
from forametric.data.importers.table import read_rows
from forametric.data.verdicts import REVIEWERS_COLUMN, VERDICT_COLUMN, Verdict
from forametric.errors import InputError
from forametric.review.decisions import Decision, consensus, parse_verdict
from forametric.review.store import DecisionStore

TIME_COLUMN = "verdict_time"


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
    table : DataFrame, or CSV or Excel file
        `id` or `image` identifies the specimen. `expert` has its name, or `unlisted` (`unknown` is
        read as this), `not a specimen` (also `none`), `duplicate` or `skip`; it is
        empty for specimens that the expert has not seen. `best`, `best_probability` and `model`,
        as the queue has them, are recorded as what the model had suggested.

    Raises
    ------
    InputError
        When a column is missing, a specimen is not of the collection, or nothing is filled in.
    """
    if not isinstance(table, pd.DataFrame):
        table, _ = read_rows(Path(table))
    key = next((column for column in ("id", "image") if column in table), None)
    if key is None or "expert" not in table:
        raise InputError("the table needs a column `expert`, and a column `id` or `image`.")
    filled = table[table["expert"].notna() & (table["expert"].astype(str).str.strip() != "")]
    if not len(filled):
        raise InputError("the column `expert` is empty, so there is nothing to record.")
    specimens = collection.specimens
    id_of = dict(zip(specimens[key].astype(str), specimens["id"], strict=True))
    decisions = []
    for row in filled.to_dict("records"):
        if str(row[key]) not in id_of:
            raise InputError(f"the collection has no specimen {row[key]}.")
        verdict, taxon = parse_verdict(str(row["expert"]))
        probability = float(pd.to_numeric(row.get("best_probability", ""), errors="coerce"))
        decisions.append(
            Decision(
                id_of[str(row[key])],
                verdict,
                taxon,
                reviewer,
                suggested=_text(row.get("best")),
                probability=None if np.isnan(probability) else probability,
                model=_text(row.get("model")),
            )
        )
    return decisions


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value)
