"""Choose training settings by how a model does on corrupted images; test specimens are not used.

python experiments/robustness.py COLLECTION -o FOLDER --set augment.microscope.share=0.3

The specimens that the split trains and validates on are divided again: some of their taxa are held
out as unseen, the others are divided into train, val and test. A model is trained, and tested clean
and under the corruptions of `forametric evaluate --corruptions`. Four corruptions are kept aside
while settings are chosen: they are shown with --all only.

FOLDER gets the model, its split and corruptions.csv; the same command resumes an interrupted run.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from forametric.data.collection import Collection
from forametric.data.splits import Split, make_split
from forametric.embedding.recipe import Recipe
from forametric.evaluation.corruptions import CORRUPTIONS
from forametric.evaluation.evaluate import evaluate
from forametric.evaluation.robustness import corrupted_scores, summarise_corruptions
from forametric.model.model import Model
from forametric.training.train import train

KEPT_ASIDE = ("shot noise", "defocus", "contrast", "debris")


def selection_split(collection: Collection, split: str, seed: int) -> Split:
    """A division of the specimens that a split trains and validates on; an eighth of the taxa."""
    seen = collection.select(Split.load(collection, split).of("train", "val"))
    return make_split(seen, held_out_taxa=len(set(seen.taxa())) // 8, seed=seed)


def trained_model(split: Split, recipe: str, settings: list[str], seed: int, output: Path) -> Model:
    """The model in a folder, which is trained if there is none yet; its split is written too."""
    folder = output / "model"
    if not folder.exists():
        train(split, Recipe.load(recipe, settings), folder, seed=seed)
        split.to_csv(output / "split.csv")
    return Model.load(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("collection", type=Path)
    parser.add_argument("--split", default="open_1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--all", action="store_true", help="also what was kept aside")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    split = selection_split(Collection.open(arguments.collection), arguments.split, arguments.seed)
    model = trained_model(
        split, arguments.recipe, arguments.settings, arguments.seed, arguments.output
    )
    result = evaluate(model, split)
    chosen = [c for c in CORRUPTIONS if arguments.all or c.name not in KEPT_ASIDE]
    table = corrupted_scores(model, result.predictions, split.collection, chosen)
    table.to_csv(arguments.output / "corruptions.csv", index=False)
    print(table.round(3).to_string(index=False))
    figures = {
        "settings": arguments.settings,
        "training_seconds": model.card.training["seconds"],
        "macro_f1": result.metrics["known"]["macro_f1"],
        "unseen_ami": result.metrics["unseen"].get("ami"),
        "auroc": result.metrics["open_set"].get("auroc"),
        "ece": result.metrics["calibration"].get("ece"),
        **summarise_corruptions(table),
    }
    print(json.dumps(figures, indent=1))
    (arguments.output / "summary.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
