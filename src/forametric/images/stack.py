"""Make one image from a stack of planes.

Time and other series: the first plane. Focus (z, or pages of unstated meaning): each pixel from the
plane that is sharpest there. Channels: one is grey, two or three are red, green and blue in this
order, and more are averaged.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, laplace

from forametric._typing import AnyArray
from forametric.errors import ImageError

FOCUS = "ZIQ"  # z, and tifffile's letters for pages of unstated meaning
SHARPNESS_SIGMA = 2.0  # of the Gaussian over which sharpness is averaged, in pixels


def project_stack(stack: AnyArray, axes: str) -> AnyArray:
    """Reduce a stack to (height, width) or (height, width, 3), of the same dtype.

    Parameters
    ----------
    axes : str
        The meaning of each dimension in tifffile's letters: T, C, Z, Y, X, S (samples), …

    >>> project_stack(np.zeros((2, 5, 8, 9), np.uint16), "TZYX").shape
    (8, 9)
    """
    if "Y" not in axes or "X" not in axes:
        raise ImageError(f"a TIFF with the dimensions {axes} does not contain an image")
    for axis in axes:
        if axis not in f"{FOCUS}CYXS":
            stack, axes = stack.take(0, axes.index(axis)), axes.replace(axis, "", 1)
    focus = [axis for axis in axes if axis in FOCUS]
    order = [*focus, *(axis for axis in "YX"), *(axis for axis in "CS" if axis in axes)]
    stack = np.transpose(stack, [axes.index(axis) for axis in order])
    height, width = (stack.shape[order.index(axis)] for axis in "YX")
    planes = stack.reshape(-1, height, width, *stack.shape[len(focus) + 2 :])
    image = extended_depth(planes) if len(planes) > 1 else planes[0]
    if "C" in axes and "S" in axes:  # each channel is a color image: average them
        image = image.mean(2).astype(stack.dtype)
    return np.asarray(_colors(image))


def extended_depth(planes: AnyArray) -> AnyArray:
    """Each pixel from the plane that is sharpest there.

    Sharpness is the squared Laplacian, averaged by a Gaussian of two pixels. Where all planes are
    equal, the pixel comes from the first.

    Parameters
    ----------
    planes : ndarray, shape (n, height, width) or (n, height, width, channels)
    """
    best = np.full(planes.shape[1:3], -1.0, np.float32)
    image = planes[0].copy()
    for plane in planes:
        grey = (plane if plane.ndim == 2 else plane.mean(2)).astype(np.float32)
        sharp = gaussian_filter(laplace(grey) ** 2, SHARPNESS_SIGMA)
        better = sharp > best
        image[better], best[better] = plane[better], sharp[better]
    return np.asarray(image)


def _colors(image: AnyArray) -> AnyArray:
    if image.ndim == 2 or image.shape[2] == 3:
        return image
    channels = image.shape[2]
    if channels == 1:
        return np.asarray(image[..., 0])
    if channels == 2:
        return np.concatenate([image, np.zeros_like(image[..., :1])], axis=2)
    return np.asarray(image.mean(2).astype(image.dtype))
