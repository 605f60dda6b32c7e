"""A folder of images: one subfolder for each taxon, or flat and unlabelled.

The label is the first folder below the given one, however deep the image lies in it. A single
subfolder that holds the folders of the taxa is stepped into, as unpacked archives have it.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from forametric.data.importers.listing import SourceListing
from forametric.errors import InputError
from forametric.images import IMAGE_SUFFIXES
from forametric.images.listing import image_files


def read_folder(folder: Path) -> SourceListing:
    """List a folder's images with their labels; without a label when the folder is flat."""
    while True:
        entries = [e for e in folder.iterdir() if not e.name.startswith(".")]
        folders = [e for e in entries if e.is_dir()]
        pictured = any(e.suffix.lower() in IMAGE_SUFFIXES for e in entries)
        # A single folder without folders of its own is a taxon, not a wrapping: keep its name.
        if len(folders) != 1 or pictured or not any(e.is_dir() for e in folders[0].iterdir()):
            break
        folder = folders[0]
    paths = image_files(folder)
    if not paths:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise InputError(f"{folder} holds no images ({kinds}).")
    parts = [path.relative_to(folder).parts for path in paths]
    rows = pd.DataFrame(
        {
            "image": ["/".join(p) for p in parts],
            "label": [p[0] if len(p) > 1 else None for p in parts],
        }
    )
    return SourceListing(rows, folder)
