"""Write tables as sheets of an Excel file, row by row, with every text as it is."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from io import BytesIO
from itertools import chain
from numbers import Integral, Real
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from forametric.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

MAX_ROWS, MAX_COLUMNS = 1_048_576, 16_384  # of an Excel sheet
MAX_EXACT = 10**15  # Excel keeps 15 digits of a number
# Excel takes text that begins with one of these for a formula when its cell is edited.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
logger = logging.getLogger(__name__)


def write_sheets(path: Path, sheets: Mapping[str, pd.DataFrame]) -> None:
    """Write an Excel file with one sheet for each table, row by row.

    Text stays text, in the headers too: nothing is evaluated, and identifiers of digits keep all of
    them. Text is cut at 32,767 characters, which is Excel's limit; that is logged.

    Parameters
    ----------
    path : Path
        Written in place; give a temporary path.
    sheets : mapping of str to DataFrame
        The tables by the names of their sheets.

    Raises
    ------
    InputError
        When a table has more rows or columns than Excel can hold.
    """
    from xlsxwriter import Workbook
    from xlsxwriter.exceptions import FileCreateError

    for name, table in sheets.items():
        if len(table) >= MAX_ROWS or len(table.columns) > MAX_COLUMNS:
            raise InputError(
                f"the table {name!r} has {len(table)} rows and {len(table.columns)} columns; an "
                f"Excel sheet holds {MAX_ROWS} and {MAX_COLUMNS} at most: write CSV instead."
            )
    # The packed file is made in memory: a ZipFile cannot be given up quietly on a full disk.
    packed = BytesIO()
    with TemporaryDirectory() as folder:
        book = Workbook(packed, {"constant_memory": True, "tmpdir": folder})
        try:
            cut = sum(_write_sheet(book, name, table) for name, table in sheets.items())
            book.close()
        except FileCreateError as error:
            raise error.args[0] from None
        finally:
            book.fileclosed = True  # after an error, its destructor would close it again
    path.write_bytes(packed.getbuffer())
    if cut:
        logger.warning("%s: %d texts were cut at 32,767 characters; CSV keeps them", path, cut)


def _write_sheet(book: Any, name: str, table: pd.DataFrame) -> int:
    """Write one table; the number of texts that were cut."""
    sheet = book.add_worksheet(name)
    sheet.freeze_panes(1, 0)
    quoted = book.add_format({"quote_prefix": True})
    header = tuple(str(column) for column in table.columns)
    cut = 0
    for number, row in enumerate(chain([header], table.itertuples(index=False, name=None))):
        for column, value in enumerate(row):
            plain = _plain(value)
            if isinstance(plain, str):
                style = quoted if plain.startswith(FORMULA) else None
                cut += sheet.write_string(number, column, plain, style) != 0
            elif isinstance(plain, bool):
                sheet.write_boolean(number, column, plain)
            elif plain is not None:
                sheet.write_number(number, column, plain)
    return cut


def _plain(value: Any) -> str | float | bool | None:
    """A value as Excel can hold it exactly: text, a number, true or false, or nothing."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, Integral):
        return int(value) if abs(int(value)) < MAX_EXACT else str(value)
    if isinstance(value, Real):
        number = float(value)
        return None if math.isnan(number) else number if math.isfinite(number) else str(number)
    missing = value is None or str(value) in ("<NA>", "NaT")  # of pandas
    return None if missing else str(value)
