"""Import from a table: CSV, Excel or Parquet with the paths of the images and any other columns.

Paths are relative to the table's folder, or to the folder of the images if it is given. They must
be inside it. All columns are kept.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from forametric.data.importers.listing import SourceListing
from forametric.data.importers.particle_trieur import particle_trieur_columns
from forametric.data.importers.paths import image_path
from forametric.data.tables import read_table
from forametric.errors import InputError

IMAGE_COLUMNS = ("image", "path", "file", "filename", "file_name", "image_path", "img_file_name")
LABEL_COLUMNS = ("label", "species", "taxon", "class", "scientificname", "name")


def read_image_table(path: Path, images_root: Path | None = None) -> SourceListing:
    """Read a table as rows with at least `image` and `label`, all text.

    Raises
    ------
    InputError
        When it is not a table, or has no column of image paths, or no rows.
    """
    table = read_table(path)
    folder = images_root or path.parent
    rows = particle_trieur_columns(table.rows, folder)
    image = _column(rows, IMAGE_COLUMNS)
    if image is None:
        raise InputError(
            f"{path} has no column of image paths; call it one of {', '.join(IMAGE_COLUMNS)}. "
            f"It has: {', '.join(rows.columns[:12])}."
        )
    if rows.empty:
        raise InputError(f"{path} has a header but no rows.")
    label = _column(rows, LABEL_COLUMNS)
    labels = rows[label] if label else pd.Series(None, index=rows.index, dtype=object)
    used = {c for c in (image, label) if c}
    rest = rows.drop(columns=[c for c in rows.columns if c in used or c in ("image", "label")])
    paths = [image_path(cell, folder, images_root) for cell in rows[image]]
    first = pd.DataFrame({"image": paths, "label": labels.replace("", None)}, dtype=object)
    return SourceListing(pd.concat([first, rest], axis=1), folder, table.notes)


def _column(rows: pd.DataFrame, names: tuple[str, ...]) -> str | None:
    lower = {str(c).lower(): str(c) for c in rows.columns}
    return next((lower[name] for name in names if name in lower), None)
