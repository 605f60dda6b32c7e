"""Place thumbnails and labels so that they do not cover the points."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]  # left, bottom, right, top


def exemplars(
    points: NDArray[np.float64], first: NDArray[np.intp], spacing: float, seed: int
) -> list[int]:
    """Specimens to show, the best first: `first`, then others at least `spacing` from all chosen.

    The others come in seeded random order, so dense and sparse parts of the map are both shown.
    """
    chosen = [int(i) for i in first]
    seen: dict[tuple[int, int], list[int]] = {}

    def cell(i: int) -> tuple[int, int]:
        return int(points[i, 0] // spacing), int(points[i, 1] // spacing)

    def crowded(i: int) -> bool:
        x, y = cell(i)
        around = [(x + dx, y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
        return any(
            np.hypot(*(points[i] - points[j])) < spacing for c in around for j in seen.get(c, [])
        )

    for i in chosen:
        seen.setdefault(cell(i), []).append(i)
    for i in np.random.default_rng(seed).permutation(len(points)):
        if not crowded(int(i)):
            chosen.append(int(i))
            seen.setdefault(cell(int(i)), []).append(int(i))
    return chosen


def overlap(a: Box, b: Box) -> bool:
    """Whether two boxes share any area.

    >>> overlap((0, 0, 1, 1), (0.5, 0.5, 2, 2)), overlap((0, 0, 1, 1), (1, 0, 2, 1))
    (True, False)
    """
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def place_boxes(
    anchors: NDArray[np.float64],
    points: NDArray[np.float64],
    size: tuple[float, float],
    frame: Box,
    taken: Sequence[Box] = (),
    *,
    reach: Sequence[float] = (0.0, 0.8, 1.1, 1.45, 1.9),
    hiding: float = 3.0,
) -> list[Box | None]:
    """A box of `size` near each of the (K, 2) anchors that overlaps no other; None if none fits.

    In the order given. Of the places within `reach` (in box heights) inside `frame`, each anchor
    gets the one that is nearest and hides the fewest of the (N, 2) points; `hiding` weighs the
    second against the first.
    """
    counts, edge = _summed(points, frame, min(size) / 4)
    usual = max(1.0, 4 * len(points) * size[0] * size[1] / _area(frame))
    angles = np.arange(16) * (np.pi / 8)
    offsets = (
        np.array(
            [(0.0, 0.0)] * (reach[0] == 0)
            + [(r * np.cos(a), r * np.sin(a)) for r in reach if r > 0 for a in angles]
        )
        * size[1]
    )
    done = list(taken)
    boxes: list[Box | None] = []
    for anchor in anchors:
        best: Box | None = None
        best_cost = np.inf
        for offset in offsets:
            x, y = anchor + offset
            box = (x - size[0] / 2, y - size[1] / 2, x + size[0] / 2, y + size[1] / 2)
            if not (frame[0] <= box[0] and box[2] <= frame[2]):
                continue
            if not (frame[1] <= box[1] and box[3] <= frame[3]):
                continue
            hidden = _inside(counts, edge, frame, box)
            cost = hiding * hidden / usual + 0.5 * float(np.hypot(*offset)) / size[1]
            if cost < best_cost and not any(overlap(box, other) for other in done):
                best, best_cost = box, cost
        boxes.append(best)
        if best is not None:
            done.append(best)
    return boxes


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _summed(
    points: NDArray[np.float64], frame: Box, edge: float
) -> tuple[NDArray[np.float64], float]:
    """Running sums of the points counted on a grid of cells `edge` wide."""
    nx, ny = ceil((frame[2] - frame[0]) / edge), ceil((frame[3] - frame[1]) / edge)
    grid, _, _ = np.histogram2d(
        points[:, 0],
        points[:, 1],
        bins=(nx, ny),
        range=((frame[0], frame[0] + nx * edge), (frame[1], frame[1] + ny * edge)),
    )
    return np.pad(grid.cumsum(0).cumsum(1), ((1, 0), (1, 0))), edge


def _inside(sums: NDArray[np.float64], edge: float, frame: Box, box: Box) -> float:
    """About how many points lie in `box`."""
    x0, x1 = (min(max(round((v - frame[0]) / edge), 0), len(sums) - 1) for v in (box[0], box[2]))
    y0, y1 = (
        min(max(round((v - frame[1]) / edge), 0), sums.shape[1] - 1) for v in (box[1], box[3])
    )
    return float(sums[x1, y1] - sums[x0, y1] - sums[x1, y0] + sums[x0, y0])
