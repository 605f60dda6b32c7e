"""How many planted label errors `forametric check --model` finds, and how many of its are planted.

python experiments/labels.py COLLECTION                        # frozen features, five plantings
python experiments/labels.py COLLECTION --recipe default --plantings 1   # a model trained on them

A share of the specimens gets the name of another taxon, drawn at random. A recipe that learns is
trained on the very labels that are then checked, as a lab would.
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
from forametric.data.splits import draw_split
from forametric.embedding.recipe import Recipe
from forametric.training.train import train


def planted(collection: Collection, share: float, seed: int) -> tuple[Collection, set[int]]:
    """The collection with that share of wrong names, and the rows that bear them."""
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
    """For each planting: how many were planted, found, rightly found; precision and recall."""
    rows = []
    for seed in range(plantings):
        spoilt, wrong = planted(collection, share, seed)
        with tempfile.TemporaryDirectory() as folder:
            subsets = draw_split(spoilt, seed=seed)
            model = train(spoilt, subsets, recipe, Path(folder) / "model", seed=seed)
        found = {row for row, *_ in label_errors(spoilt, model.embed_images(spoilt.paths()))}
        right = len(found & wrong)
        precision, recall = right / max(1, len(found)), right / len(wrong)
        rows.append((seed, len(wrong), len(found), precision, recall))
        print(f"planting {seed}: precision {precision:.3f}, recall {recall:.3f}", flush=True)
    return pd.DataFrame(rows, columns=["seed", "planted", "found", "precision", "recall"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("collection", type=Path)
    parser.add_argument("--recipe", default="frozen")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--plantings", type=int, default=5)
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    table = measure(
        Collection.open(asked.collection), Recipe.load(asked.recipe), asked.share, asked.plantings
    )
    for name in ("precision", "recall"):
        print(f"{name}: {table[name].mean():.3f} ± {table[name].std():.3f} over {len(table)}")
