"""Make one image from a stack of planes.

Time and other series: the first plane. Focus (z, or pages of unstated meaning): each pixel from the
plane that is sharpest there. Channels: one is grey, two or three are red, green and blue in this
order, and more are averaged. The planes are read one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product

import numpy as np
from scipy.ndimage import gaussian_filter, laplace

from forametric._typing import AnyArray

FOCUS = "ZIQ"  # z, and tifffile's letters for pages of unstated meaning
SHARPNESS_SIGMA = 2.0  # of the Gaussian over which sharpness is averaged, in pixels

Read = Callable[[int], AnyArray]


def used_planes(axes: str, shape: Sequence[int]) -> int:
    """The number of planes that `project_stack` reads."""
    return int(
        np.prod([n for a, n in zip(axes, shape, strict=True) if a in f"{FOCUS}C"], dtype=int)
    )


def project_stack(axes: str, shape: Sequence[int], read: Read) -> AnyArray:
    """Reduce a stack to one image, (height, width) or (height, width, 3), of the same dtype.

    Parameters
    ----------
    axes, shape
        The meaning of each dimension of the stack in tifffile's letters (T, C, Z, …) and its
        length, without those of a plane.
    read : callable
        Gives a plane, (height, width) or (height, width, channels), by its position in the stack,
        counted with the last dimension varying fastest.

    >>> film = np.arange(3).repeat(72).reshape(3, 8, 9)
    >>> project_stack("T", [3], lambda position: film[position]).shape
    (8, 9)
    """
    focus = product(*(range(n) if a in FOCUS else (0,) for a, n in zip(axes, shape, strict=True)))
    return extended_depth(
        _colors(_channels(axes, shape, position, read), _count(axes, shape)) for position in focus
    )


def _count(axes: str, shape: Sequence[int]) -> int:
    return shape[axes.index("C")] if "C" in axes else 1


def _channels(
    axes: str, shape: Sequence[int], position: tuple[int, ...], read: Read
) -> Iterator[AnyArray]:
    """The planes of all channels at one position of the other dimensions."""
    for channel in range(_count(axes, shape)):
        index = [channel if a == "C" else at for a, at in zip(axes, position, strict=True)]
        yield read(int(np.ravel_multi_index(index, shape)) if index else 0)


def extended_depth(planes: Iterable[AnyArray]) -> AnyArray:
    """Each pixel from the plane that is sharpest there.

    Sharpness is the squared Laplacian, averaged by a Gaussian of two pixels. Where all planes are
    equal, the pixel comes from the first.

    Parameters
    ----------
    planes : iterable of ndarray, shape (height, width) or (height, width, channels)
    """
    rest = iter(planes)
    image = next(rest)
    best = None
    for plane in rest:
        if best is None:
            image, best = image.copy(), _sharpness(image)
        sharp = _sharpness(plane)
        better = sharp > best
        image[better], best[better] = plane[better], sharp[better]
    return image


def _sharpness(plane: AnyArray) -> AnyArray:
    with np.errstate(over="ignore", invalid="ignore"):  # of extreme values
        grey = (plane if plane.ndim == 2 else plane.mean(2, dtype=np.float32)).astype(np.float32)
        return np.asarray(gaussian_filter(laplace(grey) ** 2, SHARPNESS_SIGMA))


def _colors(channels: Iterable[AnyArray], count: int) -> AnyArray:
    """One image of `count` channels, each of which may have several samples itself."""
    rest = iter(channels)
    first = next(rest)
    if count == 1:
        return first if first.ndim == 2 else color_samples(first)
    if first.ndim == 2 and count <= 3:
        planes = [first, *rest]
        return np.stack([*planes, *[np.zeros_like(first)] * (3 - count)], axis=-1)
    total = first.astype(np.float64)
    for plane in rest:
        total += plane
    mean = (total / count).astype(first.dtype)
    return mean if mean.ndim == 2 else color_samples(mean)


def color_samples(image: AnyArray) -> AnyArray:
    """As `project_stack` does with channels, for those in the last dimension of one array."""
    samples = image.shape[2]
    if samples == 3:
        return image
    if samples == 1:
        return np.asarray(image[..., 0])
    if samples == 2:
        return np.concatenate([image, np.zeros_like(image[..., :1])], axis=2)
    return np.asarray(image.mean(2).astype(image.dtype))
