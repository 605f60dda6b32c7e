"""Import from a table: a CSV or Excel file with the paths of the images and any other columns.

CSV files may be separated by comma, semicolon or tab, have decimal commas, and be encoded in UTF-8,
UTF-16 with BOM, or Windows-1252, which is reported. Paths are relative to the table's folder and
must be inside it. All columns are kept.
"""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import pandas as pd

from forametric._typing import PathLike
from forametric.data.importers.listing import SourceListing
from forametric.data.importers.particle_trieur import particle_trieur_columns
from forametric.errors import InputError

IMAGE_COLUMNS = ("image", "path", "file", "filename", "file_name", "image_path", "img_file_name")
LABEL_COLUMNS = ("label", "species", "taxon", "class", "scientificname", "name")
EXCEL = (".xlsx", ".xlsm")


def read_table(path: Path) -> SourceListing:
    """Read a table as rows with at least `image` and `label`, all text.

    Raises
    ------
    InputError
        When it is not a table, or has no column of image paths, no rows, or a repeated column.
    """
    rows, notes = read_rows(path)
    rows = particle_trieur_columns(rows, path.parent)
    image = _column(rows, IMAGE_COLUMNS)
    if image is None:
        raise InputError(
            f"{path} has no column of image paths; call it one of {', '.join(IMAGE_COLUMNS)}. "
            f"It has: {', '.join(rows.columns)}."
        )
    if rows.empty:
        raise InputError(f"{path} has a header but no rows.")
    label = _column(rows, LABEL_COLUMNS)
    labels = rows[label] if label else pd.Series(None, index=rows.index, dtype=object)
    used = {c for c in (image, label) if c}
    rest = rows.drop(columns=[c for c in rows.columns if c in used or c in ("image", "label")])
    first = pd.DataFrame({"image": rows[image], "label": labels.replace("", None)})
    return SourceListing(pd.concat([first, rest], axis=1), path.parent, notes)


def read_rows(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """The cells of an Excel or a delimited text file, as text, and notes for the user."""
    return _read_excel(path) if path.suffix.lower() in EXCEL else read_cells(path)


def read_results(path: PathLike) -> pd.DataFrame:
    """Read a CSV file that a command wrote, for instance `identify`; empty cells are missing.

    Raises
    ------
    InputError
        When it cannot be read.
    """
    try:
        return pd.read_csv(path, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a table: {error}.") from None


def read_cells(path: Path, delimiter: str | None = None) -> tuple[pd.DataFrame, list[str]]:
    """The cells of a delimited text file as text, and notes about its encoding."""
    text, notes = _text(path)
    first = text.split("\n", 1)[0]
    delimiter = delimiter or max(",;\t", key=first.count)
    header = [
        name.strip() for name in next(csv.reader(io.StringIO(first), delimiter=delimiter), [])
    ]
    _check_header(header, path)
    try:
        rows = pd.read_csv(io.StringIO(text), sep=delimiter, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from None
    if not isinstance(rows.index, pd.RangeIndex):
        raise InputError(f"{path} has rows with more cells than its header has names.")
    rows.columns = pd.Index([str(c).strip() for c in rows.columns])
    return rows.fillna(""), notes


def _read_excel(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """The first sheet that is not empty, with its first row as header."""
    try:
        # Without the NA values of pandas, because a sample "NA" and a label "null" are text.
        sheets = pd.read_excel(
            path, sheet_name=None, dtype=str, header=None, engine="openpyxl", na_filter=False
        )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as an Excel table: {error}.") from None
    for cells in sheets.values():
        sheet = cells.astype(object).fillna("")  # an error of a formula, as #N/A, is not a value
        empty = sheet.map(lambda cell: str(cell) == "")
        cells = sheet.loc[~empty.all(axis=1), ~empty.all(axis=0)].astype(str)
        if len(cells):
            header = [str(c).strip() for c in cells.iloc[0]]
            _check_header(header, path)
            return cells.iloc[1:].set_axis(header, axis=1).reset_index(drop=True), []
    raise InputError(f"{path} is empty.")


def _check_header(header: list[str], path: Path) -> None:
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise InputError(f"{path} has the column {twice[0]!r} more than once; rename one.")


def _column(rows: pd.DataFrame, names: tuple[str, ...]) -> str | None:
    lower = {str(c).lower(): str(c) for c in rows.columns}
    return next((lower[name] for name in names if name in lower), None)


def _text(path: Path) -> tuple[str, list[str]]:
    data = path.read_bytes()
    if not data.strip():
        raise InputError(f"{path} is empty.")
    if b"\x00" in data[:4096] and data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{path} is not a text table; save it as CSV or .xlsx.")
    notes: list[str] = []
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        lines = [_line(line) for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
        other = [number for number, (_, plain) in enumerate(lines, 1) if not plain]
        text = "\n".join(line for line, _ in lines)
        notes.append(
            f"{path.name}: {len(other)} lines are not UTF-8, the first is line {other[0]}; they "
            f"were read as Windows-1252. Check their names, or save it again as 'CSV UTF-8'."
        )
    return text.replace("\r\n", "\n").replace("\r", "\n"), notes


def _line(line: bytes) -> tuple[str, bool]:
    """A line as text, and whether it was UTF-8."""
    try:
        return line.decode("utf-8"), True
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace"), False
