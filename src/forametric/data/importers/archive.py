"""Unpack a ZIP from somebody else: only into its folder, and never more than it may hold."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from forametric.errors import InputError
from forametric.utils.files import atomic_path
from forametric.utils.progress import bar

MOST_RATIO = 200  # images and tables hardly shrink; bombs shrink a thousandfold
FREE_BYTES = 256 * 1024**2  # small archives may shrink as they like


def unpack(archive: Path, folder: Path) -> None:
    """Unpack `archive` below `folder`; files that are there with their full size are left alone.

    Raises
    ------
    InputError
        When it is no ZIP, is damaged or encrypted, names a path outside the folder, or would unpack
        to over 200 times its size.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            entries = [e for e in file.infolist() if not e.is_dir()]
            total = sum(e.file_size for e in entries)
            if total > max(FREE_BYTES, MOST_RATIO * archive.stat().st_size):
                raise InputError(
                    f"{archive} would unpack to {total / 1e9:.0f} GB, over {MOST_RATIO} times its "
                    f"size; it is refused as a possible bomb. Unpack it by hand if you trust it."
                )
            targets = [_inside(folder, e.filename, archive) for e in entries]
            with bar(f"unpacking {archive.name}", len(entries)) as advance:
                for entry, target in zip(entries, targets, strict=True):
                    _extract(file, entry, target)
                    advance(1)
    except zipfile.BadZipFile as error:
        raise InputError(f"{archive} is no whole ZIP archive: {error}.") from None
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
        raise InputError(f"{archive} names the path {name}, outside its folder; it is refused.")
    return folder.joinpath(*parts)
