"""Unpack ZIP archives safely: only into their folder, and with a limit on the unpacked size."""

from __future__ import annotations

import errno
import lzma
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

from forametric.errors import InputError
from forametric.utils.progress import bar
from forametric.utils.text import first_line

MAX_RATIO = 200  # compression ratio; images compress little, decompression bombs over 1000
ALWAYS_ALLOWED = 256 * 1024**2  # unpacked bytes; smaller archives may have any ratio
# What the standard library raises for damaged archives, besides OSError.
DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error, ValueError,
    OverflowError, KeyError,
)  # fmt: skip


def unpack(archive: Path, folder: Path) -> None:
    """Unpack `archive` below `folder`; files that exist with the right size are not replaced.

    Raises
    ------
    InputError
        When it is not a ZIP archive, is damaged or encrypted, has a path outside the folder, or
        would unpack to over 200 times its size.
    """
    with _opened(archive) as file:
        entries = [e for e in file.infolist() if not e.filename.endswith("/")]
        total = sum(e.file_size for e in entries)
        if total > max(ALWAYS_ALLOWED, MAX_RATIO * archive.stat().st_size):
            raise InputError(
                f"{archive} would unpack to {total / 1e6:,.0f} MB, over {MAX_RATIO} times its "
                f"size; it is refused as a possible bomb. Unpack it yourself if you trust it."
            )
        targets = [_inside(folder, e.filename, archive) for e in entries]
        with bar(f"unpacking {archive.name}", len(entries)) as advance:
            for entry, target in zip(entries, targets, strict=True):
                with _named_damage(f"{archive}: its file {entry.filename}"):
                    _extract(file, entry, target)
                advance(1)


def names_in(archive: Path) -> list[str]:
    """The names of the files in an archive; `InputError` when it is damaged."""
    with _opened(archive) as file:
        return [entry.filename for entry in file.infolist() if entry.filename[-1:] != "/"]


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    with _named_damage(f"{archive}"):
        file = zipfile.ZipFile(archive)
    with file:
        yield file


@contextmanager
def _named_damage(what: str) -> Iterator[None]:
    """Give errors that come from a damaged archive its name; a full disk stays an OSError."""
    try:
        yield
    except RuntimeError as error:  # encrypted, or a method of compression that is not known
        raise InputError(f"{what} cannot be unpacked: {error}.") from None
    except DAMAGED as error:
        raise InputError(
            f"{what} is damaged: {first_line(error)}. Copy the ZIP archive again."
        ) from None
    except OSError as error:
        if error.errno not in (None, errno.EINVAL, errno.ENAMETOOLONG, errno.ENOTDIR,
                               errno.EISDIR, errno.EEXIST):  # fmt: skip
            raise
        reason = error.strerror or str(error)
        raise InputError(
            f"{what} cannot be unpacked: {reason}. Copy the ZIP archive again."
        ) from None


def _extract(file: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    if target.is_file() and target.stat().st_size == entry.file_size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # Renamed when whole. It need not reach the disk at once: an image is decoded before it counts,
    # and the archive still exists.
    temporary = target.with_name(f".{os.getpid()}.partial")
    try:
        # zipfile stops at the size that the entry declares, and checks its CRC.
        with file.open(entry) as source, temporary.open("wb") as out:
            shutil.copyfileobj(source, out, 1024 * 1024)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _inside(folder: Path, name: str, archive: Path) -> Path:
    plain = name.replace("\\", "/")
    parts = Path(plain).parts
    target = folder.joinpath(*parts)
    leaves = ".." in parts or plain.startswith("/") or PureWindowsPath(name).is_absolute()
    if leaves or not parts or not target.is_relative_to(folder):
        raise InputError(f"{archive} has the path {name}, outside its folder; it is refused.")
    return target
