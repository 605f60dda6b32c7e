"""Training again with what experts have decided, and both models measured on what they decided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forametric import metrics
from forametric.collection import Collection, content_of
from forametric.embedder import Embedder
from forametric.errors import InputError
from forametric.evaluation.protocol import evaluate
from forametric.review.decisions import Decisions, labelled
from forametric.splits import draw_split

LEAST = 10  # specimens that models can be compared by


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
    """Measure models on the reviewed specimens that the newest did not learn, all on the same.

    A name that a model does not know is one that it gets wrong. `OUT/NAME` has the report of each
    model on those taxa that it does know (`forametric.evaluation.protocol.evaluate`).

    Returns
    -------
    dict of str to dict
        For each model: tested (specimens), accuracy with its 95 % interval, macro_f1, and ece, the
        calibration error.

    Raises
    ------
    InputError
        When fewer than ten reviewed specimens were kept for testing, or a model knows none of
        their taxa.
    """
    named = labelled(reviewed, decisions)
    tested = roles.reindex(named.specimens["id"]).fillna("unused")
    tested[tested != "test"] = "unused"
    chosen = named.select((tested == "test").to_numpy())
    if len(chosen) < LEAST:
        raise InputError(
            f"{len(chosen)} reviewed specimens are kept for testing: too few to compare models by."
        )
    found: dict[str, dict[str, Any]] = {}
    for name, folder in models.items():
        model = Embedder.load(folder)
        evaluate(model, named, tested, out / name, overwrite=True, split_name="reviewed")
        got = model.embed_images(chosen.paths(), what="comparing")
        truth, ranking = chosen.taxa()[got.rows].astype(str), model.ranking(got)
        said = np.asarray(model.gallery.classes_)[ranking.argmax(1)]
        found[name] = {
            "tested": len(truth),
            "accuracy": metrics.accuracy(truth, said),
            "accuracy_95": metrics.bootstrap(metrics.accuracy, truth, said),
            "macro_f1": metrics.macro_f1(truth, said),
            "ece": metrics.calibration_error(ranking.max(1), truth == said),
        }
    return found
