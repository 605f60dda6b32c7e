"""How much of the label goes and how much of the shell stays, on simulated plates of known truth.

python experiments/plates.py 2000
"""

from __future__ import annotations

import sys
from collections import defaultdict

import numpy as np

from forametric.images.plate import read_plate
from forametric.simulation.plates import STYLES, any_form, simulate_plate
from forametric.utils.progress import bar


def measure(count: int, first: int = 0) -> dict[tuple[str, bool], dict[str, float]]:
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


if __name__ == "__main__":
    for (style, near), found in measure(int(sys.argv[1]) if len(sys.argv) > 1 else 2000).items():
        figures = ", ".join(f"{name} {value:.5g}" for name, value in found.items())
        print(f"{style:12} {'near the edge' if near else 'free':14} {figures}")
