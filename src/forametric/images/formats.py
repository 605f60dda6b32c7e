"""Which files are images, which of them are read, and how an image file is opened."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from forametric.errors import ImageError

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".webp"}
)
_RAW = ("3fr arw cr2 cr3 crw dcr dng erf kdc mef mos mrw nef nrw orf pef raf raw rw2 rwl sr2 srf "
        "srw x3f")  # fmt: skip
_OTHERS = {
    "GIF": "gif",
    "JPEG 2000": "jp2 j2k j2c jpc jpf jpx jpm",
    "JPEG XL": "jxl",
    "JPEG XR": "jxr wdp hdp",
    "HEIF or AVIF": "heic heif hif avif",
    "SVG": "svg svgz",
    "Photoshop": "psd psb",
    "GIMP": "xcf",
    "PNM": "pbm pgm ppm pnm pam",
    "Targa": "tga",
    "icon": "ico cur",
    "EPS": "eps",
    "OpenEXR": "exr",
    "Radiance": "hdr",
    "FITS": "fits fit fts",
    "DICOM": "dcm",
    "camera raw": _RAW,
    "Zeiss": "czi zvi lsm",
    "Leica": "lif scn",
    "Nikon": "nd2",
    "Olympus": "oib oif oir vsi",
    "Gatan": "dm3 dm4",
    "Bio-Rad": "pic",
    "MRC": "mrc",
    "Imaris": "ims",
    "whole-slide": "svs ndpi mrxs bif",
}
# Suffix → name of the format. Such files are images, but they are not read.
OTHER_FORMATS = {
    f".{suffix}": name for name, suffixes in _OTHERS.items() for suffix in suffixes.split()
}
# The same by the first bytes, for files with another suffix.
_SIGNATURES = (
    (b"GIF8", "GIF"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"8BPS", "Photoshop"),
    (b"gimp xcf", "GIMP"),
    (b"v/1\x01", "OpenEXR"),
    (b"SIMPLE  =", "FITS"),
    (b"ZISRAWFILE", "Zeiss"),
    (b"<svg", "SVG"),
    (b"II\xbc", "JPEG XR"),
)


def looks_like_image(path: Path) -> bool:
    """Whether the name is that of an image, of a format that is read or of another."""
    suffix = path.suffix.lower()
    return suffix in IMAGE_SUFFIXES or suffix in OTHER_FORMATS


def is_read(path: Path) -> bool:
    """Whether `path` is a regular file and not named like an image of another format."""
    return path.suffix.lower() not in OTHER_FORMATS and path.is_file()


def refusal(head: bytes, suffix: str) -> ImageError:
    """Why a file that starts with `head` is not read."""
    name = next((name for start, name in _SIGNATURES if head.startswith(start)), None)
    if head[4:8] == b"ftyp":
        name = "HEIF or AVIF"
    name = name or OTHER_FORMATS.get(suffix.lower())
    if name is None:
        return ImageError("not an image in a supported format")
    return ImageError(f"{name} images are not read; convert it to TIFF or PNG")


def open_image(path: Path) -> BinaryIO:
    """Open a file for reading, if it is a regular one; a pipe or a device never blocks.

    Raises
    ------
    ImageError
        When it is missing, not a regular file, or cannot be opened.
    """
    if path.is_dir():
        raise ImageError(_about_folder(path))
    try:
        file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115
    except FileNotFoundError:
        raise ImageError("the file does not exist") from None
    except ValueError as error:  # a null character
        raise ImageError(f"cannot be opened: {error}") from None
    except OSError as error:
        if path.exists() and not path.is_file():
            raise ImageError("not a regular file") from None
        raise ImageError(f"cannot be opened: {error.strerror or error}") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ImageError("not a regular file")
    return file


def _open_without_waiting(path: str, flags: int) -> int:
    """Opening a pipe waits for a writer, except with this flag, which Windows does not have."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _about_folder(path: Path) -> str:
    if path.is_symlink():
        return "a link to a folder; links to folders are not followed"
    try:
        os.scandir(path).close()
    except OSError as error:
        return f"a folder that cannot be read: {error.strerror or error}"
    return "a folder, not an image file"
