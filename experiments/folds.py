"""The calibration error of identifications, by cross-validation over all known specimens.

python experiments/folds.py COLLECTION --split closed -o FOLDER

A test set of 400 specimens has a calibration error of 0.04 even if the probabilities are perfect.
Here the train, val and test specimens of a split are divided into ten parts (stratified by taxon,
groups kept together). In each of five folds two parts are tested, one is for validation, and seven
are for training. Identifications are calibrated in two ways: on the fold's validation specimens, as
`train` does; and out of fold, on the test specimens of the other four folds with their models,
eight times as many. (Those models were trained on this fold's test specimens, but the calibration
is fitted on other specimens.)

FOLDER keeps the models; the same command resumes an interrupted run.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from forametric import metrics
from forametric._typing import AnyArray
from forametric.data.collection import Collection
from forametric.data.splits import Split, group_ids
from forametric.identification.calibration import Calibration, CalibrationData, fit_calibration
from forametric.model.model import Model
from forametric.training.train import train
from forametric.utils.files import write_json

PARTS, DRAWS = 10, 500


def make_folds(collection: Collection, split: str, seed: int = 0) -> list[Split]:
    """Five splits; each known specimen is tested in one of them."""
    subsets = Split.load(collection, split).subsets
    known = np.flatnonzero(subsets.isin(("train", "val", "test")) & (collection.taxa() != ""))
    groups = group_ids(collection.specimens).to_numpy()[known]
    folds = StratifiedGroupKFold(PARTS, shuffle=True, random_state=seed)
    parts = [known[of] for _, of in folds.split(known, collection.taxa()[known], groups)]
    splits = []
    for first in range(0, PARTS, 2):
        fold = pd.Series("unused", index=subsets.index, name="subset")
        fold.iloc[known] = "train"
        fold.iloc[np.concatenate(parts[first : first + 2])] = "test"
        fold.iloc[parts[(first + 2) % PARTS]] = "val"
        splits.append(Split(collection, fold, f"fold {len(splits) + 1} of {split}"))
    return splits


def evaluate_fold(split: Split, folder: Path) -> tuple[CalibrationData, Calibration]:
    """The scores of a fold's model on its test specimens, and its calibration."""
    if not folder.exists():
        train(split, "default", folder)
    model = Model.load(folder)
    if model.card.data["split"] != split.hash:
        raise SystemExit(f"{folder} is of another collection or split.")
    embeddings = model.embed(split.test)
    if len(embeddings.skipped) or not np.isin(split.test.taxa(), model.taxa).all():
        raise SystemExit("some test specimens cannot be read, or are of taxa without references.")
    return model.identifier.calibration_data(embeddings, split.test.taxa()), model.calibrated


def concatenate(parts: list[CalibrationData]) -> CalibrationData:
    """The specimens of several models, which must have the same taxa."""
    if any(part.taxa != parts[0].taxa for part in parts):
        raise SystemExit("a taxon is missing in the training specimens of a fold.")
    names = [field.name for field in fields(CalibrationData)[1:]]
    return CalibrationData(
        parts[0].taxa, *(np.concatenate([getattr(p, name) for p in parts]) for name in names)
    )


def figures(
    data: list[CalibrationData], calibrations: list[Calibration], groups: AnyArray
) -> dict[str, Any]:
    """The metrics of all specimens together; the interval is a bootstrap over groups."""
    probabilities = [
        c.probabilities(d.scores, d.centroid_distances, d.taxa)
        for d, c in zip(data, calibrations, strict=True)
    ]
    truth = np.concatenate([d.truth for d in data])
    predicted = np.concatenate(
        [np.array(d.taxa)[p.argmax(1)] for d, p in zip(data, probabilities, strict=True)]
    )
    confidence = np.concatenate([p.max(1) for p in probabilities])
    correct = truth == predicted
    ends = np.cumsum([len(p) for p in probabilities])
    folds = [slice(end - len(p), end) for end, p in zip(ends, probabilities, strict=True)]
    of = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    rng, scores = np.random.default_rng(0), []
    for _ in range(DRAWS):
        rows = np.concatenate([of[i] for i in rng.integers(0, len(of), len(of))])
        scores.append(metrics.macro_f1(truth[rows], predicted[rows]))
    mean, hits, counts = metrics.reliability(confidence, correct)
    return {
        "specimens": len(truth),
        "taxa": len(np.unique(truth)),
        "groups": len(of),
        "accuracy": metrics.accuracy(truth, predicted),
        "macro_f1": metrics.macro_f1(truth, predicted),
        "macro_f1_95": np.percentile(scores, [2.5, 97.5]).tolist(),
        "mean_probability": float(confidence.mean()),
        "ece": metrics.calibration_error(confidence, correct),
        "ece_if_perfect": metrics.calibration_error_by_chance(confidence),
        "ece_of_turns": [metrics.calibration_error(confidence[f], correct[f]) for f in folds],
        "ece_of_turns_if_perfect": [
            metrics.calibration_error_by_chance(confidence[f]) for f in folds
        ],
        "reliability": [
            {"probability": float(m), "right": float(h), "specimens": int(c)}
            for m, h, c in zip(mean, hits, counts, strict=True)
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--split", required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    collection = Collection.open(arguments.collection)
    folds = make_folds(collection, arguments.split)
    tests = [evaluate_fold(fold, arguments.output / f"fold-{n}") for n, fold in enumerate(folds, 1)]
    data = [tested for tested, _ in tests]
    others = [concatenate([d for d in data if d is not own]) for own in data]
    rows = np.concatenate([np.flatnonzero(fold.of("test")) for fold in folds])
    groups = group_ids(collection.specimens).to_numpy()[rows]
    result = {
        "on_validation": figures(data, [calibration for _, calibration in tests], groups),
        "out_of_fold": figures(data, [fit_calibration(d) for d in others], groups),
    }
    print(json.dumps(result, indent=2))
    write_json(arguments.output / "folds.json", result)


if __name__ == "__main__":
    main()
