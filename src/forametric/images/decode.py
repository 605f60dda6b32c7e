"""Decode one image file to 8-bit RGB, and reject damaged files.

EXIF orientation is applied. Grey, palette and CMYK images become RGB. Transparent pixels are shown
on black. 16-bit and floating-point values are scaled linearly from the darkest to the brightest
value of the image. A TIFF of several planes (pages, z, channels, time; also OME and ImageJ) becomes
one image by the rules of `stack`. Of a pyramid the full-size image is used.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from forametric._typing import AnyArray, Pixels
from forametric.errors import ImageError
from forametric.images.stack import project_stack

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"})
MAX_PIXELS = 100_000_000
MIN_SIDE = 8


def decode(path: Path, min_side: int | None = None) -> Pixels:
    """Read an image as RGB.

    Parameters
    ----------
    path : Path
        A JPEG, PNG, TIFF, BMP or WebP file, recognized by its content, not by its name.
    min_side : int, optional
        A large JPEG may be read at a half, a quarter or an eighth of its size, which is much
        faster, as long as neither side falls below this number of pixels.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)

    Raises
    ------
    ImageError
        When the file is missing, empty, truncated, not an image, too small (a side under 8 px)
        or too large (over 100 million pixels).
    """
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise ImageError(f"cannot be opened: {error.strerror or error}") from None
    if not head:
        raise ImageError("the file is empty (0 bytes)")
    try:
        if head[:2] in (b"II", b"MM"):
            return _decode_tiff(path)
        return _decode_with_pillow(path, min_side)
    except ImageError:
        raise
    except Image.DecompressionBombError:  # Pillow's own limit, about twice MAX_PIXELS
        raise ImageError(f"too large; at most {MAX_PIXELS // 10**6} million pixels") from None
    except UnidentifiedImageError:
        raise ImageError("not an image in a supported format") from None
    except MemoryError:
        raise ImageError("too large for this machine's memory") from None
    except Exception as error:  # decoders raise many kinds on damaged files
        raise ImageError(f"damaged or truncated: {error}") from None


def _check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{width}×{height} px is too small; at least {MIN_SIDE} px a side")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{width}×{height} px is too large; at most {MAX_PIXELS // 10**6} million pixels"
        )


def _decode_with_pillow(path: Path, min_side: int | None) -> Pixels:
    with (
        warnings.catch_warnings(action="ignore"),
        Image.open(path, formats=("JPEG", "PNG", "BMP", "WEBP")) as opened,
    ):
        _check_size(*opened.size)
        if min_side:
            opened.draft(opened.mode, (min_side, min_side))  # has an effect on JPEG only
        image: Image.Image = opened
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith(("I", "F")):
            return _rgb(np.asarray(image))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            black = Image.new("RGBA", image.size, (0, 0, 0, 255))
            image = Image.alpha_composite(black, image)
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _decode_tiff(path: Path) -> Pixels:
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        page, series = tiff.pages[0], tiff.series[0]
        if not isinstance(page, tifffile.TiffPage):
            raise ImageError("the first page of the TIFF cannot be read")
        _check_size(page.imagewidth, page.imagelength)
        if max(series.size, page.size) > 4 * MAX_PIXELS:
            raise ImageError(f"a TIFF of {series.size:,} values is too large; save fewer planes")
        planes = series.size // (page.imagewidth * page.imagelength * page.samplesperpixel)
        if planes > 1:
            return _rgb(project_stack(series.asarray(), series.axes))
        plain = page.photometric in (0, 1, 2) and page.samplesperpixel in (1, 3)
        if plain and (page.bitspersample in (8, 16) or page.dtype in (np.float32, np.float64)):
            pixels = page.asarray()
            if page.planarconfig == 2 and page.samplesperpixel == 3:
                pixels = np.moveaxis(pixels, 0, -1)
            if page.photometric == 0:  # MINISWHITE: zero is white
                top = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else pixels.max()
                pixels = top - pixels
            return _rgb(pixels)
    return _tiff_with_pillow(path)


def _tiff_with_pillow(path: Path) -> Pixels:
    """Decode palette, bilevel, CMYK, YCbCr and alpha TIFFs, whose color rules Pillow knows."""
    with Image.open(path, formats=("TIFF",)) as image:
        if image.has_transparency_data:
            rgba = image.convert("RGBA")
            black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
            return np.asarray(Image.alpha_composite(black, rgba).convert("RGB"))
        return np.asarray(image.convert("RGB"))


def _rgb(pixels: AnyArray) -> Pixels:
    """Scale other types than uint8 by their own range to 8 bits; repeat grey in three channels."""
    if pixels.dtype != np.uint8:
        values = pixels.astype(np.float32)
        if not np.isfinite(values).all():
            raise ImageError("contains values that are not finite")
        low, high = float(values.min()), float(values.max())
        scaled = (values - low) * (255.0 / (high - low)) if high > low else values * 0
        pixels = np.rint(scaled).astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    if pixels.ndim != 3 or pixels.shape[-1] != 3:
        raise ImageError(f"unexpected array shape {pixels.shape}")
    return np.ascontiguousarray(pixels, dtype=np.uint8)
