"""Time until the default recipe is as good, on validation, as the published one at its end.

python experiments/time_to_score.py COLLECTION --split SPLIT --size 128

The published recipe (`karaderi2022`, from the same backbone) is trained for all its epochs at the
size given; then `default`, shortened to 1, 2, 4, … epochs, until its validation score is no lower.
Both times are those of whole trainings, decoding and saving included, one after the other.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from forametric.data.collection import Collection
from forametric.data.splits import load_split
from forametric.embedding.recipe import Recipe
from forametric.training.train import train


def trained(collection: str, split: str, recipe: Recipe, folder: Path) -> tuple[float, float]:
    """Seconds of a training, and the best validation macro F1 it came to."""
    shells = Collection.open(collection)
    model = train(shells, load_split(shells, split), recipe, folder)
    training = model.card.training
    scores = [row["val_macro_f1"] for row in training["epochs"] if "val_macro_f1" in row]
    print(
        f"{recipe.name}, {recipe.epochs} epochs: {training['seconds']} s, {max(scores):.4f}",
        flush=True,
    )
    return float(training["seconds"]), max(scores)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("collection")
    parser.add_argument("--split", required=True)
    parser.add_argument("--size", type=int, default=128)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        theirs = Recipe.load(
            "karaderi2022",
            [f"network.image_size={args.size}", 'network.backbone="tf_efficientnet_lite0"'],
        )
        slow, goal = trained(args.collection, args.split, theirs, Path(folder, "theirs"))
        epochs = 1
        while True:
            ours = Recipe.load("default", [f"epochs={epochs}"])
            fast, score = trained(args.collection, args.split, ours, Path(folder, str(epochs)))
            if score >= goal or epochs >= 64:
                break
            epochs *= 2
    print(f"default reached {score:.4f} ≥ {goal:.4f} in {fast:.0f} s: {slow / fast:.1f} × less")


if __name__ == "__main__":
    main()
