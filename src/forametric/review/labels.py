"""Labels from decisions: apply them to a collection, read them from a table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from forametric.data.collection import Collection
from forametric.errors import InputError
from forametric.review.decisions import (
    TAXON,
    Decision,
    consensus,
    verdict_of,
)
from forametric.review.store import (
    Decisions,
)


def labelled(collection: Collection, decisions: Decisions) -> Collection:
    """The collection as its reviewers see it: a name that they agree on takes the taxon's place.

    What they call unknown, no shell or a duplicate loses its name. Where they differ, the old name
    stays. `label` is never touched. Columns are added: `decided` (the verdict), `decided_by` (those
    who say so) and `decided_on`.

    Raises
    ------
    InputError
        When no specimen of the collection has been decided on.
    """
    found = consensus(decisions.history()).set_index("specimen")
    ids = collection.specimens["id"]
    found = found.reindex(ids).reset_index(drop=True)
    settled = found["verdict"].fillna("").ne("").to_numpy()
    if not settled.any():
        raise InputError(f"{decisions.place} settles no specimen of this collection.")
    table = collection.specimens.reset_index(drop=True)
    name = found["taxon"].where(found["verdict"] == TAXON, None)
    table["taxon"] = table["taxon"].where(~settled, name)
    for column, source in (
        ("decided", "verdict"), ("decided_by", "agreeing"), ("decided_on", "time"),
    ):  # fmt: skip
        table[column] = found[source].where(settled, None)
    return Collection(table, collection.images, collection.info)


def decisions_in(table: pd.DataFrame, collection: Collection, reviewer: str) -> list[Decision]:
    """The decisions in a table that an expert has filled in.

    Parameters
    ----------
    table : DataFrame
        `id` or `image` says which specimen; `expert` what it is: a name, `unknown`, `none` (no
        shell), `duplicate`, or nothing where the expert has not looked. `best`,
        `best_probability` and `model`, as `queue` writes them, are kept as what the model had said.

    Raises
    ------
    InputError
        When a column is missing, a specimen is not of the collection, or nothing is filled in.
    """
    key = next((column for column in ("id", "image") if column in table), None)
    if key is None or "expert" not in table:
        raise InputError("the table needs a column `expert`, and `id` or `image` beside it.")
    filled = table[table["expert"].notna() & (table["expert"].astype(str).str.strip() != "")]
    if not len(filled):
        raise InputError("the column `expert` is empty: there is nothing to record.")
    known = dict(
        zip(collection.specimens[key].astype(str), collection.specimens["id"], strict=True)
    )
    rows = []
    for row in filled.to_dict("records"):
        if str(row[key]) not in known:
            raise InputError(f"{row[key]} is no specimen of the collection.")
        verdict, taxon = verdict_of(str(row["expert"]))
        min_probability = float(pd.to_numeric(row.get("best_probability", ""), errors="coerce"))
        rows.append(
            Decision(
                known[str(row[key])],
                verdict,
                taxon,
                reviewer,
                suggested=_text(row.get("best")),
                probability=None if np.isnan(min_probability) else min_probability,
                model=_text(row.get("model")),
            )
        )
    return rows


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value)
