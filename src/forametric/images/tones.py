"""Scale pixels that are deeper than 8 bits to 8 bits.

The values are scaled linearly from a darkest to a brightest value of the image, the same for all
colors. A hot or dead pixel must not decide them, and a small bright specimen on a black ground must
not be clipped. Therefore the image is divided into blocks of 5 by 5 pixels. Of each block and color
the tenth darkest and the tenth brightest pixel are taken: up to nine deviating pixels have no
influence, and whatever is seven pixels wide has. The darkest and the brightest value are those of
the image, but at most a quarter of the range of the blocks outside that range. If the blocks show
one value only, they are those of the image.
"""

from __future__ import annotations

import numpy as np

from forametric._typing import AnyArray, IntArray, Pixels
from forametric.errors import ImageError
from forametric.images.colors import STRIP, strips

BLOCK = 5  # pixels
IGNORED = 9  # pixels of a block
MARGIN = 0.25  # of the range of the blocks
LARGEST = 1e300  # greatest value, so that differences do not overflow


def fill_8bit(image: AnyArray, out: Pixels) -> None:
    """Write an image into `out`, scaled to 8 bits if it is not uint8; grey goes to all channels.

    Parameters
    ----------
    image : ndarray, shape (height, width) or (height, width, 3)
        uint8, or other integers or floating-point numbers.
    out : ndarray of uint8, shape (height, width, 3)

    Raises
    ------
    ImageError
        When values are not finite, or beyond 1e300.
    """
    if image.ndim == 2:
        image = image[..., None]
    if image.dtype == np.uint8:
        out[:] = image
        return
    low, high = tone_range(image)
    for rows in strips(image):
        values = image[rows].astype(np.float64)
        if high > low:
            scaled = np.clip((values - low) / (high - low), 0.0, 1.0) * 255.0
            out[rows] = np.rint(scaled).astype(np.uint8)
        else:
            out[rows] = 0


def tone_range(image: AnyArray) -> tuple[float, float]:
    """The values that become 0 and 255; see the module's description.

    >>> ramp = np.tile(np.arange(100, dtype=np.uint16), (20, 1))
    >>> tone_range(ramp)
    (0.0, 99.0)
    >>> ramp[7, 7] = 65535
    >>> tone_range(ramp)
    (0.0, 122.25)
    """
    low, high = np.inf, -np.inf
    for rows in strips(image):
        part = image[rows]
        if part.dtype.kind == "f" and not np.isfinite(part).all():
            raise ImageError("contains values that are not finite")
        low, high = min(low, float(part.min())), max(high, float(part.max()))
    if max(-low, high) > LARGEST:
        raise ImageError(f"contains values beyond ±{LARGEST:.0e}")
    dark, bright = _block_range(image)
    margin = MARGIN * (bright - dark)
    if margin <= 0:
        return low, high
    return max(low, dark - margin), min(high, bright + margin)


def _block_range(image: AnyArray) -> tuple[float, float]:
    """The darkest and brightest value of the blocks, without deviating pixels."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (BLOCK, BLOCK), axis=(0, 1))
    rows, columns = (_starts(side) for side in image.shape[:2])
    at_once = max(1, STRIP // (len(columns) * windows[0, 0].size))
    dark, bright = np.inf, -np.inf
    for start in range(0, len(rows), at_once):
        part = windows[np.ix_(rows[start : start + at_once], columns)]
        values = np.partition(part.reshape(*part.shape[:-2], -1), (IGNORED, -1 - IGNORED), axis=-1)
        dark = min(dark, float(values[..., IGNORED].min()))
        bright = max(bright, float(values[..., -1 - IGNORED].max()))
    return dark, bright


def _starts(side: int) -> IntArray:
    """The first pixels of the blocks along a side; the last block may overlap another."""
    return np.unique(np.minimum(np.arange(0, side, BLOCK), side - BLOCK))
