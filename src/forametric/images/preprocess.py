"""Preprocess images in the same way for training, evaluation and identification."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from forametric._typing import Pixels
from forametric.errors import ImageError
from forametric.images.decode import decoding
from forametric.images.plate import crop_plate
from forametric.utils.progress import in_parallel

# A JPEG is read at no less than this multiple of the model's image size, so that the label of a
# plate can be recognized.
OVERSAMPLING = 4


def background(image: Pixels) -> Pixels:
    """The background color: the median of the outermost pixels, per channel (uint8, shape (3,)).

    Black in dark field, the slide's grey in transmitted light.

    >>> background(np.full((9, 12, 3), 200, np.uint8)).tolist()
    [200, 200, 200]
    """
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    return np.asarray(np.median(edge, axis=0), dtype=np.uint8)


def preprocess(image: Pixels, size: int) -> Pixels:
    """Scale the longer side to `size` and center on a square of the background color.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)
    size : int
        Side of the result in pixels.

    Returns
    -------
    ndarray of uint8, shape (size, size, 3)

    >>> preprocess(np.zeros((30, 60, 3), np.uint8), 20).shape
    (20, 20, 3)
    """
    height, width = image.shape[:2]
    scale = size / max(height, width)
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    resized = Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BICUBIC)
    padded = np.empty((size, size, 3), np.uint8)
    padded[:] = background(image)
    top, left = (size - new_height) // 2, (size - new_width) // 2
    padded[top : top + new_height, left : left + new_width] = np.asarray(resized)
    return padded


def load_image(image: Path | Pixels, size: int) -> Pixels:
    """Decode a file (or use the given pixels), crop a plate to its specimen, and preprocess.

    Raises `ImageError` when the file cannot be read.
    """
    if isinstance(image, np.ndarray):
        return preprocess(crop_plate(image), size)
    with decoding(image, OVERSAMPLING * size) as pixels:
        return preprocess(crop_plate(pixels), size)


def load_images(
    images: Sequence[Path | Pixels],
    size: int,
    *,
    progress: str = "reading images",
    out: Pixels | None = None,
) -> tuple[Pixels, list[int], dict[int, str]]:
    """Decode and preprocess many images in parallel.

    Parameters
    ----------
    out : ndarray of uint8, shape (len(images), size, size, 3), optional
        The array to fill, for instance a memory-mapped file.

    Returns
    -------
    inputs : ndarray of uint8, shape (n_readable, size, size, 3)
    readable : list of int
        The positions of the readable images.
    failures : dict of int to str
        Why each of the other images could not be read, by position.
    """
    inputs = np.empty((len(images), size, size, 3), np.uint8) if out is None else out
    failures: dict[int, str] = {}
    readable: list[int] = []

    def load(index: int) -> Pixels | str:
        try:
            return load_image(images[index], size)
        except ImageError as error:
            return str(error)

    for index, loaded in enumerate(in_parallel(progress, load, range(len(images)))):
        if isinstance(loaded, str):
            failures[index] = loaded
        else:
            inputs[len(readable)] = loaded
            readable.append(index)
    return inputs[: len(readable)], readable, failures
