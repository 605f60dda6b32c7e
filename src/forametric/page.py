"""What every page of the house is made with: templates, and pictures inside the page itself."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader
from PIL import Image

from forametric import __version__
from forametric.collection import Collection
from forametric.errors import InputError
from forametric.images import load_square

THUMB = 96


def render(template: str, **content: Any) -> str:
    """A page from one of the package's templates; whatever is put in is escaped."""
    pages = Environment(loader=PackageLoader("forametric"), autoescape=True)
    return pages.get_template(template).render(version=__version__, **content)


def write_page(path: Path, template: str, **content: Any) -> None:
    """Write `render(template, …)` as UTF-8."""
    path.write_text(render(template, **content), encoding="utf-8")


def data_url(data: bytes, kind: str) -> str:
    """Bytes of an image as an address that holds them.

    >>> data_url(b"x", "png")
    'data:image/png;base64,eA=='
    """
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def jpeg(square: npt.NDArray[np.uint8], quality: int = 85) -> bytes:
    """Pixels as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(square).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def picture_url(square: npt.NDArray[np.uint8]) -> str:
    """A square of pixels as a JPEG inside the page."""
    return data_url(jpeg(square), "jpeg")


def thumbnail_url(collection: Collection, row: int | None, size: int = THUMB) -> str:
    """A specimen's picture inside the page; "" when there is none or it cannot be read."""
    if row is None:
        return ""
    try:
        return picture_url(load_square(collection.path(row), size))
    except InputError:
        return ""
