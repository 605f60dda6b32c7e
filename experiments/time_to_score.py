"""Training time of the default recipe until it reaches the published one's validation score.

python experiments/time_to_score.py COLLECTION --split SPLIT --size 128

The published recipe (`karaderi2022`, with the same backbone) is trained for all its epochs at the
given image size. Then `default` is trained for 1, 2, 4, … epochs until its validation score is not
lower. The times are those of whole trainings, with decoding and saving.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from forametric.data.collection import Collection
from forametric.data.splits import Split
from forametric.embedding.recipe import Recipe
from forametric.training.train import train


def timed_training(
    collection: str, split: str, recipe: Recipe, folder: Path
) -> tuple[float, float]:
    """Train; returns the seconds and the best validation macro F1."""
    model = train(Split.load(Collection.open(collection), split), recipe, folder)
    training = model.card.training
    scores = [row["val_macro_f1"] for row in training["epochs"] if "val_macro_f1" in row]
    print(
        f"{recipe.name}, {recipe.epochs} epochs: {training['seconds']} s, {max(scores):.4f}",
        flush=True,
    )
    return float(training["seconds"]), max(scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("collection")
    parser.add_argument("--split", required=True)
    parser.add_argument("--size", type=int, default=128)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        published = Recipe.load(
            "karaderi2022",
            [f"network.image_size={arguments.size}", 'network.backbone="tf_efficientnet_lite0"'],
        )
        slow, goal = timed_training(
            arguments.collection, arguments.split, published, Path(folder, "published")
        )
        epochs = 1
        while True:
            recipe = Recipe.load("default", [f"epochs={epochs}"])
            fast, score = timed_training(
                arguments.collection, arguments.split, recipe, Path(folder, str(epochs))
            )
            if score >= goal or epochs >= 64:
                break
            epochs *= 2
    print(
        f"default reached {score:.4f} ≥ {goal:.4f} in {fast:.0f} s: {slow / fast:.1f} times faster"
    )


if __name__ == "__main__":
    main()
