"""Calibration on the very specimens that a model learnt from, by sisters that did not.

A small collection has few validation specimens, and a calibration fitted on two hundred of them is
off by several points. Out-of-fold predictions are as many as there are training specimens.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from forametric.calibration import Evidence
from forametric.collection import Collection
from forametric.embedder import Embedder
from forametric.errors import InputError
from forametric.learning.train import train
from forametric.progress import console
from forametric.splits import deal, kept_together, split_hash


def out_of_fold(
    model: Embedder,
    collection: Collection,
    roles: pd.Series,
    folds: int,
    work: Path,
    *,
    overwrite: bool = False,
) -> list[Evidence]:
    """What sisters of a model say of the part of its training specimens that each did not see.

    The specimens of role train are dealt into parts. For each part a sister is trained as the model
    was, on the others, and names it (the way of scikit-learn's `CalibratedClassifierCV` with
    `ensemble=False`). Groups that hold the last specimens of a taxon stay with the sister.

    Parameters
    ----------
    roles : Series of str
        The split that the model was trained with.
    work : Path
        A folder for the sisters; those that are there already are not trained again.
    overwrite : bool
        Train them again.

    Raises
    ------
    InputError
        For another split or collection than the model's; a model that was begun from another, whose
        gallery holds anything else than what it learnt from, or whose vectors have no fixed length,
        so that its distances are not those of its sisters; too few groups.
    """
    card = model.card
    learnt = _learnt(model, collection, roles)
    parts = deal(collection, learnt, folds, card.seed)
    turns = [_without(collection, roles, learnt, part) for part in parts]
    if any(not len(rows) for _, rows in turns):
        raise InputError(
            f"with {folds} folds a sister would name nothing, since each taxon comes from a single "
            f"group; calibrate without."
        )
    if overwrite:
        shutil.rmtree(work, ignore_errors=True)
    found, paths = [], collection.paths()
    for number, (turn, rows) in enumerate(turns, 1):
        folder = work / f"sister-{number}"
        if not folder.exists():
            console.print(f"sister {number} of {folds}", highlight=False)
            train(collection, turn, card.recipe, folder, seed=card.seed)
        sister = Embedder.load(folder)
        made = sister.card.data["split"], sister.card.recipe, sister.card.data["specimens"]
        if made != (split_hash(turn), card.recipe, collection.fingerprint):
            raise InputError(f"{folder} is of another calibration; remove it, or add --overwrite.")
        got = sister.embed_images([paths[i] for i in rows])
        if len(got.rows):
            found.append(sister.evidence(got, collection.taxa()[rows][got.rows]))
    return found


def _learnt(model: Embedder, collection: Collection, roles: pd.Series) -> npt.NDArray[np.int64]:
    """The rows that a model learnt from; an error where sisters could not be trained like it."""
    card, ids = model.card, collection.specimens["id"]
    if card.data["split"] != split_hash(roles):
        raise InputError("the model was trained with another split; its sisters need that one.")
    if card.data["specimens"] != collection.fingerprint:
        raise InputError(
            "the collection, or a name in it, has changed since the model was trained."
        )
    if card.training.get("started_from"):
        raise InputError("the model was begun from another, so no sisters can be trained like it.")
    if not card.recipe.network.unit:
        raise InputError(
            f"vectors of the recipe {card.recipe.name} have no fixed length, so that distances of "
            f"sisters are not those of the model; calibrate without folds."
        )
    learnt = np.flatnonzero(ids.isin(set(model.gallery.ids)) & (roles == "train").to_numpy())
    if len(learnt) != len(model.gallery.ids):
        raise InputError(
            "the gallery holds other references than the model learnt from; calibrate with folds "
            "before references are added."
        )
    return learnt


def _without(
    collection: Collection,
    roles: pd.Series,
    learnt: npt.NDArray[np.int64],
    part: npt.NDArray[np.int64],
) -> tuple[pd.Series, npt.NDArray[np.int64]]:
    """A split in which a part is not learnt from, and the rows of that part.

    Groups with a taxon that would be gone from what is learnt are not of the part.
    """
    taxa = collection.taxa()
    groups = kept_together(collection.specimens).to_numpy()
    gone = ~np.isin(taxa[part].astype(str), taxa[np.setdiff1d(learnt, part)].astype(str))
    rows = part[~np.isin(groups[part], groups[part][gone])]
    turn = roles.copy()
    turn.iloc[rows] = "unused"
    return turn, rows
