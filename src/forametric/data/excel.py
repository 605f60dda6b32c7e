"""Read the first sheet of an Excel workbook that is not empty, within a budget of memory."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from forametric.errors import InputError
from forametric.utils.text import first_line

MAX_UNPACKED = 128 * 1024**2  # bytes of XML in a workbook
MAX_CELLS = 10_000_000  # width times height of the part of a sheet that is filled
MAX_ROWS = 1_048_576  # of Excel
MAX_TAGS = 1_000_000  # in one row of a sheet, which the XML reader holds in memory
ROW = re.compile(rb"<(?:\w+:)?(?:row|si)\b")  # a row of a sheet, an entry of the shared texts
FORMULA_ERRORS = frozenset(
    ("#N/A", "#REF!", "#DIV/0!", "#VALUE!", "#NAME?", "#NULL!", "#NUM!", "#SPILL!", "#CALC!")
)
Row = tuple[int, Sequence[Any]]


def read_excel_cells(path: Path) -> list[Row]:
    """The rows with any value of the first sheet that has some, each with its number in the sheet.

    A formula that failed (`#N/A`) is an empty cell.

    Raises
    ------
    InputError
        When the file is not a workbook, is damaged, too large, or empty.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_budget(archive, path)
        return _first_sheet(path)
    except (InputError, MemoryError):
        raise
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except Exception as error:  # what the readers of ZIP, XML and cells raise for damaged files
        raise InputError(
            f"{path} cannot be read as an Excel table ({first_line(error).rstrip('.')}); open it "
            f"in a spreadsheet program and save it again as .xlsx or CSV."
        ) from None


def _check_budget(archive: zipfile.ZipFile, path: Path) -> None:
    unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > MAX_UNPACKED:
        raise InputError(
            f"{path} unpacks to {unpacked / 1e6:,.0f} MB, more than the "
            f"{MAX_UNPACKED / 1e6:,.0f} MB that are allowed; save the sheet as CSV."
        )
    for entry in archive.infolist():
        if entry.filename.endswith((".xml", ".rels")) and _most_tags(archive, entry) > MAX_TAGS:
            raise InputError(f"{path} has a row with too many cells; save the sheet as CSV.")


def _most_tags(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> int:
    """The number of tags of the longest row, read without building any of them."""
    most = tags = 0
    with archive.open(entry) as file:
        while chunk := file.read(1024 * 1024):
            *rows, unfinished = (piece.count(b"<") for piece in ROW.split(chunk))
            if rows:
                most, tags = max(most, tags + rows[0], *rows[1:]), 0
            tags += unfinished
    return max(most, tags)


def _first_sheet(path: Path) -> list[Row]:
    from openpyxl import load_workbook  # type: ignore[import-untyped]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of styles and links, which are not read
        book = load_workbook(path, read_only=True, data_only=True)
    try:
        for sheet in book.worksheets:
            sheet.reset_dimensions()  # the stated size may be wrong, or that of a whole sheet
            if rows := _filled_rows(sheet.iter_rows(values_only=True), path):
                return rows
    finally:
        book.close()
    raise InputError(f"{path} is empty.")


def _filled_rows(rows: Iterator[Sequence[Any]], path: Path) -> list[Row]:
    filled: list[Row] = []
    width = 0
    for number, cells in enumerate(rows, 1):
        values = [None if cell in FORMULA_ERRORS else cell for cell in cells]
        last = next((i for i in range(len(values), 0, -1) if values[i - 1] not in (None, "")), 0)
        if last:
            filled.append((number, values[:last]))
            width = max(width, last)
        if number > MAX_ROWS or width * len(filled) > MAX_CELLS:
            raise InputError(
                f"{path} has over {MAX_CELLS:,} cells, or values far outside its table; delete "
                f"what does not belong to the table, or save it as CSV."
            )
    return filled
