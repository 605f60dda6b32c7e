"""Read TIFF files: every kind of sample is read as it is meant, or refused by name.

Grey and color of 1 to 32 bits, signed or not, and of floating point; palettes, CMYK of 8 bits,
transparency, all orientations, strips and tiles, separate planes of color, and stacks.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from forametric._typing import AnyArray, Pixels
from forametric.errors import ImageError
from forametric.images.colors import cmyk_to_rgb, on_black, through_table
from forametric.images.stack import color_samples, project_stack, used_planes

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

MAX_VALUES = 400_000_000  # of all planes that are read
READ_AHEAD = 1 << 24  # bytes of compressed data that are read at once
BILEVEL, CMYK, YCBCR = 1, 5, 6
WHITE_IS_ZERO, PALETTE, RGB = 0, 3, 2
COLOR_TYPES = {WHITE_IS_ZERO, 1, RGB, PALETTE, CMYK, YCBCR}
JPEG = 7
# Lossless compressions of bytes; the size of what they give is known.
BYTE_CODECS = {1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 50000, 50013}
# Complete images within the TIFF, whose own size must be checked.
IMAGE_CODECS = {JPEG, 33005, 34712, 34933, 50001}
DNG_VERSION, ORIENTATION, OLD_JPEG = 50706, 274, 6
SAMPLE_KINDS = {1: "unsigned", 2: "signed", 3: "floating-point", 4: "unsigned"}
DEPTHS = {1: range(1, 33), 2: (8, 16, 32), 3: (16, 24, 32, 64), 4: range(1, 33)}


@dataclass(frozen=True)
class TiffPlan:
    """What will be read of a TIFF.

    Attributes
    ----------
    width, height : int
        As stored, before the orientation is applied.
    nbytes : int
        The memory that `read` needs, from the header.
    orientation : int
        As in EXIF, 1 to 8.
    read : callable
        Gives the image, (height, width) or (height, width, 3).
    """

    width: int
    height: int
    nbytes: int
    orientation: int
    read: Callable[[], AnyArray]


def plan_tiff(file: BinaryIO) -> TiffPlan:
    """Read the header of a TIFF; `ImageError` if it is of a kind that is not supported."""
    import tifffile

    tiff = tifffile.TiffFile(file, _multifile=False)  # files that OME names are not opened
    page, series = tiff.pages[0], tiff.series[0]
    if not isinstance(page, tifffile.TiffPage):
        raise ImageError("the first page of the TIFF cannot be read")
    keyframe = series.keyframe
    _check_kind(keyframe)
    lead = max(0, len(series.shape) - len(keyframe.shape))
    axes, shape = series.axes[:lead], series.shape[:lead]
    planes = used_planes(axes, shape)
    if planes * keyframe.size > MAX_VALUES:
        raise ImageError(
            f"a TIFF of {planes * keyframe.size:,} values is too large; save fewer planes"
        )
    _check_segments(keyframe, file)
    nbytes = _memory(keyframe, planes, shape[axes.index("C")] if "C" in axes else 1)
    read = _reader(file, tiff, series)
    orientation = keyframe.tags.valueof(ORIENTATION, 1)
    return TiffPlan(
        keyframe.imagewidth,
        keyframe.imagelength,
        nbytes,
        orientation if orientation in range(1, 9) else 1,
        lambda: project_stack(axes, shape, lambda position: _color(read(position), keyframe)),
    )


def _check_kind(page: TiffPage) -> None:
    """Refuse by name what would not be read as it is meant."""
    bits, kind = page.bitspersample, page.sampleformat
    if DNG_VERSION in page.tags:
        raise ImageError("camera raw images are not read; convert it to TIFF or PNG")
    if not isinstance(bits, int):
        raise ImageError(f"samples of different depths {tuple(bits)} are not supported")
    if kind not in SAMPLE_KINDS:
        raise ImageError("complex numbers are not supported")
    if bits not in DEPTHS[kind] or page.dtype is None:
        number = "numbers" if kind == 3 else "integers"
        raise ImageError(f"{bits}-bit {SAMPLE_KINDS[kind]} {number} are not supported")
    if page.photometric not in COLOR_TYPES:
        name = getattr(page.photometric, "name", page.photometric)
        raise ImageError(f"the color type {name} is not supported")
    if page.compression not in BYTE_CODECS | IMAGE_CODECS:
        name = getattr(page.compression, "name", page.compression)
        raise ImageError(f"the TIFF compression {name} is not supported")
    if page.photometric == YCBCR and (page.compression != JPEG or bits != 8):
        raise ImageError("YCbCr without JPEG compression is not supported; save it as RGB")
    if page.photometric == CMYK and (bits, kind) != (8, 1):
        raise ImageError(f"CMYK of {bits} bits is not supported; save it as RGB")
    if page.photometric == PALETTE and (page.colormap is None or bits > 16 or kind != 1):
        raise ImageError("the palette is missing or not supported")
    if page.imagedepth != 1 or page.axes.strip("S") != "YX":
        raise ImageError(f"a TIFF page with the dimensions {page.axes} is not supported")
    if _alpha(page) and kind not in (1, 4):
        raise ImageError("transparency with signed or floating-point values is not supported")


def _memory(page: TiffPage, planes: int, channels: int) -> int:
    """Bytes that reading needs at most: what is read, and the working copies of a stack."""
    pixels = page.imagewidth * page.imagelength
    itemsize = np.dtype(page.dtype).itemsize
    plane = page.size * itemsize
    segment = prod(page.chunks) * max(itemsize, 4)
    compressed = max(page.databytecounts, default=0)
    copies = 1 if planes == 1 else 4 + channels
    extra = 0 if page.samplesperpixel in (1, 3, 4) else 16  # an average
    if page.bitspersample < 8 or page.photometric in (PALETTE, CMYK):
        extra += 3
    if planes > channels:
        extra += 24  # the sharpness of two planes
    return plane * copies + pixels * extra + 2 * segment + compressed + READ_AHEAD


def _reader(file: BinaryIO, tiff: TiffFile, series: TiffPageSeries) -> Callable[[int], AnyArray]:
    """A function that reads the plane of a series at a position."""
    keyframe, start = series.keyframe, series.dataoffset or 0

    def read_page(position: int) -> AnyArray:
        page = series.pages[position]
        if page is None:
            raise ImageError("a plane is missing, or is in another file")
        _check_segments(page, file)
        pixels = page.asarray(maxworkers=1, buffersize=READ_AHEAD)
        return np.asarray(pixels.reshape(keyframe.shape))

    def read_contiguous(position: int) -> AnyArray:
        dtype = np.dtype(keyframe.dtype).newbyteorder(tiff.byteorder)
        nbytes = keyframe.size * dtype.itemsize
        file.seek(start + position * nbytes)
        data = file.read(nbytes)
        if len(data) < nbytes:
            raise ImageError("damaged or truncated: the last planes are missing")
        return np.frombuffer(data, dtype).reshape(keyframe.shape).astype(dtype.newbyteorder("="))

    if len(series.pages) * keyframe.size == series.size:
        return read_page
    if series.dataoffset is not None:
        return read_contiguous
    raise ImageError("the planes of this TIFF are stored in an unknown order")


def _check_segments(page: Any, file: BinaryIO) -> None:
    """Refuse missing strips, and images inside whose size is not that of their place."""
    keyframe = page.keyframe
    number = prod(page.chunked)
    offsets, counts = page.dataoffsets[:number], page.databytecounts[:number]
    if min(len(offsets), len(counts)) < number or min(offsets) <= 0 or min(counts) <= 0:
        raise ImageError("damaged or truncated: a part of the image is missing")
    if keyframe.is_contiguous:
        end = offsets[0] + keyframe.size * np.dtype(keyframe.dtype).itemsize
        if end > os.fstat(file.fileno()).st_size:
            raise ImageError("damaged or truncated: the file ends early")
    if keyframe.compression not in IMAGE_CODECS:
        return
    height, width = keyframe.chunks[-2:] if keyframe.planarconfig == 2 else keyframe.chunks[-3:-1]
    for offset, count in zip(offsets, counts, strict=True):
        file.seek(offset)
        with Image.open(io.BytesIO(file.read(min(count, READ_AHEAD)))) as segment:
            if segment.width > width or segment.height > height:
                raise ImageError("damaged: a strip or tile is larger than its place")


def _alpha(page: TiffPage) -> int:
    """1 if colors are multiplied by their transparency already, 2 if not, 0 for no transparency."""
    return next((int(kind) for kind in page.extrasamples if kind in (1, 2)), 0)


def _color(pixels: AnyArray, page: TiffPage) -> AnyArray:
    """Samples as stored → (height, width) or (height, width, channels), zero for black.

    `pixels` may be changed.
    """
    if page.axes.startswith("S"):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if page.photometric == PALETTE:
        return through_table(pixels[..., 0], _palette(np.asarray(page.colormap)))
    if page.photometric == WHITE_IS_ZERO:
        pixels = _inverted(pixels, page.bitspersample)
    if page.photometric == CMYK:
        return cmyk_to_rgb(pixels[..., :4])
    colors = max(1, pixels.shape[2] - len(page.extrasamples))
    if _alpha(page) == 2:
        which = next(i for i, kind in enumerate(page.extrasamples) if kind == 2)
        pixels = on_black(
            pixels[..., :colors], pixels[..., colors + which], (1 << page.bitspersample) - 1
        )
    elif _alpha(page) or page.photometric in (RGB, YCBCR):
        pixels = pixels[..., :colors]
    if page.bitspersample < 8:
        levels = np.linspace(0, 255, 1 << page.bitspersample)
        pixels = through_table(pixels, np.rint(levels).astype(np.uint8))
    return color_samples(pixels)


def _inverted(pixels: AnyArray, bits: int) -> AnyArray:
    if pixels.dtype.kind == "f":
        np.negative(pixels, out=pixels)
    elif pixels.dtype.kind == "i":
        np.invert(pixels, out=pixels)
    else:
        pixels ^= pixels.dtype.type((1 << bits) - 1)
    return pixels


def _palette(colormap: AnyArray) -> Pixels:
    """The colors of a palette, whose values have 16 bits (in some old files 8)."""
    colors = colormap if colormap.max() < 256 else np.rint(colormap / 257)
    return np.ascontiguousarray(colors.T, dtype=np.uint8)
