"""Thumbnails with captions, as an HTML fragment for a page or a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from forametric._typing import Pixels
from forametric.errors import InputError
from forametric.images.encode import image_url
from forametric.images.preprocess import load_image

THUMBNAIL = 96  # px
SHOWN = 12  # specimens in a notebook


def spread(count: int) -> list[int]:
    """At most 12 positions, evenly spaced over `count`.

    >>> spread(3), spread(100)[:3]
    ([0, 1, 2], [0, 9, 18])
    """
    rows = np.linspace(0, count - 1, min(count, SHOWN)).round()
    return [int(row) for row in rows]


def thumbnail(image: Path | Pixels | None, size: int = THUMBNAIL) -> str:
    """An image as a data URL; "" when there is none or it cannot be read."""
    if image is None:
        return ""
    try:
        return image_url(load_image(image, size))
    except InputError:
        return ""


def contact_sheet(
    images: Sequence[Path | Pixels | None], captions: Sequence[Sequence[str]], title: str = ""
) -> str:
    """Images side by side, each with its lines of caption; all text is escaped."""
    cells = [_cell(thumbnail(i), c) for i, c in zip(images, captions, strict=True)]
    return f"<div><p>{escape(title)}</p>{''.join(cells)}</div>"


def _cell(url: str, caption: Sequence[str]) -> str:
    image = f'<img src="{url}" width="{THUMBNAIL}" height="{THUMBNAIL}" alt="">' if url else ""
    lines = "<br>".join(escape(line) for line in caption)
    return (
        f'<figure style="display:inline-block;margin:4px;width:{THUMBNAIL + 24}px;'
        f'vertical-align:top;font-size:11px">{image}<figcaption>{lines}</figcaption></figure>'
    )
