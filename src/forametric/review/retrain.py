"""Training again with what experts have decided, and both models measured on what they decided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from forametric.collection import Collection, content_of
from forametric.embedder import Embedder
from forametric.errors import InputError
from forametric.evaluation.protocol import evaluate
from forametric.review.decisions import Decisions, labelled
from forametric.splits import draw_split


def training_set(
    reviewed: Collection, decisions: Decisions, base: Collection | None = None, *, seed: int = 0
) -> tuple[Collection, pd.Series]:
    """What to train a new model on: the base and all labels, and who plays which role.

    Of the reviewed collection those specimens that have a name by now: settled by its reviewers,
    or from before. A fifth of them, stratified, are kept for testing; of the base none are, since
    the older model has learnt it.

    Parameters
    ----------
    base : Collection, optional
        What the older model was trained on.

    Returns
    -------
    Collection, Series
        And the roles, as `forametric.splits.draw_split` gives them.

    Raises
    ------
    InputError
        When the decisions settle nothing.
    """
    named = labelled(reviewed, decisions)
    named = named.select(named.taxa() != "")
    if base is None:
        return named, draw_split(named, seed=seed)
    base = base.select((base.taxa() != "") & ~base.specimens["id"].isin(named.specimens["id"]))
    together = named.merge(base)
    roles = draw_split(together, seed=seed)
    from_base = roles.index.isin(base.specimens["id"])
    # A base specimen that is a copy or group mate of a tested one must not be learnt either.
    table = together.specimens.set_index("id", drop=False)
    held = (roles == "test") & ~from_base
    mates = content_of(table["id"]).isin(content_of(table["id"][held]))
    mates |= table["group"].isin(table["group"][held].dropna())
    roles[from_base & (roles == "test")] = "train"
    roles[from_base & mates.to_numpy()] = "unused"
    return together, roles


def side_by_side(
    models: dict[str, Path], reviewed: Collection, decisions: Decisions, roles: pd.Series, out: Path
) -> dict[str, dict[str, Any]]:
    """Measure models on the reviewed specimens that the newest did not learn.

    Writes `OUT/NAME` for each (`metrics.json`, `report.html`); returns their figures, a row a
    measure: macro F1, accuracy with its interval, calibration error.

    Raises
    ------
    InputError
        When fewer than ten reviewed specimens were kept for testing.
    """
    named = labelled(reviewed, decisions)
    tested = roles.reindex(named.specimens["id"]).fillna("unused")
    number = int((tested == "test").sum())
    if number < 10:
        raise InputError(
            f"{number} reviewed specimens are kept for testing: too few to compare models by."
        )
    tested[tested != "test"] = "unused"
    found: dict[str, dict[str, Any]] = {}
    for name, folder in models.items():
        result = evaluate(
            Embedder.load(folder), named, tested, out / name, overwrite=True, split_name="reviewed"
        )
        found[name] = {
            "tested": result["n"]["test"],
            "accuracy": result["known"]["accuracy"],
            "accuracy_95": result["known"]["accuracy_95"],
            "macro_f1": result["known"]["macro_f1"],
            "ece": result["calibration"].get("ece"),
        }
    return found
