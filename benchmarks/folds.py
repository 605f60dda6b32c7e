"""Every known specimen named once by a model that never saw it: the calibration error, measured.

python benchmarks/folds.py COLLECTION --split closed -o FOLDER

A test set of 400 specimens shows a calibration error of 0.04 even where the probabilities are
perfect. Here the train, val and test specimens of a split are dealt into ten parts (groups kept on
one side, taxa spread evenly); in each of five turns two parts are tested, one is for validation,
seven are learnt from. FOLDER keeps models and results: stopped, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from forametric import metrics
from forametric.collection import Collection
from forametric.embedder import Embedder
from forametric.evaluation.protocol import evaluate
from forametric.files import write_json
from forametric.learning.recipe import Recipe
from forametric.learning.train import train
from forametric.splits import kept_together, load_split

PARTS, DRAWS = 10, 500


def turns(collection: Collection, split: str, seed: int = 0) -> list[pd.Series]:
    """Five splits; each known specimen is tested in one of them."""
    roles = load_split(collection, split)
    known = np.flatnonzero(roles.isin(("train", "val", "test")) & (collection.taxa() != ""))
    taxa = collection.taxa()[known].astype(str)
    groups = kept_together(collection.specimens).to_numpy()[known]
    deal = StratifiedGroupKFold(PARTS, shuffle=True, random_state=seed)
    parts = [known[rows] for _, rows in deal.split(known, taxa, groups)]
    found = []
    for first in range(0, PARTS, 2):
        turn = pd.Series("unused", index=roles.index, name="role")
        turn.iloc[known] = "train"
        turn.iloc[np.concatenate(parts[first : first + 2])] = "test"
        turn.iloc[parts[(first + 2) % PARTS]] = "val"
        found.append(turn)
    return found


def tested(collection: Collection, turn: pd.Series, folder: Path) -> pd.DataFrame:
    """Train and evaluate one turn, unless that is done; its test specimens with their names."""
    model, results = folder / "model", folder / "results"
    if not model.exists():
        train(collection, turn, Recipe.load("default"), model)
    if not results.exists():
        evaluate(Embedder.load(model), collection, turn, results)
    return pd.read_csv(results / "specimens.csv", keep_default_na=False)


def whole(table: pd.DataFrame, groups: npt.NDArray[Any]) -> dict[str, Any]:
    """The figures of all specimens together; the interval by drawing groups with return."""
    truth, named = table["taxon"].to_numpy(str), table["named"].to_numpy(str)
    score, right = table["score"].to_numpy(float), truth == named
    of = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    rng, scores = np.random.default_rng(0), []
    for _ in range(DRAWS):
        rows = np.concatenate([of[i] for i in rng.integers(0, len(of), len(of))])
        scores.append(metrics.macro_f1(truth[rows], named[rows]))
    mean, hits, counts = metrics.reliability(score, right)
    return {
        "specimens": len(table),
        "taxa": len(np.unique(truth)),
        "groups": len(of),
        "accuracy": metrics.accuracy(truth, named),
        "macro_f1": metrics.macro_f1(truth, named),
        "macro_f1_95": np.percentile(scores, [2.5, 97.5]).tolist(),
        "mean_probability": float(score.mean()),
        "ece": metrics.calibration_error(score, right),
        "ece_if_perfect": metrics.calibration_error_by_chance(score),
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
    tables = []
    for number, turn in enumerate(turns(shells, asked.split), 1):
        table = tested(shells, turn, asked.output / f"turn_{number}")
        known = table[table["role"] == "test"]
        tables.append(known)
        right = (known["taxon"] == known["named"]).to_numpy()
        error = metrics.calibration_error(known["score"].to_numpy(float), right)
        print(f"turn {number}: {len(known)} tested, {right.mean():.3f} right, ECE {error:.3f}")
    together = pd.concat(tables)
    groups = kept_together(shells.specimens)
    groups.index = pd.Index(shells.specimens["id"])
    found = whole(together, groups[together["id"]].to_numpy())
    print(json.dumps(found, indent=2))
    write_json(asked.output / "folds.json", found)


if __name__ == "__main__":
    main()
