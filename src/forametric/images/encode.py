"""Encode pixels as a JPEG file, or as a JPEG inside an HTML page."""

from __future__ import annotations

import io

from PIL import Image

from forametric._typing import Pixels
from forametric.utils.html import data_url


def jpeg(image: Pixels, quality: int = 85) -> bytes:
    """Pixels as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def image_url(image: Pixels) -> str:
    """Pixels as a data URL of a JPEG."""
    return data_url(jpeg(image), "jpeg")
