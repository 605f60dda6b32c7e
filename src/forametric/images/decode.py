"""Decode one image file to 8-bit RGB, by stated rules, refusing what cannot be trusted.

Rules: EXIF orientation is applied; grey and palette become RGB; CMYK is converted; transparent
pixels are laid on black; 16-bit and floating data are scaled linearly from the image's own darkest
to its own brightest value. A TIFF of several planes (pages, z, channels, time; also OME and ImageJ)
becomes one image by the rule of `stack`; of a pyramid the full image is taken.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from forametric.errors import ImageError
from forametric.images.stack import project_stack

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"})
MAX_PIXELS = 100_000_000
MIN_SIDE = 8


def decode(path: Path, least: int | None = None) -> npt.NDArray[np.uint8]:
    """Read an image as RGB.

    Parameters
    ----------
    path : Path
        A JPEG, PNG, TIFF, BMP or WebP file; the content decides, the name does not.
    least : int, optional
        A large JPEG may be read at a half, a quarter or an eighth of its size, as long as neither
        side falls below so many pixels: much faster, since most of the work is never done.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)

    Raises
    ------
    ImageError
        With one sentence: missing, empty, truncated, no image, too small (a side under 8 px) or
        too large (over 100 million pixels).
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
        return _decode_with_pillow(path, least)
    except ImageError:
        raise
    except Image.DecompressionBombError:  # Pillow's own limit, about twice ours
        raise ImageError(f"too large; at most {MAX_PIXELS // 10**6} million pixels") from None
    except UnidentifiedImageError:
        raise ImageError("not an image of a known kind, whatever its name says") from None
    except MemoryError:
        raise ImageError("too large for this machine's memory") from None
    except Exception as error:  # decoders raise many kinds on damaged files; none may end a run
        raise ImageError(f"damaged or truncated: {error}") from None


def _check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{width}×{height} px is too small; at least {MIN_SIDE} px a side")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{width}×{height} px is too large; at most {MAX_PIXELS // 10**6} million pixels"
        )


def _decode_with_pillow(path: Path, least: int | None) -> npt.NDArray[np.uint8]:
    with (
        warnings.catch_warnings(action="ignore"),
        Image.open(path, formats=("JPEG", "PNG", "BMP", "WEBP")) as opened,
    ):
        _check_size(*opened.size)
        if least:
            opened.draft(opened.mode, (least, least))  # does nothing but for JPEG
        image: Image.Image = opened
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith(("I", "F")):
            return _rgb(np.asarray(image))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            black = Image.new("RGBA", image.size, (0, 0, 0, 255))
            image = Image.alpha_composite(black, image)
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _decode_tiff(path: Path) -> npt.NDArray[np.uint8]:
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        page, series = tiff.pages[0], tiff.series[0]
        if not isinstance(page, tifffile.TiffPage):
            raise ImageError("a TIFF whose first page cannot be read")
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


def _tiff_with_pillow(path: Path) -> npt.NDArray[np.uint8]:
    """Palette, bilevel, CMYK, YCbCr and alpha TIFFs: Pillow knows their color rules."""
    with Image.open(path, formats=("TIFF",)) as image:
        if image.has_transparency_data:
            rgba = image.convert("RGBA")
            black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
            return np.asarray(Image.alpha_composite(black, rgba).convert("RGB"))
        return np.asarray(image.convert("RGB"))


def _rgb(pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Scale deep data by their own range to 8 bits and repeat grey over three channels."""
    if pixels.dtype != np.uint8:
        values = pixels.astype(np.float32)
        if not np.isfinite(values).all():
            raise ImageError("holds values that are not numbers")
        low, high = float(values.min()), float(values.max())
        scaled = (values - low) * (255.0 / (high - low)) if high > low else values * 0
        pixels = np.rint(scaled).astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    if pixels.ndim != 3 or pixels.shape[-1] != 3:
        raise ImageError(f"unexpected layout of pixels {pixels.shape}")
    return np.ascontiguousarray(pixels, dtype=np.uint8)
