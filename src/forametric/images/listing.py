"""List the image files of a folder."""

from __future__ import annotations

from pathlib import Path

from forametric.images import IMAGE_SUFFIXES


def image_files(folder: Path) -> list[Path]:
    """The images below `folder`, sorted by path, without hidden files and folders."""
    paths = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]
    return sorted(paths)
