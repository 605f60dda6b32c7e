"""Convert colors, some rows at a time, so that a large image is not in memory several times."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from forametric._typing import AnyArray, Pixels

STRIP = 1 << 20  # values that are converted at once


def strips(image: AnyArray) -> Iterator[slice]:
    """The rows of an image in parts of about `STRIP` values."""
    at_once = max(1, STRIP // max(1, image[0].size))
    for start in range(0, len(image), at_once):
        yield slice(start, start + at_once)


def on_black(colors: AnyArray, alpha: AnyArray, opaque: int) -> AnyArray:
    """Colors on a black ground, rounded; the array is changed.

    Parameters
    ----------
    colors : ndarray of unsigned integers, shape (height, width, channels)
    alpha : ndarray, shape (height, width)
    opaque : int
        The greatest value of `alpha`.
    """
    for rows in strips(colors):
        faded = colors[rows] * (alpha[rows, :, None].astype(np.float64) / opaque)
        colors[rows] = np.rint(faded)
    return colors


def cmyk_to_rgb(inks: Pixels) -> Pixels:
    """Inks on white paper, (height, width, 4), 255 for full ink."""
    out = np.empty((*inks.shape[:2], 3), np.uint8)
    for rows in strips(inks):
        light = 255 - inks[rows].astype(np.uint16)
        out[rows] = (light[..., :3] * light[..., 3:] + 127) // 255
    return out


def through_table(indices: AnyArray, table: Pixels) -> Pixels:
    """`table[indices]`; what is beyond the table becomes its last entry."""
    out = np.empty((*indices.shape, *table.shape[1:]), np.uint8)
    for rows in strips(indices):
        out[rows] = table[np.minimum(indices[rows].astype(np.intp), len(table) - 1)]
    return out
