"""List the image files of a folder."""

from __future__ import annotations

import os
from pathlib import Path

from forametric.images.formats import looks_like_image


def image_files(folder: Path, *, below: bool = True) -> list[Path]:
    """Whatever is named like an image below `folder`, sorted by path; nothing hidden.

    Included are formats that are not read, pipes and other things that are not regular files, and,
    as one entry each, folders that cannot be read or are links. `decode` says why it refuses
    them, so that they are listed as skipped and not passed over.

    Parameters
    ----------
    below : bool
        Whether to look into subfolders.
    """
    found: list[Path] = []

    def refused(error: OSError) -> None:
        found.append(Path(error.filename))

    for parent, folders, files in os.walk(folder, onerror=refused):
        here = Path(parent)
        folders[:] = [name for name in folders if not name.startswith(".")] if below else []
        found += [here / name for name in folders if (here / name).is_symlink()]
        found += [here / name for name in folders if looks_like_image(here / name)]
        found += [
            here / name
            for name in files
            if not name.startswith(".") and looks_like_image(here / name)
        ]
    return sorted(set(found))
