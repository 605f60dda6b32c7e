"""How many shells of a slide are found, and how many found are shells, on slides of known truth.

python experiments/slides.py 40              # 20 bright on dark, 20 dark on light, 50 to 300 shells
python experiments/slides.py --side 10000 --write slide.png   # a large one, to measure memory with:
/usr/bin/time -v forametric segment slide.png -o slide
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from forametric.images.segment import Slide, find_specimens
from forametric.simulation.slides import SimulatedSlide, simulate_slide
from forametric.utils.progress import bar


def matched(found: Slide, truth: SimulatedSlide) -> tuple[set[int], int]:
    """The true shells found (intersection over union at least a half), and how many were found."""
    step = found.factor
    labels = truth.labels[step // 2 :: step, step // 2 :: step]
    rows = min(labels.shape[0], found.labels.shape[0])
    columns = min(labels.shape[1], found.labels.shape[1])
    true, seen = labels[:rows, :columns].ravel(), found.labels[:rows, :columns].ravel()
    table: npt.NDArray[np.int64] = np.zeros((int(true.max()) + 1, int(seen.max()) + 1), np.int64)
    np.add.at(table, (true, seen), 1)
    union = table.sum(1, keepdims=True) + table.sum(0, keepdims=True) - table
    share = (table / np.maximum(union, 1))[1:, 1:]
    # At a half or more, no true shell has two matches, and no found one.
    return set((1 + np.flatnonzero((share >= 0.5).any(1))).tolist()), len(found.shells)


def slide_of(seed: int, side: int) -> SimulatedSlide:
    """The slide of a seed: 50 to 300 shells, dark ones on every second."""
    rng = np.random.default_rng([seed, 5])
    shells = int(rng.integers(50, 301))
    widest = min(110.0, 1300 / np.sqrt(shells)) * side / 2000
    return simulate_slide(
        seed, shells, side=side, diameters=(0.45 * widest, widest), dark=bool(seed % 2)
    )


def measure(count: int, side: int, first: int = 0) -> dict[str, dict[str, float]]:
    """Precision and recall over `count` slides, for each kind of light."""
    tally: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
    with bar("segmenting slides", count) as advance:
        for seed in range(first, first + count):
            truth = slide_of(seed, side)
            shells = int(truth.labels.max())
            start = time.perf_counter()
            found = find_specimens(truth.picture)
            hit, number = matched(found, truth)
            tally[bool(seed % 2)].update(
                slides=1,
                shells=shells,
                found=number,
                right=len(hit),
                touching=len(truth.touching),
                touching_right=len(hit & truth.touching),
                milliseconds=round(1000 * (time.perf_counter() - start)),
            )
            advance(1)
    return {
        "dark on light" if dark else "bright on dark": {
            "slides": c["slides"],
            "shells": c["shells"],
            "precision": c["right"] / c["found"],
            "recall": c["right"] / c["shells"],
            "recall of touching": c["touching_right"] / c["touching"],
            "seconds a slide": c["milliseconds"] / 1000 / c["slides"],
        }
        for dark, c in tally.items()
        if c["slides"]
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int, nargs="?", default=40)
    parser.add_argument("--side", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--write", type=Path, help="Write the first slide there, measure nothing.")
    asked = parser.parse_args()
    if asked.write:
        Image.fromarray(slide_of(asked.first, asked.side).picture).save(asked.write)
        raise SystemExit
    for light, found in measure(asked.count, asked.side, asked.first).items():
        figures = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
        print(f"{light:15} {figures}")
