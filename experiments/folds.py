"""Every known specimen named once by a model that never saw it: the calibration error, measured.

python experiments/folds.py COLLECTION --split closed -o FOLDER

A test set of 400 specimens shows a calibration error of 0.04 even where the probabilities are
perfect. Here the train, val and test specimens of a split are dealt into ten parts (groups kept on
one side, taxa spread evenly); in each of five turns two parts are tested, one is for validation,
seven are learnt from. Names are calibrated in two ways: on the turn's validation specimens, as
`train` does; and out of fold, on what the other four turns' models say of their test specimens,
eight times as many. (Those models have learnt from this turn's test specimens; the calibration is
fitted on other specimens all the same.)

FOLDER keeps the models: stopped, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from forametric import metrics
from forametric.data.collection import Collection
from forametric.data.splits import group_ids, load_split, split_hash
from forametric.embedding.recipe import Recipe
from forametric.identification.calibration import Calibration, CalibrationData, fit_calibration
from forametric.model.model import Model
from forametric.training.train import train
from forametric.utils.files import write_json

PARTS, DRAWS = 10, 500


def turns(collection: Collection, split: str, seed: int = 0) -> list[pd.Series]:
    """Five splits; each known specimen is tested in one of them."""
    subsets = load_split(collection, split)
    known = np.flatnonzero(subsets.isin(("train", "val", "test")) & (collection.taxa() != ""))
    groups = group_ids(collection.specimens).to_numpy()[known]
    dealer = StratifiedGroupKFold(PARTS, shuffle=True, random_state=seed)
    parts = [known[of] for _, of in dealer.split(known, collection.taxa()[known], groups)]
    found = []
    for first in range(0, PARTS, 2):
        turn = pd.Series("unused", index=subsets.index, name="subset")
        turn.iloc[known] = "train"
        turn.iloc[np.concatenate(parts[first : first + 2])] = "test"
        turn.iloc[parts[(first + 2) % PARTS]] = "val"
        found.append(turn)
    return found


def tested(
    collection: Collection, turn: pd.Series, folder: Path
) -> tuple[CalibrationData, Calibration]:
    """What the model of a turn says of its test specimens, and its own calibration."""
    if not folder.exists():
        train(collection, turn, Recipe.load("default"), folder)
    model = Model.load(folder)
    if model.card.data["split"] != split_hash(turn):
        raise SystemExit(f"{folder} is of another collection or split.")
    rows = np.flatnonzero(turn == "test")
    got = model.embed_images(collection.select(rows.tolist()).paths())
    if got.failures or not np.isin(collection.taxa()[rows], model.classes_).all():
        raise SystemExit("some test specimens cannot be read, or are of taxa not learnt.")
    return model.evidence(got, collection.taxa()[rows]), model.calibrated


def joined(parts: list[CalibrationData]) -> CalibrationData:
    """All specimens of several models, which have to know the same taxa."""
    if any(part.taxa != parts[0].taxa for part in parts):
        raise SystemExit("a taxon is missing from what some turn learns from.")
    names = [field.name for field in fields(CalibrationData)[1:]]
    return CalibrationData(
        parts[0].taxa, *(np.concatenate([getattr(p, name) for p in parts]) for name in names)
    )


def figures(
    said: list[CalibrationData], fitted: list[Calibration], groups: npt.NDArray[Any]
) -> dict[str, Any]:
    """The figures of all specimens together; the interval by drawing groups with return."""
    chances = [
        c.probabilities(e.scores, e.centroid_distances, e.taxa)
        for e, c in zip(said, fitted, strict=True)
    ]
    truth = np.concatenate([e.truth for e in said])
    named = np.concatenate(
        [np.array(e.taxa)[p.argmax(1)] for e, p in zip(said, chances, strict=True)]
    )
    score, right = np.concatenate([p.max(1) for p in chances]), truth == named
    ends = np.cumsum([len(p) for p in chances])
    pieces = [slice(end - len(p), end) for end, p in zip(ends, chances, strict=True)]
    of = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    rng, scores = np.random.default_rng(0), []
    for _ in range(DRAWS):
        rows = np.concatenate([of[i] for i in rng.integers(0, len(of), len(of))])
        scores.append(metrics.macro_f1(truth[rows], named[rows]))
    mean, hits, counts = metrics.reliability(score, right)
    return {
        "specimens": len(truth),
        "taxa": len(np.unique(truth)),
        "groups": len(of),
        "accuracy": metrics.accuracy(truth, named),
        "macro_f1": metrics.macro_f1(truth, named),
        "macro_f1_95": np.percentile(scores, [2.5, 97.5]).tolist(),
        "mean_probability": float(score.mean()),
        "ece": metrics.calibration_error(score, right),
        "ece_if_perfect": metrics.calibration_error_by_chance(score),
        "ece_of_turns": [metrics.calibration_error(score[p], right[p]) for p in pieces],
        "ece_of_turns_if_perfect": [metrics.calibration_error_by_chance(score[p]) for p in pieces],
        "reliability": [
            {"probability": float(m), "right": float(h), "specimens": int(c)}
            for m, h, c in zip(mean, hits, counts, strict=True)
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("collection", type=Path)
    parser.add_argument("--split", required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args()
    shells = Collection.open(asked.collection)
    dealt = turns(shells, asked.split)
    said = [tested(shells, t, asked.output / f"turn-{n}") for n, t in enumerate(dealt, 1)]
    found = [evidence for evidence, _ in said]
    others = [joined([e for e in found if e is not own]) for own in found]
    rows = np.concatenate([np.flatnonzero(turn == "test") for turn in dealt])
    groups = group_ids(shells.specimens).to_numpy()[rows]
    result = {
        "on_validation": figures(found, [fitted for _, fitted in said], groups),
        "out_of_fold": figures(found, [fit_calibration(e) for e in others], groups),
    }
    print(json.dumps(result, indent=2))
    write_json(asked.output / "folds.json", result)


if __name__ == "__main__":
    main()
