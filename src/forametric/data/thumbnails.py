"""Thumbnails of specimens inside an HTML page or a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from forametric._typing import Pixels
from forametric.data.collection import Collection
from forametric.data.sources import ImageSource, list_images
from forametric.images.contact_sheet import THUMBNAIL, contact_sheet, spread, thumbnail


def thumbnail_url(collection: Collection, row: int | None, size: int = THUMBNAIL) -> str:
    """A specimen's image as a data URL; "" when there is none or it cannot be read."""
    return "" if row is None else thumbnail(collection.path(row), size)


def table_with_thumbnails(
    table: pd.DataFrame, columns: Sequence[str], source: ImageSource | None, title: str = ""
) -> str:
    """Some rows of a table with the column `image`, with their images from `source`."""
    sample = table.iloc[spread(len(table))]
    files: dict[str, Path | Pixels] = {}
    if source is not None:
        known, images = list_images(source)
        files = dict(zip(known["image"].astype(str), images, strict=True))
    rows = sample.to_dict("records")
    captions = [[_text(row[name]) for name in columns if name in row] for row in rows]
    return contact_sheet([files.get(str(row["image"])) for row in rows], captions, title)


def _text(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
