"""Simulate slides: images of many shells with known outlines, to test segmentation.

Results on them show what the method can do, not what it does on real slides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import gaussian_filter

from forametric._typing import BoolArray, Pixels
from forametric.errors import InputError
from forametric.simulation import simulate_shell
from forametric.simulation.plates import any_form

Labels = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class SimulatedSlide:
    """A slide and the truth about it.

    Attributes
    ----------
    picture : ndarray of uint8, shape (side, side, 3)
    labels : ndarray of uint16, shape (side, side)
        The number of the shell at each pixel, from 1; 0 elsewhere.
    touching : set of int
        The shells that touch another.
    """

    picture: Pixels
    labels: Labels
    touching: set[int]


def simulate_slide(
    seed: int,
    shells: int,
    *,
    side: int = 2000,
    diameters: tuple[float, float] = (50, 110),
    touching: float = 0.2,
    dark: bool = False,
) -> SimulatedSlide:
    """Simulate a slide with shells at random positions, uneven light, dust and noise.

    Parameters
    ----------
    shells : int
        The number of shells.
    diameters : tuple of float
        Smallest and largest, in pixels; their logarithm is uniform.
    touching : float
        Share of the shells that touch another.
    dark : bool
        Dark shells on a light slide, as in transmitted light; else bright on dark.

    Raises
    ------
    InputError
        When the shells do not fit on the slide.

    >>> slide = simulate_slide(0, 6, side=400)
    >>> slide.picture.shape, int(slide.labels.max())
    ((400, 400, 3), 6)
    """
    rng = np.random.default_rng([seed, 29])
    picture = _empty_slide(side, dark, rng)
    labels = np.zeros((side, side), np.uint16)
    joined: set[int] = set()
    corner: tuple[int, int] | None = None
    pairs = round(shells * touching / 2)
    for number in range(1, shells + 1):
        size = round(np.exp(rng.uniform(*np.log(diameters))) / 0.8)
        shell = simulate_shell(any_form(rng), int(rng.integers(2**31)), size)
        # The last shells are placed next to shells that touch no other.
        if number > shells - pairs:
            mates = [n for n in range(1, shells - pairs + 1) if n not in joined]
            for mate in rng.permutation(mates):
                corner = _touching_position(labels, shell.mask, int(mate), rng)
                if corner is not None:
                    joined |= {int(mate), number}
                    break
        else:
            corner = _free_position(labels, shell.mask, rng)
        if corner is None:
            raise InputError(f"{shells} shells of {diameters} px do not fit on {side} px.")
        here = (slice(corner[0], corner[0] + size), slice(corner[1], corner[1] + size))
        labels[here][shell.mask] = number
        tone = shell.picture.astype(np.float32)
        if dark:
            tone = np.median(picture[here], axis=(0, 1)) * (0.2 + 0.5 * tone / 255)
        share = np.clip(gaussian_filter(shell.mask.astype(np.float32), 0.6), 0, 1)[..., None]
        mixed = share * tone + (1 - share) * picture[here]
        picture[here] = np.clip(mixed, 0, 255).astype(np.uint8)
    return SimulatedSlide(picture, labels, joined)


def _empty_slide(side: int, dark: bool, rng: np.random.Generator) -> Pixels:
    """A slide without shells: its tone, uneven light, dust and noise."""
    small = 200
    y, x = np.mgrid[:small, :small] / small
    fall = 1 - float(rng.uniform(0, 0.35)) * np.hypot(x - rng.random(), y - rng.random())
    tone = float(rng.uniform(175, 225) if dark else rng.uniform(10, 40)) * fall
    tint = np.array([1.0, float(rng.uniform(0.95, 1)), float(rng.uniform(0.88, 1.04))])
    plane = Image.fromarray(tone.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR)
    grey = rng.standard_normal((side, side), dtype=np.float32)
    grey *= np.float32(rng.uniform(1, 3))
    grey += np.asarray(plane)
    for _ in range(int(rng.integers(10, 60))):
        r = float(rng.uniform(0.5, 3.0))
        cy, cx = rng.integers(8, side - 8, 2)
        yy, xx = np.mgrid[-8:8, -8:8]
        change = float(rng.uniform(20, 90)) * (-1 if dark else 1)
        grey[cy - 8 : cy + 8, cx - 8 : cx + 8] += change * np.exp(-(yy**2 + xx**2) / (2 * r * r))
    picture = np.empty((side, side, 3), np.uint8)
    for channel in range(3):
        picture[..., channel] = np.clip(grey * tint[channel], 0, 255)
    return picture


def _free_position(
    labels: Labels, mask: BoolArray, rng: np.random.Generator
) -> tuple[int, int] | None:
    """A random position at a distance of a few pixels from all shells."""
    size, gap = len(mask), 6
    for _ in range(2000):
        top, left = (int(v) for v in rng.integers(gap, len(labels) - size - gap, 2))
        around = labels[top - gap : top + size + gap, left - gap : left + size + gap]
        if not around.any():
            return top, left
    return None


def _touching_position(
    labels: Labels,
    mask: BoolArray,
    mate: int,
    rng: np.random.Generator,
) -> tuple[int, int] | None:
    """A random position where the shell just touches `mate` and no other shell."""
    size = len(mask)
    rows, columns = np.nonzero(labels == mate)
    middle = np.array([rows.mean(), columns.mean()]) - size / 2
    for _ in range(40):
        angle = rng.uniform(0, 2 * np.pi)
        way = np.array([np.sin(angle), np.cos(angle)])
        for distance in np.arange(size + np.ptp(rows) / 2 + np.ptp(columns) / 2, 0, -1.0):
            top, left = (int(v) for v in np.rint(middle + distance * way))
            if min(top, left) < 6 or max(top, left) + size > len(labels) - 6:
                continue
            under = labels[top : top + size, left : left + size][mask]
            if (under > 0).any():
                if set(np.unique(under)) <= {0, mate} and (under > 0).sum() < 0.03 * mask.sum():
                    return top, left
                break
    return None
