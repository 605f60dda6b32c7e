"""Images for the page: one specimen as JPEG, and sheets of many thumbnails."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from forametric._typing import Pixels
from forametric.data.collection import Collection
from forametric.errors import InputError, NotFoundError
from forametric.images import load_image
from forametric.images.encode import jpeg
from forametric.review.project import EmbeddedCollection
from forametric.utils.files import atomic_path
from forametric.utils.progress import in_parallel

THUMBNAIL = 64  # px, the side of a thumbnail in a sheet
COLUMNS = 16  # thumbnails next to each other in a sheet, and rows of them
PER_SHEET = COLUMNS * COLUMNS
GRAY = 160  # where an image cannot be read


def specimen_jpeg(collection: Collection, row: int, size: int) -> bytes:
    """A specimen's image as a square JPEG; `InputError` when it cannot be read."""
    return jpeg(load_image(collection.path(row), size), 88)


def sheet_count(embedded: EmbeddedCollection) -> int:
    """The number of sheets."""
    return -(-len(embedded.collection) // PER_SHEET)


def sheet(embedded: EmbeddedCollection, number: int) -> Path:
    """The file of a sheet: 256 specimens in `EmbeddedCollection.order`, made at first use.

    Raises
    ------
    NotFoundError
        When the number is too high.
    """
    if not 0 <= number < sheet_count(embedded):
        raise NotFoundError(f"sheet {number} does not exist; there are {sheet_count(embedded)}.")
    path = embedded.cache / "sheets" / f"{number:05}.jpg"
    if path.is_file():
        return path
    rows = embedded.order[number * PER_SHEET : (number + 1) * PER_SHEET].tolist()
    pixels = np.full((COLUMNS * THUMBNAIL, COLUMNS * THUMBNAIL, 3), GRAY, np.uint8)

    def thumbnail(row: int) -> Pixels | None:
        try:
            return load_image(embedded.collection.path(row), THUMBNAIL)
        except InputError:
            return None

    for place, image in enumerate(in_parallel("", thumbnail, rows)):
        if image is not None:
            top, left = (place // COLUMNS) * THUMBNAIL, (place % COLUMNS) * THUMBNAIL
            pixels[top : top + THUMBNAIL, left : left + THUMBNAIL] = image
    with atomic_path(path) as temporary:
        temporary.write_bytes(jpeg(pixels, 82))
    return path
