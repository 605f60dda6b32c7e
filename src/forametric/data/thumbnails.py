"""Thumbnails of specimens inside an HTML page or a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import pandas as pd

from forametric._typing import Pixels
from forametric.data.collection import Collection
from forametric.data.sources import ImageSource, list_images
from forametric.errors import InputError
from forametric.images import load_image
from forametric.images.encode import image_url

THUMBNAIL = 96  # px
SHOWN = 12  # specimens in a notebook


def thumbnail_url(collection: Collection, row: int | None, size: int = THUMBNAIL) -> str:
    """A specimen's image inside the page; "" when there is none or it cannot be read."""
    return "" if row is None else _url(collection.path(row), size)


def contact_sheet(collection: Collection, count: int = SHOWN, *, title: str = "") -> str:
    """The first specimens of a collection with their taxa, as an HTML fragment."""
    cells = [
        _cell(_url(collection.path(row)), [str(taxon or "")])
        for row, taxon in enumerate(collection.taxa()[:count])
    ]
    return _sheet(cells, title)


def table_with_thumbnails(
    table: pd.DataFrame, columns: Sequence[str], source: ImageSource | None, title: str = ""
) -> str:
    """The first rows of a table with the column `image`, with their images from `source`."""
    shown = table.head(SHOWN)
    files: dict[str, Path | Pixels] = {}
    if source is not None:
        known, images = list_images(source)
        files = dict(zip(known["image"].astype(str), images, strict=True))
    cells = []
    for row in shown.to_dict("records"):
        file = files.get(str(row["image"]))
        texts = [_text(row[name]) for name in columns if name in row]
        cells.append(_cell("" if file is None else _url(file), texts))
    return _sheet(cells, title)


def _url(image: Path | Pixels, size: int = THUMBNAIL) -> str:
    try:
        return image_url(load_image(image, size))
    except InputError:
        return ""


def _text(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _cell(url: str, texts: Sequence[str]) -> str:
    picture = f'<img src="{url}" width="{THUMBNAIL}" height="{THUMBNAIL}" alt="">' if url else ""
    words = "<br>".join(escape(text) for text in texts)
    return (
        f'<figure style="display:inline-block;margin:4px;width:{THUMBNAIL + 24}px;'
        f'vertical-align:top;font-size:11px">{picture}<figcaption>{words}</figcaption></figure>'
    )


def _sheet(cells: Sequence[str], title: str) -> str:
    return f"<div><p>{escape(title)}</p>{''.join(cells)}</div>"
