"""Import from a folder of images: with a subfolder for each taxon, or flat and unlabelled.

The label of an image is the name of the first folder below the given one, whatever folders are
inside it. One exception: folders that only wrap the folders of the taxa, as unpacked archives often
have them, are passed over, with a note (`label_level`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

import pandas as pd

from forametric.data.importers.listing import SourceListing
from forametric.data.taxonomy import Taxonomy
from forametric.errors import InputError
from forametric.images import IMAGE_SUFFIXES
from forametric.images.listing import image_files


def read_folder(folder: Path) -> SourceListing:
    """List a folder's images with their labels; without a label when the folder is flat."""
    paths = image_files(folder)
    if not paths:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise InputError(f"{folder} holds no images ({kinds}).")
    parts = [path.relative_to(folder).parts for path in paths]
    level = label_level(parts)
    labels = [p[level] if len(p) > level + 1 else None for p in parts]
    rows = pd.DataFrame({"image": ["/".join(p) for p in parts], "label": labels}, dtype=object)
    wrapper = "/".join(parts[0][:level])
    notes = [f"the labels are the folders in {wrapper}, which holds all images."] if level else []
    if not level and len(set(labels)) == 1 and any(len(p) > 2 for p in parts):
        notes = [
            f"all images are labelled {labels[0]}; if the folders inside it are the taxa, import "
            f"{folder / str(labels[0])}."
        ]
    return SourceListing(rows, folder, notes)


def label_level(parts: Sequence[tuple[str, ...]]) -> int:
    """How many folders are passed over before the one that is the label.

    Of the folders that hold all images, the one with the name of a known taxon is the label. Else
    all of them are passed over if the last holds no images itself. Else none is.

    Parameters
    ----------
    parts : sequence of tuple of str
        The folders and the file name of each image.

    Examples
    --------
    >>> label_level([("unpacked", "Aa bb", "1.png"), ("unpacked", "Cc dd", "2.png")])
    1
    >>> label_level([("Aa bb", "1.png"), ("Aa bb", "batch 2", "2.png")])
    0
    """
    folders = [p[:-1] for p in parts]
    levels = zip(*folders, strict=False)  # as deep as the image that is least deep
    common = [names[0] for names in takewhile(lambda names: len(set(names)) == 1, levels)]
    known = Taxonomy.load()
    named = [level for level, name in enumerate(common) if name in known]
    if named:
        return named[0]
    return 0 if len(common) in {len(f) for f in folders} else len(common)
