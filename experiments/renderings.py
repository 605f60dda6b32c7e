"""Train on simulated shells of one microscope, and name those of three others.

python experiments/renderings.py -o FOLDER --set augment.microscope.share=0

The four microscopes differ in the direction and kind of light, the background, the sensor and the
optics. Fourteen forms are drawn; shells of test are other individuals than those of training. The
result is not an accuracy on real specimens.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from experiments.instruments import SecondMicroscope, scores
from forametric._typing import Pixels
from forametric.data.importers.importing import import_collection
from forametric.data.splits import Split
from forametric.embedding.recipe import Recipe
from forametric.images import load_images
from forametric.model.model import Model
from forametric.simulation import FORMS, draw_form, simulate_shell
from forametric.simulation.simulate import Shell
from forametric.training.train import train

SIZE, TRAIN, VAL, TEST = 128, 40, 12, 20
NAMES = list(FORMS)[1::2][:14]
PLAIN = SecondMicroscope(0, 0, 0, 0, 1, 0, 0, 1, 1, 0, 95)


def oblique(form: str, number: int, degrees: float = 225, height: float = 0.9) -> Shell:
    """The shell under one lamp, whose direction does not change."""
    one = simulate_shell(form, number, 16).individual
    lit = replace(one, light_deg=degrees, light_height=height, blur=0.4, noise=0.008, exposure=0.9)
    return draw_form(FORMS[form], lit, seed=number, size=SIZE)


def first(form: str, number: int) -> Pixels:
    """The microscope of training: one lamp at the upper left, black background."""
    return oblique(form, number).picture


def opposite_gray(form: str, number: int) -> Pixels:
    """A gray camera, and a high lamp at the lower right."""
    shell = oblique(form, number, 45, 1.5)
    return replace(PLAIN, gray=1.0, contrast=0.85).take(shell.picture[None])[0]


def ring_light(form: str, number: int) -> Pixels:
    """A ring of lamps, a gray background, and JPEG files."""
    shells = [oblique(form, number, degrees, 1.2) for degrees in (0, 90, 180, 270)]
    light = np.mean([shell.picture for shell in shells], axis=0)
    mask = shells[0].mask[..., None]
    picture = np.where(mask, light, 0.6 * light + 95).astype(np.uint8)
    return replace(PLAIN, jpeg=40, blur=0.5).take(picture[None])[0]


def old_camera(form: str, number: int) -> Pixels:
    """A warm lamp, an old sensor and soft optics."""
    shell = oblique(form, number, 300, 0.8)
    old = replace(PLAIN, cast=0.12, noise=7, blur=1.1, resolution=0.6, gamma=1.3, shading=0.2)
    return old.take(shell.picture[None])[0]


MICROSCOPES: dict[str, Callable[[str, int], Pixels]] = {
    "first": first, "opposite gray": opposite_gray, "ring light": ring_light,
    "old camera": old_camera,
}  # fmt: skip


def write(folder: Path, form: str) -> list[dict[str, str]]:
    """Write the images of a form; returns the rows of the table."""
    rows = []
    for number in range(TRAIN + VAL + TEST):
        subset = "train" if number < TRAIN else "val" if number < TRAIN + VAL else "test"
        for name in MICROSCOPES if subset == "test" else ["first"]:
            image = f"{name.replace(' ', '_')}/{form.replace(' ', '_')}_{number}.png"
            (folder / image).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(MICROSCOPES[name](form, number)).save(folder / image)
            rows.append({"image": image, "label": form, "microscope": name, "subset": subset})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    arguments = parser.parse_args()
    images, output = arguments.output / "images", arguments.output
    if not (output / "collection").exists():
        with ProcessPoolExecutor() as pool:
            parts = list(pool.map(write, [images] * len(NAMES), NAMES))
        pd.DataFrame([row for part in parts for row in part]).to_csv(
            images / "specimens.csv", index=False
        )
        import_collection(images / "specimens.csv", output / "collection")
    split = Split.load(output / "collection", "subset")
    if not (output / "model").exists():
        train(split, Recipe.load(arguments.recipe, arguments.settings), output / "model")
    model, test = Model.load(output / "model"), split.collection.select(split.of("test"))
    pixels, _, _ = load_images(test.paths(), model.embedder.image_size)
    rows = []
    for name in MICROSCOPES:
        of = (test.specimens["microscope"] == name).to_numpy()
        rows.append({"microscope": name, **scores(model, pixels[of], test.taxa()[of].astype(str))})
    print(pd.DataFrame(rows).round(3).to_string(index=False))
    made = {"settings": arguments.settings, "seconds": model.card.training["seconds"]}
    text = json.dumps({**made, "table": rows}, indent=1)
    (output / "summary.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
