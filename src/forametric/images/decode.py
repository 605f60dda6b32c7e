"""Decode one image file to 8-bit RGB, and reject damaged files.

The orientation in EXIF or TIFF is applied. Grey, palette and CMYK images become RGB. Transparent
pixels are shown on black. Values deeper than 8 bits are scaled by the rule of `tones`. A TIFF of
several planes (pages, z, channels, time; also OME and ImageJ) becomes one image by the rules of
`stack`. Of a pyramid the full-size image is used. What cannot be read as it is meant is refused by
name. The memory that an image needs is estimated from its header, and all threads share a budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError, _imaging

from forametric._typing import AnyArray, Pixels
from forametric.errors import ImageError
from forametric.images.colors import on_black
from forametric.images.formats import OTHER_FORMATS, open_image, refusal
from forametric.images.memory import BUDGET
from forametric.images.messages import collected
from forametric.images.tones import fill_8bit

MAX_PIXELS = 100_000_000
MIN_SIDE = 8
STRIP = 1 << 20  # pixels that are converted at once
ORIENTATION = 0x0112  # EXIF
BLOCK_SIZE = 1 << 26  # bytes; malloc returns blocks of more than 32 MB to the system
# Memory in bytes for each pixel: what a decoder holds, the result included.
JPEG_BYTES, PNG_BYTES, BMP_BYTES, WEBP_BYTES = 16, 8, 8, 23
DEEP_PNG_BYTES = 12  # four samples of 16 bits, and the result
USE_BYTES = 7  # after decoding: the pixels, and a copy with four channels to be scaled
USE_SMALL = 60  # to look for the label of a plate, for each pixel of an image that is not reduced
USE_CONSTANT = 250 * 2**20  # the same, at most


@dataclass(frozen=True)
class _Plan:
    """The size of an image as stored, what reading it needs, and how to read it."""

    width: int
    height: int
    nbytes: int
    read: Callable[[], Pixels]


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
        When the file is missing, not a regular file, empty, truncated, not an image, of a kind
        that is not supported, too small (a side under 8 px), too large (over 100 million pixels),
        or needs more memory than `memory.LIMIT`.
    """
    with decoding(path, min_side) as pixels:
        return pixels


@contextmanager
def decoding(path: Path, min_side: int | None = None) -> Iterator[Pixels]:
    """As `decode`, for use within a block that holds the image's share of the memory budget.

    Many threads that each work on an image wait for one another where all of them together would
    need too much. Such blocks must not be nested.
    """
    with open_image(path) as file:
        with _named():
            plan = _plan(file, path.suffix, min_side)
        pixels = plan.width * plan.height
        use = max(pixels * USE_BYTES, pixels * 3 + min(pixels * USE_SMALL, USE_CONSTANT))
        with BUDGET.reserve(max(plan.nbytes, use)):
            # Pillow's usual blocks of 16 MB are kept by malloc, in each thread, after their use.
            _imaging.set_block_size(BLOCK_SIZE)
            with _named():
                image = plan.read()
            file.close()
            yield image


@contextmanager
def _named() -> Iterator[None]:
    """Make every failure an `ImageError`; what libraries say goes into its sentence."""
    with collected() as messages:
        try:
            yield
        except ImageError:
            raise
        except Image.DecompressionBombError:  # Pillow's own limit, about twice MAX_PIXELS
            raise ImageError(f"too large; at most {MAX_PIXELS // 10**6} million pixels") from None
        except UnidentifiedImageError:
            raise ImageError("damaged, or of a kind that is not supported") from None
        except MemoryError:
            raise ImageError("too large for this machine's memory") from None
        except Exception as error:  # decoders raise many kinds on damaged files
            said = " ".join(str(error).split()) or (messages or [type(error).__name__])[0]
            raise ImageError(f"damaged or truncated: {said[:200]}") from None


def _plan(file: BinaryIO, suffix: str, min_side: int | None) -> _Plan:
    """Look at the header, and choose the decoder."""
    head = file.read(32)
    file.seek(0)
    if not head:
        raise ImageError("the file is empty (0 bytes)")
    if head.startswith((b"II*\0", b"II+\0", b"MM\0*", b"MM\0+")):
        if OTHER_FORMATS.get(suffix.lower()) == "camera raw":  # its first page is a thumbnail
            raise refusal(head, suffix)
        return _plan_tiff(file)
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) > 24 and head[24] == 16:
        return _plan_deep_png(file, head)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _plan_webp(file, head, min_side)
    for start, name, nbytes in (
        (b"\xff\xd8", "JPEG", JPEG_BYTES),
        (b"\x89PNG", "PNG", PNG_BYTES),
        (b"BM", "BMP", BMP_BYTES),
    ):
        if head.startswith(start):
            return _plan_with_pillow(file, name, nbytes, min_side)
    raise refusal(head, suffix)


def _check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{width}×{height} px is too small; at least {MIN_SIDE} px a side")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{width}×{height} px is too large; at most {MAX_PIXELS // 10**6} million pixels"
        )


def _upright(width: int, height: int, orientation: int) -> tuple[Pixels, Pixels]:
    """An empty upright image, and a view of it in which it lies as stored, (height, width, 3)."""
    turned = orientation >= 5
    image = np.empty((width, height, 3) if turned else (height, width, 3), np.uint8)
    view = image.transpose(1, 0, 2) if turned else image
    if orientation in (3, 4, 6, 7):
        view = view[::-1]
    if orientation in (2, 3, 7, 8):
        view = view[:, ::-1]
    return image, view


def _plan_with_pillow(file: BinaryIO, name: str, nbytes: int, min_side: int | None) -> _Plan:
    image = Image.open(file, formats=(name,))
    width, height = image.size
    _check_size(width, height)
    nbytes *= width * height
    if min_side:
        image.draft(image.mode, (min_side, min_side))  # has an effect on JPEG only
    return _Plan(width, height, nbytes, lambda: _read_with_pillow(image))


def _read_with_pillow(image: Image.Image) -> Pixels:
    """Convert in strips, so that a large image is not in memory several times."""
    image.load()
    upright, view = _upright(*image.size, _exif_orientation(image))
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        strip = image.crop((0, top, image.width, bottom))
        if strip.has_transparency_data:
            rgba = np.asarray(strip.convert("RGBA"), np.uint16)
            view[top:bottom] = (rgba[..., :3] * rgba[..., 3:] + 127) // 255
        else:
            view[top:bottom] = np.asarray(strip.convert("RGB"))
    image.close()  # its pixels are not needed during the use of ours
    return upright


def _exif_orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # the pixels are readable without it
        return 1
    return value if value in range(1, 9) else 1


def _plan_webp(file: BinaryIO, head: bytes, min_side: int | None) -> _Plan:
    """Pillow allocates the whole canvas when it opens a WebP: its size is read before."""
    number = int.from_bytes
    if head[12:16] == b"VP8X":
        width, height = number(head[24:27], "little") + 1, number(head[27:30], "little") + 1
    elif head[12:16] == b"VP8L":
        bits = number(head[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (number(head[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    _check_size(width, height)

    def read() -> Pixels:
        image = Image.open(file, formats=("WEBP",))
        if image.size != (width, height):
            raise ImageError("damaged: the sizes in the header differ")
        return _read_with_pillow(image)

    return _Plan(width, height, WEBP_BYTES * width * height, read)


def _plan_deep_png(file: BinaryIO, head: bytes) -> _Plan:
    """A PNG of 16 bits, of which Pillow would keep only 8."""
    width, height = (int.from_bytes(head[at : at + 4], "big") for at in (16, 20))
    _check_size(width, height)

    def read() -> Pixels:
        import imagecodecs

        with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            pixels = imagecodecs.png_decode(data)
        if pixels.shape[:2] != (height, width) or pixels.dtype != np.uint16:
            raise ImageError("damaged: the sizes in the header differ")
        file.seek(0)
        with Image.open(file, formats=("PNG",)) as image:
            orientation = _exif_orientation(image)
        return _scaled(_without_alpha(pixels), orientation)

    return _Plan(width, height, DEEP_PNG_BYTES * width * height, read)


def _without_alpha(pixels: AnyArray) -> AnyArray:
    """Grey or color with 16 bits, laid on black where a second or fourth channel says so."""
    if pixels.ndim == 2 or pixels.shape[2] in (1, 3):
        return pixels
    colors = on_black(pixels[..., :-1], pixels[..., -1], 65535)
    return colors[..., 0] if colors.shape[2] == 1 else colors


def _plan_tiff(file: BinaryIO) -> _Plan:
    from forametric.images.tiff import plan_tiff

    plan = plan_tiff(file)
    _check_size(plan.width, plan.height)
    nbytes = plan.nbytes + 3 * plan.width * plan.height

    def read() -> Pixels:
        with collected() as messages:
            pixels = plan.read()
        if messages:  # tifffile fills what it cannot read
            raise ImageError(f"damaged or truncated: {messages[0][:200]}")
        return _scaled(pixels, plan.orientation)

    return _Plan(plan.width, plan.height, nbytes, read)


def _scaled(pixels: AnyArray, orientation: int) -> Pixels:
    height, width = pixels.shape[:2]
    upright, view = _upright(width, height, orientation)
    fill_8bit(pixels, view)
    return upright
