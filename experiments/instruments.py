"""How a model does on images as a second microscope would take them, for ten drawn microscopes.

python experiments/instruments.py MODEL COLLECTION --split open_2 -o FILE.json

Each microscope has its own optics, sensor, light, white balance and file format, drawn once; it
then takes all images. `forametric evaluate --corruptions` changes one thing at a time, this all of
them together. The test specimens of the split are named; MODEL must not have learnt from them.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from forametric import metrics
from forametric._typing import Pixels
from forametric.data.collection import Collection
from forametric.data.embeddings import Embeddings
from forametric.data.splits import Split
from forametric.evaluation.corruptions import CORRUPTIONS
from forametric.evaluation.predictions import predict
from forametric.identification.drift import described
from forametric.identification.identifier import ACCEPTED
from forametric.images import load_images
from forametric.images.statistics import image_statistics
from forametric.model.model import Model
from forametric.utils.files import write_json

CHANGE = {corruption.name: corruption.change for corruption in CORRUPTIONS}


@dataclass(frozen=True)
class SecondMicroscope:
    """What is constant in the images of one microscope; 0 or 1 for no change."""

    background: float
    shading: float
    light_from: float  # degrees
    blur: float
    resolution: float
    cast: float
    gray: float
    gamma: float
    contrast: float
    noise: float
    jpeg: int

    @classmethod
    def drawn(cls, seed: int) -> SecondMicroscope:
        """A microscope that differs as those of two laboratories may."""
        rng = np.random.default_rng([20261128, seed])
        return cls(
            background=float(rng.uniform(0, 20)),
            shading=float(rng.uniform(0, 0.3)),
            light_from=float(rng.uniform(0, 360)),
            blur=float(rng.uniform(0, 1.2)),
            resolution=float(rng.uniform(0.5, 1)),
            cast=float(rng.uniform(-0.1, 0.1)),
            gray=float(rng.choice([0.0, 0.0, 0.5, 1.0])),
            gamma=float(np.exp(rng.uniform(-0.4, 0.4))),
            contrast=float(rng.uniform(0.7, 1.05)),
            noise=float(rng.uniform(0, 6)),
            jpeg=int(rng.integers(30, 96)),
        )

    def take(self, images: Pixels) -> Pixels:
        """Images of the same specimens, (n, size, size, 3)."""
        taken = np.empty_like(images)
        for number, image in enumerate(images):
            rng = np.random.default_rng([7, number])
            pixels: np.ndarray = image.astype(np.float32)
            pixels = CHANGE["background"](pixels, self.background, rng)
            y, x = np.mgrid[-1 : 1 : len(image) * 1j, -1 : 1 : len(image) * 1j]
            angle = np.deg2rad(self.light_from)
            light = 1 + self.shading * (x * np.cos(angle) + y * np.sin(angle))
            pixels = CHANGE["blur"](pixels * light[..., None], self.blur, rng)
            pixels = CHANGE["resolution"](np.clip(pixels, 0, 255), self.resolution, rng)
            pixels = CHANGE["gray"](CHANGE["color cast"](pixels, self.cast, rng), self.gray, rng)
            pixels = 255 * (np.clip(pixels, 0, 255) / 255) ** self.gamma
            pixels = CHANGE["contrast"](pixels, self.contrast, rng)
            pixels = CHANGE["noise"](pixels, self.noise, rng)
            pixels = CHANGE["jpeg"](np.clip(pixels, 0, 255), self.jpeg, rng)
            taken[number] = np.clip(np.round(pixels), 0, 255)
        return taken


def scores(model: Model, images: Pixels, taxa: np.ndarray) -> dict[str, object]:
    """Names of one microscope's images, and what is said of them."""
    vectors, classes = model.embedder.embed_inputs(images, progress="")
    embeddings = Embeddings.of_vectors(vectors, classes, image_statistics(images))
    names = model.identifier.identify(embeddings)
    correct = (names["best"] == taxa).to_numpy()
    accepted = (names["decision"] == ACCEPTED).to_numpy()
    found: dict[str, object] = {
        "accuracy": float(correct.mean()),
        "ece": metrics.calibration_error(names["best_probability"].to_numpy(float), correct),
        "accepted": float(accepted.mean()),
        "wrong_of_accepted": float((~correct[accepted]).mean()) if accepted.any() else 0.0,
    }
    differences = model.identifier.statistic_differences(embeddings)
    drift = model.identifier.drift(differences, names, np.full(len(names), "", object))
    found["images_are"] = described(drift.table).get("", "")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--split", required=True)
    parser.add_argument("--microscopes", type=int, default=10)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    collection, model = Collection.open(arguments.collection), Model.load(arguments.model)
    found = predict(model, Split.load(collection, arguments.split))
    chosen = found.part("test")
    paths = [collection.path(int(row)) for row in found.rows[chosen]]
    images, readable, _ = load_images(paths, model.embedder.image_size)
    taxa = found.taxa[chosen][readable].astype(str)
    rows = [{"microscope": "own", **scores(model, images, taxa)}]
    for seed in range(arguments.microscopes):
        microscope = SecondMicroscope.drawn(seed)
        rows.append({"microscope": str(seed), **scores(model, microscope.take(images), taxa)})
    table = pd.DataFrame(rows)
    print(table.round(3).to_string(index=False))
    second = table[table["microscope"] != "own"]
    summary = second[["accuracy", "ece", "accepted", "wrong_of_accepted"]].mean().to_dict()
    print("mean of second microscopes:", {k: round(v, 3) for k, v in summary.items()})
    drawn = [asdict(SecondMicroscope.drawn(seed)) for seed in range(arguments.microscopes)]
    made = {"split": arguments.split, "specimens": len(images), "recipe": model.recipe.name}
    written = {**made, "table": rows, "mean": summary, "microscopes": drawn}
    write_json(arguments.output, written)


if __name__ == "__main__":
    main()
