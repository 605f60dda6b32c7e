"""Measures of plates and slides against simulated truth, for tests and for experiments."""

from __future__ import annotations

import time
from collections import Counter, defaultdict

import numpy as np
import numpy.typing as npt

from forametric.images.plate import read_plate
from forametric.images.segment import Slide, find_specimens
from forametric.simulation.plates import STYLES, any_form, simulate_plate
from forametric.simulation.slides import SimulatedSlide, simulate_slide
from forametric.utils.progress import bar


def measure_plates(count: int, first: int = 0) -> dict[tuple[str, bool], dict[str, float]]:
    """For each style, and with the shell near the edge or not: shares of pixels, worst plate."""
    kept: dict[tuple[str, bool], list[tuple[float, float]]] = defaultdict(list)
    with bar("reading plates", count) as advance:
        for seed in range(first, first + count):
            style, near = STYLES[seed % len(STYLES)], bool(seed // len(STYLES) % 2)
            plate = simulate_plate(any_form(np.random.default_rng(seed)), seed, style, near=near)
            top, bottom, left, right = read_plate(plate.picture).box
            inside = np.zeros(plate.shell.shape, bool)
            inside[top:bottom, left:right] = True
            stays = (plate.shell & inside).sum() / plate.shell.sum()
            goes = (plate.strip & ~inside).sum() / plate.strip.sum()
            kept[style, near].append((stays, goes))
            advance(1)
    return {
        key: {
            "plates": len(shares),
            "shell kept": float(np.mean([s for s, _ in shares])),
            "strip gone": float(np.mean([g for _, g in shares])),
            "worst shell": min(s for s, _ in shares),
            "worst strip": min(g for _, g in shares),
        }
        for key, shares in kept.items()
    }


def matched_specimens(found: Slide, truth: SimulatedSlide) -> tuple[set[int], int]:
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
    return set((1 + np.flatnonzero((share >= 0.5).any(1))).tolist()), len(found.specimens)


def slide_of(seed: int, side: int) -> SimulatedSlide:
    """The slide of a seed: 50 to 300 shells, dark ones on every second."""
    rng = np.random.default_rng([seed, 5])
    shells = int(rng.integers(50, 301))
    widest = min(110.0, 1300 / np.sqrt(shells)) * side / 2000
    return simulate_slide(
        seed, shells, side=side, diameters=(0.45 * widest, widest), dark=bool(seed % 2)
    )


def measure_slides(count: int, side: int, first: int = 0) -> dict[str, dict[str, float]]:
    """Precision and recall over `count` slides, for each kind of light."""
    tally: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
    with bar("segmenting slides", count) as advance:
        for seed in range(first, first + count):
            truth = slide_of(seed, side)
            shells = int(truth.labels.max())
            start = time.perf_counter()
            found = find_specimens(truth.picture)
            hit, number = matched_specimens(found, truth)
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
