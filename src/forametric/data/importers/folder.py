"""Import from a folder of images: with a subfolder for each taxon, or flat and unlabelled.

The label of an image is its first folder below the given one. If the given folder contains only one
subfolder, as unpacked archives often do, and that contains the folders of the taxa, it is used.
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
        has_images = any(e.suffix.lower() in IMAGE_SUFFIXES for e in entries)
        # A single folder without subfolders is a taxon.
        if len(folders) != 1 or has_images or not any(e.is_dir() for e in folders[0].iterdir()):
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
