"""Unpack ZIP archives safely: only into their folder, and with a limit on the unpacked size."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from forametric.errors import InputError
from forametric.utils.files import atomic_path
from forametric.utils.progress import bar

MAX_RATIO = 200  # compression ratio; images compress little, decompression bombs over 1000
ALWAYS_ALLOWED = 256 * 1024**2  # unpacked bytes; smaller archives may have any ratio


def unpack(archive: Path, folder: Path) -> None:
    """Unpack `archive` below `folder`; files that exist with the right size are not replaced.

    Raises
    ------
    InputError
        When it is not a ZIP archive, is damaged or encrypted, has a path outside the folder, or
        would unpack to over 200 times its size.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            entries = [e for e in file.infolist() if not e.is_dir()]
            total = sum(e.file_size for e in entries)
            if total > max(ALWAYS_ALLOWED, MAX_RATIO * archive.stat().st_size):
                raise InputError(
                    f"{archive} would unpack to {total / 1e9:.0f} GB, over {MAX_RATIO} times its "
                    f"size; it is refused as a possible bomb. Unpack it yourself if you trust it."
                )
            targets = [_inside(folder, e.filename, archive) for e in entries]
            with bar(f"unpacking {archive.name}", len(entries)) as advance:
                for entry, target in zip(entries, targets, strict=True):
                    _extract(file, entry, target)
                    advance(1)
    except zipfile.BadZipFile as error:
        raise InputError(f"{archive} is not a complete ZIP archive: {error}.") from None
    except RuntimeError as error:  # encrypted
        raise InputError(f"{archive} cannot be unpacked: {error}.") from None


def _extract(file: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    if target.is_file() and target.stat().st_size == entry.file_size:
        return
    # zipfile stops at the size that the entry declares, and checks its CRC.
    with atomic_path(target) as temporary, file.open(entry) as source, temporary.open("wb") as out:
        shutil.copyfileobj(source, out, 1024 * 1024)


def _inside(folder: Path, name: str, archive: Path) -> Path:
    parts = Path(name.replace("\\", "/")).parts
    if Path(name).is_absolute() or ".." in parts or any(":" in p for p in parts):
        raise InputError(f"{archive} has the path {name}, outside its folder; it is refused.")
    return folder.joinpath(*parts)
