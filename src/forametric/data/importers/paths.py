"""The paths of images as tables write them."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath


def image_path(cell: str, folder: Path, images_root: Path | None = None) -> str:
    r"""The path of an image below `folder`, with `/` and without blanks around it.

    A path that is written with `\` is read as one of Windows, unless a file has this very name. An
    absolute path is made relative to `images_root` if it is inside; others stay as they are, and
    `refusal` says why they are not read.

    >>> image_path(" sub\\a.png ", Path("plates"))
    'sub/a.png'
    >>> image_path("/data/sub/a.png", Path("/data"), Path("/data"))
    'sub/a.png'
    """
    name = cell.strip()
    if "\\" in name and "\0" not in name and not (folder / name).is_file():
        name = PureWindowsPath(name).as_posix()
    if images_root is not None and is_absolute(name):
        path = Path(os.path.normpath(name))
        for root in (Path(os.path.abspath(images_root)), images_root.resolve()):
            if path.is_relative_to(root):
                return path.relative_to(root).as_posix()
    return name


def is_absolute(name: str) -> bool:
    """Whether a path is absolute on any system."""
    return PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()


def refusal(name: str) -> str:
    """Why the path of an image is not read; "" for one that may be.

    >>> refusal("sub/a.png")
    ''
    >>> refusal("https://example.org/a.png")
    'not the path of a local file'
    """
    if not name or "://" in name or "\0" in name:
        return "not the path of a local file"
    if is_absolute(name):
        return (
            "an absolute path that is not inside a folder given as --images-root; give the folder "
            "that holds all images"
        )
    return ""
