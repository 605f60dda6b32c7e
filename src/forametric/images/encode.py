"""Pixels as a JPEG file, or as a JPEG inside an HTML page."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from forametric.utils.html import data_url


def jpeg(square: npt.NDArray[np.uint8], quality: int = 85) -> bytes:
    """Pixels as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(square).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def image_url(square: npt.NDArray[np.uint8]) -> str:
    """A square of pixels as a JPEG inside the page."""
    return data_url(jpeg(square), "jpeg")
