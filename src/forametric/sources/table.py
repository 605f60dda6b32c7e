"""A table of specimens: CSV with a path to each image, and whatever else the lab recorded.

UTF-8 (with or without BOM) or UTF-16 with BOM; comma, semicolon or tab; paths are relative to the
table's own folder and may not leave it. All columns are kept.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd

from forametric.errors import InputError

IMAGE_COLUMNS = ("image", "path", "file", "filename", "file_name", "image_path", "img_file_name")
LABEL_COLUMNS = ("label", "species", "taxon", "class", "scientificname", "name")


def read_table(path: Path) -> tuple[pd.DataFrame, Path]:
    """Read a CSV as rows with at least `image` and `label`.

    Returns
    -------
    rows : DataFrame
        Text columns; `image` and `label` under those names, the others as they were.
    folder : Path
        The table's folder, where the paths start.
    """
    text = _text(path)
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    header = next(csv.reader(io.StringIO(first), delimiter=delimiter), [])
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise InputError(f"{path} has the column {sorted(twice)[0]!r} more than once; rename one.")
    try:
        rows = pd.read_csv(io.StringIO(text), sep=delimiter, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from None
    rows.columns = [str(c).strip() for c in rows.columns]
    image = _column(rows, IMAGE_COLUMNS)
    if image is None:
        raise InputError(
            f"{path} has no column of image paths; call it one of {', '.join(IMAGE_COLUMNS)}. "
            f"It has: {', '.join(rows.columns)}."
        )
    if rows.empty:
        raise InputError(f"{path} has a header but no rows.")
    label = _column(rows, LABEL_COLUMNS)
    given = rows[label] if label else pd.Series(None, index=rows.index, dtype=object)
    taken = {c for c in (image, label) if c}
    rest = rows.drop(columns=[c for c in rows.columns if c in taken or c in ("image", "label")])
    front = pd.DataFrame({"image": rows[image], "label": given.replace("", None)})
    return pd.concat([front, rest], axis=1), path.parent


def _column(rows: pd.DataFrame, names: tuple[str, ...]) -> str | None:
    lower = {str(c).lower(): str(c) for c in rows.columns}
    return next((lower[name] for name in names if name in lower), None)


def _text(path: Path) -> str:
    data = path.read_bytes()
    if not data.strip():
        raise InputError(f"{path} is empty.")
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path} is not UTF-8 text (line {line}); save it again as 'CSV UTF-8'."
        ) from None
