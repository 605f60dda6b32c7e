"""Distinct colors for taxa, chosen in CIELAB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from forametric.errors import InputError
from forametric.utils.text import printable

GREY = "#b4b8bf"


INK = "#1d2430"


@dataclass(frozen=True)
class Legend:
    """Taxa in alphabetical order, their colors and where their numbers stand.

    of
        (N,) int: the taxon of each specimen, −1 for an unnamed one.
    centroids
        (K,) int: the specimen at each taxon's medoid.
    """

    names: list[str]
    colors: list[str]
    counts: list[int]
    of: NDArray[np.intp]
    centroids: NDArray[np.intp]


def make_legend(coordinates: NDArray[np.float32], taxa: Sequence[str] | None) -> Legend:
    """Number the taxa and give neighbors on the map colors that differ much."""
    if taxa is None:
        taxa = [""] * len(coordinates)
    if len(taxa) != len(coordinates):
        raise InputError(f"The map has {len(coordinates)} specimens, but {len(taxa)} taxa.")
    clean = [printable(" ".join(str(taxon or "").split())) for taxon in taxa]
    names = sorted({name for name in clean if name}, key=lambda name: (name.lower(), name))
    number = {name: i for i, name in enumerate(names)}
    of = np.array([number.get(name, -1) for name in clean], dtype=np.intp)
    members = [np.flatnonzero(of == i) for i in range(len(names))]
    centroids = np.array([m[medoid(coordinates[m])] for m in members], dtype=np.intp)
    colors = _apart(palette(len(names)), coordinates[centroids])
    return Legend(names, [_hex(c) for c in colors], [len(m) for m in members], of, centroids)


def medoid(points: NDArray[np.float32]) -> int:
    """The row of (N, 2) nearest to all others; judged against at most 500 of them."""
    others = points[:: ceil(len(points) / 500)]
    distance = np.zeros(len(points))
    for other in others:
        distance += np.hypot(*(points - other).T)
    return int(distance.argmin())


def palette(count: int, seed: int = 0) -> NDArray[np.float64]:
    """`count` colors, (count, 3) sRGB in 0…1, each as far as can be from those before it.

    Distances are Euclidean in CIELAB (CIE 1976, D65), among colors neither pale nor near black
    nor grey. The first k colors are the same whatever `count` is.
    """
    draws = np.random.default_rng(seed).uniform([32, -90, -100], [76, 95, 95], (40_000, 3))
    rgb = lab_to_rgb(draws)
    chroma = np.hypot(draws[:, 1], draws[:, 2])
    usable = ((rgb >= 0) & (rgb <= 1)).all(1) & (chroma > 22)
    lab, rgb = draws[usable], rgb[usable]
    first = int(np.linalg.norm(lab - [48, 10, -55], axis=1).argmin())  # a quiet blue
    chosen = [first]
    nearest = np.linalg.norm(lab - lab[first], axis=1)
    for _ in range(count - 1):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
    return rgb[chosen[:count]]


def lab_to_rgb(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3) CIELAB under D65 to sRGB; outside 0…1 means outside the gamut."""
    y = (lab[:, 0] + 16) / 116
    f = np.stack([y + lab[:, 1] / 500, y, y - lab[:, 2] / 200], axis=1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.95047, 1.0, 1.08883]
    linear = xyz @ np.linalg.inv(_RGB_TO_XYZ).T
    gamma = 1.055 * np.abs(linear) ** (1 / 2.4) - 0.055
    return np.asarray(np.where(linear > 0.0031308, gamma, 12.92 * linear))


def rgb_to_lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3) sRGB in 0…1 to CIELAB under D65."""
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = linear @ _RGB_TO_XYZ.T / [0.95047, 1.0, 1.08883]
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack(
        [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1
    )


# IEC 61966-2-1 (sRGB)
_RGB_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def _apart(colors: NDArray[np.float64], centroids: NDArray[np.float32]) -> NDArray[np.float64]:
    """The colors reordered by seeded swaps so that taxa near each other differ most."""
    count = len(colors)
    if count < 3:
        return colors
    lab = rgb_to_lab(colors)
    alike = 1 / (1 + np.linalg.norm(lab[:, None] - lab[None], axis=2)) ** 2
    near = (
        1 / (0.02 * np.ptp(centroids) + np.linalg.norm(centroids[:, None] - centroids, axis=2)) ** 2
    )
    np.fill_diagonal(near, 0)
    order = np.arange(count)
    random = np.random.default_rng(0)
    for i, j in random.integers(0, count, (min(6000, 60 * count), 2)):
        swapped = order.copy()
        swapped[[i, j]] = swapped[[j, i]]
        before = near[[i, j]] * alike[order[[i, j]]][:, order]
        after = near[[i, j]] * alike[swapped[[i, j]]][:, swapped]
        if after.sum() < before.sum():
            order = swapped
    return colors[order]


def _hex(color: NDArray[np.float64]) -> str:
    return "#" + "".join(f"{round(float(part) * 255):02x}" for part in color)
