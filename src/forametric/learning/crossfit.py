"""Calibration on the very specimens that a model learnt from, by sisters that did not.

A small collection has few validation specimens, and a calibration fitted on two hundred of them is
off by several points. Out-of-fold predictions are as many as there are training specimens.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from forametric.calibration import Evidence
from forametric.collection import Collection
from forametric.embedder import Embedder
from forametric.errors import InputError
from forametric.learning.train import train
from forametric.progress import console
from forametric.splits import deal, split_hash


def out_of_fold(
    model: Embedder, collection: Collection, roles: pd.Series, folds: int, work: Path
) -> list[Evidence]:
    """What sisters of a model say of the part of its training specimens that each did not see.

    The specimens of role train are dealt into parts, groups whole. For each part a sister is
    trained as the model was, on the others, and names it (the way of scikit-learn's
    `CalibratedClassifierCV` with `ensemble=False`). A taxon that would be gone from what a sister
    learns stays with it whole, and is not named.

    Parameters
    ----------
    roles : Series of str
        The split that the model was trained with.
    work : Path
        A folder for the sisters; what is there already is not trained again.

    Raises
    ------
    InputError
        For another split than the model's, a model that was begun from another or that knows taxa
        it was not trained on, or too few groups.
    """
    card = model.card
    if split_hash(roles) != card.data["split"]:
        raise InputError(
            "the model was trained with another split; its sisters need the very same."
        )
    if card.training.get("started_from"):
        raise InputError("the model was begun from another, so no sisters can be trained like it.")
    if model.gallery.classes_ != card.classes:
        raise InputError(
            "the gallery's taxa are not those that the model was trained on; calibrate with folds "
            "before references are added."
        )
    taxa = collection.taxa().astype(str)
    learnt = np.flatnonzero((roles == "train").to_numpy() & (taxa != ""))
    found, paths = [], collection.paths()
    for number, part in enumerate(deal(collection, learnt, folds, card.seed), 1):
        rest = set(taxa[np.setdiff1d(learnt, part)])
        rows = part[[taxon in rest for taxon in taxa[part]]]
        turn = roles.copy()
        turn.iloc[rows] = "unused"
        folder = work / f"sister-{number}"
        if not folder.exists():
            console.print(f"sister {number} of {folds}", highlight=False)
            train(collection, turn, card.recipe, folder, seed=card.seed)
        sister = Embedder.load(folder)
        if sister.card.data["split"] != split_hash(turn):
            raise InputError(f"{folder} is of another calibration; remove it.")
        got = sister.embed_images([paths[i] for i in rows])
        found.append(sister.evidence(got, collection.taxa()[rows][got.rows]))
    return found
