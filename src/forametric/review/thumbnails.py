"""Pictures for the page: one specimen as JPEG, and sheets of many small ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from forametric.data.collection import Collection
from forametric.errors import InputError, NotFoundError
from forametric.images import load_image
from forametric.images.encode import jpeg
from forametric.review.project import EmbeddedCollection
from forametric.utils.files import atomic_path
from forametric.utils.progress import in_parallel

THUMB = 64  # px, the side of a picture in a sheet
ACROSS = 16  # pictures side by side in a sheet, and rows of them
PER_SHEET = ACROSS * ACROSS
GREY = 160  # where a picture cannot be read


def picture(collection: Collection, row: int, size: int) -> bytes:
    """A specimen's picture, a square JPEG; `ImageError` when it cannot be read any more."""
    return jpeg(load_image(collection.path(row), size), 88)


def sheets(prepared: EmbeddedCollection) -> int:
    """How many sheets there are."""
    return -(-len(prepared.shells) // PER_SHEET)


def sheet(prepared: EmbeddedCollection, number: int) -> Path:
    """The file of a sheet: 256 specimens in `EmbeddedCollection.order`, 64 px each, made when asked for.

    Raises
    ------
    NotFoundError
        When there is no such sheet.
    """
    if not 0 <= number < sheets(prepared):
        raise NotFoundError(f"there is no sheet {number}; there are {sheets(prepared)}.")
    path = prepared.cache / "sheets" / f"{number:05}.jpg"
    if path.is_file():
        return path
    rows = prepared.order[number * PER_SHEET : (number + 1) * PER_SHEET].tolist()
    page = np.full((ACROSS * THUMB, ACROSS * THUMB, 3), GREY, np.uint8)

    def small(row: int) -> npt.NDArray[np.uint8] | None:
        try:
            return load_image(prepared.shells.path(row), THUMB)
        except InputError:
            return None

    for place, square in enumerate(in_parallel("", small, rows)):
        if square is not None:
            top, left = (place // ACROSS) * THUMB, (place % ACROSS) * THUMB
            page[top : top + THUMB, left : left + THUMB] = square
    with atomic_path(path) as temporary:
        temporary.write_bytes(jpeg(page, 82))
    return path
