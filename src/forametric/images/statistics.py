"""Statistics of images that change with microscope, camera, light and file format."""

from __future__ import annotations

import numpy as np

from forametric._typing import FloatArray, Pixels

STATISTICS = (
    "noise", "detail", "sharpness", "brightness", "contrast", "background", "red", "blue", "extent",
)  # fmt: skip
BATCH = 64  # images whose pixels are held as floats at once


def image_statistics(images: Pixels) -> FloatArray:
    """Statistics of images as a network sees them.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, size, size, 3)
        From `preprocess`.

    Returns
    -------
    ndarray of float32, shape (n, 9), with the columns `STATISTICS`:
        `noise`: log2 of the standard deviation of noise, in gray levels plus 0.25, from the median
        of the finest diagonal wavelet coefficients (Donoho & Johnstone 1994). `detail`,
        `sharpness`: log2 of the mean diagonal coefficient, and of the mean gradient, at full
        resolution over that at half resolution. `brightness`, `background`: mean gray level, of
        the image and (median) of its edge. `contrast`: log2 of the standard deviation of gray
        levels, plus 1. `red`, `blue`: mean difference from green. `extent`: radius of gyration of
        what differs from the background, over half the side.

    >>> flat = np.full((1, 32, 32, 3), 80, np.uint8)
    >>> dict(zip(STATISTICS, image_statistics(flat)[0].tolist()))["brightness"]
    80.0
    """
    parts = [_statistics(images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
    return np.concatenate([np.zeros((0, len(STATISTICS)), np.float32), *parts])


def _statistics(images: Pixels) -> FloatArray:
    side = len(images[0]) // 4 * 4  # of an image that can be halved twice
    pixels = images.astype(np.float32)
    red, green, blue = (pixels[..., channel].mean((1, 2)) for channel in range(3))
    whole = pixels.mean(3)
    edge = np.concatenate([whole[:, 0], whole[:, -1], whole[:, :, 0], whole[:, :, -1]], 1)
    background = np.median(edge, axis=1)
    gray = whole[:, :side, :side]
    half = (gray[:, ::2, ::2] + gray[:, 1::2, ::2] + gray[:, ::2, 1::2] + gray[:, 1::2, 1::2]) / 4
    fine, coarse = np.abs(_diagonal(gray)), np.abs(_diagonal(half))
    columns = [
        np.log2(np.median(fine, axis=(1, 2)) / 0.6745 + 0.25),
        np.log2((fine.mean((1, 2)) + 0.1) / (coarse.mean((1, 2)) + 0.1)),
        np.log2((_gradient(gray) + 0.1) / (_gradient(half) + 0.1)),
        whole.mean((1, 2)),
        np.log2(whole.std((1, 2)) + 1),
        background,
        red - green,
        blue - green,
        _extent(np.abs(whole - background[:, None, None])),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _diagonal(gray: FloatArray) -> FloatArray:
    """The diagonal coefficients of the Haar wavelet, at half the resolution."""
    a, b = gray[:, ::2, ::2] - gray[:, 1::2, ::2], gray[:, ::2, 1::2] - gray[:, 1::2, 1::2]
    return np.asarray((a - b) / 2)


def _gradient(gray: FloatArray) -> FloatArray:
    """The mean absolute difference of neighboring pixels."""
    across, down = np.abs(np.diff(gray, axis=2)), np.abs(np.diff(gray, axis=1))
    return np.asarray((across.mean((1, 2)) + down.mean((1, 2))) / 2)


def _extent(weight: FloatArray) -> FloatArray:
    at = np.linspace(-1, 1, weight.shape[1], dtype=np.float32)
    total = weight.sum((1, 2)) + 1e-6
    x, y = weight.sum(1), weight.sum(2)
    variance = np.zeros_like(total)
    for line in (x, y):
        variance += (line * at**2).sum(1) / total - ((line * at).sum(1) / total) ** 2
    return np.asarray(np.sqrt(np.maximum(variance, 0)))
