"""Training again with what experts have decided, and both models measured on what they decided."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from forametric import metrics
from forametric.data.collection import Collection, content_hash
from forametric.data.splits import Split, make_split
from forametric.errors import InputError
from forametric.evaluation.evaluate import evaluate
from forametric.model.model import Model
from forametric.review.labels import labelled
from forametric.review.store import Decisions

LEAST = 10  # specimens that models can be compared by


def training_set(
    reviewed: Collection, decisions: Decisions, bases: Sequence[Collection] = (), *, seed: int = 0
) -> tuple[Collection, pd.Series]:
    """What to train a new model on: the bases and all labels, and who plays which subset.

    Of the reviewed collection those specimens that have a name by now: settled by its reviewers,
    or from before. A fifth of them are kept for testing, always the same ones (by a hash of the
    file, or of the group), so that models trained one after the other can be compared. Of the bases
    none are: the older model has learnt them.

    Parameters
    ----------
    bases : sequence of Collection
        What the older model was trained on.

    Returns
    -------
    Collection, Series
        And the subsets: train, val, test.

    Raises
    ------
    InputError
        When the decisions settle nothing, or too little is left to learn.
    """
    named = labelled(reviewed, decisions)
    together = named.select(named.taxa() != "")
    tested = _fifth(together.specimens)
    # What was called unknown, no shell or a duplicate does not come back under its old name.
    judged = {*together.specimens["id"], *named.specimens["id"][named.specimens["decided"].notna()]}
    for base in bases:
        new = (base.taxa() != "") & ~base.specimens["id"].isin(judged)
        judged |= set(base.specimens["id"])
        together = together.merge(base.select(new.to_numpy()))
    # Copies and group mates of the tested are not learnt either.
    of = _unit(together.specimens)
    held = of.isin(set(of[: len(tested)][tested])).to_numpy()
    learnt = together.select(~held)
    drawn = make_split(learnt, seed=seed).subsets.replace("test", "train")
    subsets = drawn.reindex(together.specimens["id"])
    subsets[held] = np.where(np.arange(len(together)) < len(tested), "test", "unused")[held]
    return together, subsets.rename("subset")


def _unit(specimens: pd.DataFrame) -> pd.Series:
    """What must not be cut: a specimen's group, or the content of its file."""
    return specimens["group"].fillna(content_hash(specimens["id"])).astype(str)


def _fifth(specimens: pd.DataFrame) -> npt.NDArray[np.bool_]:
    hashed = [hashlib.sha256(unit.encode()).digest()[0] for unit in _unit(specimens)]
    return np.asarray(np.array(hashed, int) % 5 == 0, bool)


def side_by_side(
    models: dict[str, Path],
    reviewed: Collection,
    decisions: Decisions,
    subsets: pd.Series,
    out: Path,
) -> dict[str, dict[str, Any]]:
    """Measure models on the reviewed specimens that the newest did not learn, all on the same.

    A name that a model does not know is one that it gets wrong. `OUT/NAME` has the report of each
    model on those taxa that it does know (`forametric.evaluation.evaluate.evaluate`).

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
    tested = subsets.reindex(named.specimens["id"]).fillna("unused")
    learnt = {i for folder in models.values() for i in Model.load(folder).references.ids}
    tested[(tested != "test") | tested.index.isin(learnt)] = "unused"
    chosen = named.select((tested == "test").to_numpy())
    if len(chosen) < LEAST:
        raise InputError(
            f"{len(chosen)} reviewed specimens are kept for testing: too few to compare models by."
        )
    found: dict[str, dict[str, Any]] = {}
    for name, folder in models.items():
        model = Model.load(folder)
        evaluate(model, Split(named, tested, "reviewed")).save(out / name, overwrite=True)
        got = model.embed(chosen, progress="comparing")
        truth, ranking = (
            chosen.taxa()[got.rows].astype(str),
            model.identifier.probabilities_or_scores(got),
        )
        said = np.asarray(model.references.classes_)[ranking.argmax(1)]
        found[name] = {
            "tested": len(truth),
            "accuracy": metrics.accuracy(truth, said),
            "accuracy_95": metrics.bootstrap(metrics.accuracy, truth, said),
            "macro_f1": metrics.macro_f1(truth, said),
            "ece": metrics.calibration_error(ranking.max(1), truth == said),
        }
    return found
