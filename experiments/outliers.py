"""Choose how to train with images of no taxon; test specimens of the split are not used.

python experiments/outliers.py COLLECTION -o FOLDER --train Blob,Dot

The specimens that the split trains and validates on are divided again, as by robustness.py. Images
of no taxon (`distractor` in the split) are divided by their labels: those named by --train are
shown in training as classes of their own, at most 150 of each. Of each of the others at most 300
are tested. (How outlier exposure was measured is in commit 8884cd1.)

FOLDER gets the model, its split and summary.json; the same command resumes an interrupted run.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from experiments.robustness import selection_split, trained_model
from forametric.data.collection import Collection
from forametric.data.splits import Split
from forametric.evaluation.evaluate import evaluate
from forametric.metrics import auroc

MOST, MOST_OF_A_CLASS = 300, 150
RIGHT = (0.9, 0.85, 0.8, 0.75, 0.7)  # shares of the known specimens that are accepted rightly


def outlier_split(collection: Collection, split: str, seed: int, trained: list[str]) -> Split:
    """`selection_split`, with images of no taxon in train and val, others in `distractor`."""
    selection = selection_split(collection, split, seed)
    subsets = selection.subsets.reindex(collection.specimens["id"]).fillna("unused")
    none, taxa = Split.load(collection, split).of("distractor"), pd.Series(collection.taxa())
    shown = taxa[none & taxa.isin(trained).to_numpy()].sample(frac=1, random_state=seed)
    place = shown.groupby(shown).cumcount()
    subsets.iloc[place.index[place < MOST_OF_A_CLASS]] = "train"
    subsets.iloc[place.index[place < MOST_OF_A_CLASS // 6]] = "val"
    rest = taxa[none & ~taxa.isin(trained).to_numpy()].sample(frac=1, random_state=seed)
    subsets.iloc[rest.groupby(rest).head(MOST).index] = "distractor"
    return Split(collection, subsets.rename("subset"), f"{split}, seed {seed}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("collection", type=Path)
    parser.add_argument("--split", default="open_1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", default="", help="labels of no taxon, separated by commas")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    collection = Collection.open(arguments.collection)
    trained = arguments.train.split(",")
    split = outlier_split(collection, arguments.split, arguments.seed, trained)
    model = trained_model(
        split, arguments.recipe, arguments.settings, arguments.seed, arguments.output
    )
    result = evaluate(model, split)
    predictions, known = result.predictions, result.metrics["known"]
    novelty, as_taxon = predictions.novelty, ~np.isin(predictions.named, trained)
    accepted = (predictions.decisions == "accepted") & as_taxon
    test = predictions.part("test")
    parts = {"known": test, "unseen": predictions.part("unseen")}
    for taxon in np.unique(predictions.taxa[predictions.part("distractor")].astype(str)):
        parts[taxon] = np.flatnonzero(predictions.taxa == taxon)
    rows = [
        {
            "of": name,
            "specimens": len(rows),
            "auroc": auroc(novelty[rows], novelty[test]) if name != "known" else None,
            "accepted": float(accepted[rows].mean()),
            "unknown": float((predictions.decisions[rows] == "unknown").mean()),
            "named_no_taxon": float((~as_taxon[rows]).mean()),
        }
        for name, rows in parts.items()
    ]
    table = pd.DataFrame(rows)
    print(table.round(3).to_string(index=False))
    right = accepted[test] & predictions.correct[test]
    figures = {
        "settings": arguments.settings,
        "trained": trained,
        "training_seconds": model.card.training["seconds"],
        "accuracy": known["accuracy"],
        "macro_f1": known["macro_f1"],
        "unseen_ami": result.metrics["unseen"].get("ami"),
        "ece": result.metrics["calibration"].get("ece"),
        "known_accepted_rightly": float(right.mean()),
        "accepted_at": {
            f"{right:.2f}": {name: predictions.accepted_at(right, at) for name, at in parts.items()}
            for right in RIGHT
        },
        "parts": rows,
    }
    print(json.dumps({k: v for k, v in figures.items() if k != "parts"}, indent=1))
    (arguments.output / "summary.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
