"""Precision and recall of the label errors that `forametric check --model` finds.

python experiments/labels.py COLLECTION                        # frozen features, five repeats
python experiments/labels.py COLLECTION --recipe default --plantings 1   # a trained model

A share of the labels is replaced by another taxon, drawn at random. A recipe with training is
trained on the same labels that are then checked, as in practice.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from forametric.analysis.check import label_errors
from forametric.data.collection import Collection
from forametric.data.splits import make_split
from forametric.embedding.recipe import Recipe
from forametric.training.train import train


def plant_errors(collection: Collection, share: float, seed: int) -> tuple[Collection, set[int]]:
    """The collection with a share of wrong labels, and their rows."""
    rng = np.random.default_rng(seed)
    taxa = collection.taxa().astype(str)
    names = np.unique(taxa[taxa != ""])
    rows = rng.choice(np.flatnonzero(taxa != ""), round(share * len(taxa)), replace=False)
    wrong = taxa.copy()
    for row in rows:
        wrong[row] = rng.choice(names[names != taxa[row]])
    table = collection.specimens.assign(taxon=wrong)
    return Collection(table, collection.images, collection.info), set(rows.tolist())


def measure(collection: Collection, recipe: Recipe, share: float, plantings: int) -> pd.DataFrame:
    """For each repeat: the numbers of planted and found errors, precision and recall."""
    rows = []
    for seed in range(plantings):
        noisy, wrong = plant_errors(collection, share, seed)
        with tempfile.TemporaryDirectory() as folder:
            model = train(make_split(noisy, seed=seed), recipe, Path(folder) / "model", seed=seed)
        found = {row for row, *_ in label_errors(noisy, model.embed(noisy))}
        correct = len(found & wrong)
        precision, recall = correct / max(1, len(found)), correct / len(wrong)
        rows.append((seed, len(wrong), len(found), precision, recall))
        print(f"planting {seed}: precision {precision:.3f}, recall {recall:.3f}", flush=True)
    return pd.DataFrame(rows, columns=["seed", "planted", "found", "precision", "recall"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--recipe", default="frozen")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--plantings", type=int, default=5)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    collection, recipe = Collection.open(arguments.collection), Recipe.load(arguments.recipe)
    table = measure(collection, recipe, arguments.share, arguments.plantings)
    for name in ("precision", "recall"):
        print(f"{name}: {table[name].mean():.3f} ± {table[name].std():.3f} over {len(table)}")
