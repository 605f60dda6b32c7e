"""The one reader of tables that users give: CSV, Excel or Parquet.

Every cell is read as text. What a use of a table needs is a list of `Column`, and `check_table`
names the file, row and column of everything that differs. Row numbers are those that a spreadsheet
program shows: the header is row 1.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from forametric._typing import PathLike
from forametric.data.excel import MAX_CELLS, Row, read_excel_cells
from forametric.errors import InputError
from forametric.utils.text import first_line

EXCEL = (".xlsx", ".xlsm")
PARQUET = (".parquet", ".pq")
MAX_BYTES = 1024**3  # of a text table
MAX_TEXT_CELLS = 50_000_000  # rows times columns of a text table
# Control characters other than tab and line breaks, and halves of surrogate pairs.
CONTROL = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff]")
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Column:
    """What a column of a table must hold.

    Attributes
    ----------
    name : str
    kind : str
        `text`; `number`; or `probability`, a number from 0 to 1, also written as 90 %. Decimal
        commas are read. Empty cells of numbers are NaN.
    required : bool
        Whether the table must have it.
    filled : bool
        Whether no cell may be empty.
    unique : bool
        Whether no value may occur twice.
    values : sequence of str
        The allowed values; any for an empty one.
    """

    name: str
    kind: Literal["text", "number", "probability"] = "text"
    required: bool = False
    filled: bool = False
    unique: bool = False
    values: Sequence[str] = ()


@dataclass(frozen=True)
class Table:
    """The cells of a table as text, "" for empty ones, and sentences for the user about it.

    The index of `rows` are the numbers of the rows in the file.
    """

    rows: pd.DataFrame
    notes: list[str]


def read_table(path: PathLike, columns: Sequence[Column] = ()) -> Table:
    """Read a table by its suffix: .xlsx, .xlsm, .parquet, else delimited text.

    Raises
    ------
    InputError
        When it cannot be read, or is not as `columns` require.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in EXCEL:
        table = Table(_frame(read_excel_cells(path), path), [])
    elif suffix in PARQUET:
        table = Table(text_table(read_parquet(path), path), [])
    else:
        table = read_text_table(path)
    rows, notes = without_control_characters(table.rows, path)
    return Table(check_table(rows, columns, path), [*table.notes, *notes])


def check_table(rows: pd.DataFrame, columns: Sequence[Column], name: object) -> pd.DataFrame:
    """The table with the columns that are numbers as float64.

    Parameters
    ----------
    rows : DataFrame
        Text; its index are the numbers of the rows, for messages.
    name : Path or str
        What the table is called in messages.

    Raises
    ------
    InputError
        When a column is missing, or a cell is not as its column requires.

    Examples
    --------
    >>> rows = pd.DataFrame({"id": ["a"], "share": ["90 %"]}, index=[2])
    >>> check_table(rows, [Column("share", "probability")], "t.csv")["share"].tolist()
    [0.9]
    >>> check_table(rows, [Column("id", values=["b"])], "t.csv")
    Traceback (most recent call last):
    forametric.errors.InputError: t.csv, row 2, column id: 'a' is not one of b.
    """
    missing = [c.name for c in columns if c.required and c.name not in rows]
    if missing:
        raise InputError(
            f"{name} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}. It has: "
            f"{', '.join(map(str, rows.columns[:12])) or 'none'}."
        )
    checked = rows.copy()
    for column in columns:
        if column.name in rows:
            checked[column.name] = _checked(rows[column.name], column, name)
    return checked


def text_table(table: pd.DataFrame, name: object) -> pd.DataFrame:
    """A table of any values as text, with the row numbers that `check_table` needs.

    Whole numbers are written without a decimal point, missing values are "".

    Raises
    ------
    InputError
        When a value is neither text, a number nor a date, or a column occurs twice.
    """
    check_header([str(c) for c in table.columns], name)
    texts = {
        str(column): [
            _text(value, f"{name}, row {number}, column {column}")
            for number, value in enumerate(table[column], 2)
        ]
        for column in table.columns
    }
    return pd.DataFrame(texts, index=range(2, len(table) + 2), dtype=object)


def is_text(column: pd.Series) -> bool:
    """Whether all values of a column are text or missing."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return False
    return pd.api.types.infer_dtype(column, skipna=True) in ("string", "empty")


def as_text(column: pd.Series, name: object) -> pd.Series:
    """A column as text, None for missing values; errors as `text_table`."""
    texts = text_table(column.to_frame(), name).iloc[:, 0]
    return pd.Series(texts.replace("", None).to_numpy(), column.index, dtype=object)


def read_parquet(path: Path) -> pd.DataFrame:
    """A Parquet file as it is, with a named index as a column; `InputError` if damaged."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            cells = file.metadata.num_rows * file.metadata.num_columns
            if cells > 100 * MAX_CELLS:
                raise InputError(f"{path} has {cells:,} cells, which is too many.")
            check_header(file.schema_arrow.names, path)
            cells_read = file.read()
            cells_read.validate(full=True)  # else text that is not UTF-8 fails much later
            table: pd.DataFrame = cells_read.to_pandas()
    except (InputError, MemoryError):
        raise
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except Exception as error:  # Arrow's errors have no common base, and its metadata are JSON
        raise InputError(f"{path} cannot be read as Parquet: {first_line(error)}.") from None
    named = [n for n in table.index.names if n is not None and n not in table.columns]
    table = table.reset_index() if named else table.reset_index(drop=True)
    return table.set_axis([str(c) for c in table.columns], axis=1)


def parse_number(text: str) -> float:
    """A finite number; `ValueError` for anything else.

    >>> parse_number(" 2,5 ")
    2.5
    """
    plain = text.strip()
    value = float(plain.replace(",", ".") if "." not in plain else plain)
    if "_" in plain or not math.isfinite(value):
        raise ValueError(f"{text!r} is not a number")
    return value


def check_header(names: Sequence[str], name: object) -> None:
    """Raise `InputError` if a column occurs twice."""
    twice = sorted({n for n in names if n and names.count(n) > 1}) if _repeats(names) else []
    if twice:
        raise InputError(f"{name} has the column {twice[0]!r} more than once; rename one.")


def read_text_table(path: Path, delimiter: str | None = None) -> Table:
    """The cells of a delimited text file, unchecked; the delimiter is that of its first line.

    Cells that are missing at the end of a row are empty.

    Raises
    ------
    InputError
        When it is empty, not text, has an unclosed quote, or a row longer than its header.
    """
    text, notes = _decoded(path)
    delimiter = delimiter or max(",;\t", key=text.lstrip("\n").split("\n", 1)[0].count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    number = 0
    try:
        for number, cells in enumerate(reader, 1):
            if any(cells):
                rows.append((number, cells))
    except csv.Error as error:
        raise InputError(
            f"{path}, row {number + 1}: {_csv_reason(error)}; correct this row."
        ) from None
    if not rows:
        raise InputError(f"{path} is empty.")
    return Table(_frame(rows, path), notes)


def _csv_reason(error: csv.Error) -> str:
    reason = str(error)
    if "end of data" in reason:
        return "a quotation mark is not closed"
    if "expected after" in reason:
        return "text follows a closing quotation mark (write a quotation mark inside a cell twice)"
    return reason


def _frame(rows: Sequence[Row], path: Path) -> pd.DataFrame:
    """A table of text from a header and rows; columns without a name and values are left out."""
    (header_row, header), body = rows[0], rows[1:]
    names = [_text(c, f"{path}, row {header_row}").strip("\ufeff \t\r\n") for c in header]
    check_header(names, path)
    width = len(names)
    if width * len(body) > MAX_TEXT_CELLS:
        raise InputError(f"{path} has {width:,} columns and {len(body):,} rows; split it.")
    columns: list[list[str]] = [[] for _ in names]
    for number, cells in body:
        if any(cell not in (None, "") for cell in cells[width:]):
            raise InputError(
                f"{path}, row {number} has {len(cells)} cells, but the header has {width} names."
            )
        where = f"{path}, row {number}"
        for position, column in enumerate(columns):
            column.append(_text(cells[position], where) if position < len(cells) else "")
    named = {
        name or f"column {position}": column
        for position, (name, column) in enumerate(zip(names, columns, strict=True), 1)
        if name or any(column)
    }
    return pd.DataFrame(named, index=[number for number, _ in body], dtype=object)


def _text(value: Any, where: str) -> str:
    """A cell as text."""
    if isinstance(value, str):
        return value
    if value is None or value is pd.NaT or value is pd.NA:
        return ""
    if isinstance(value, float | np.floating):
        return _number_text(float(value))
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    if isinstance(value, datetime):
        return value.isoformat(" ")
    if isinstance(value, int | np.integer | np.bool_ | date | time):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    raise InputError(f"{where} holds a {type(value).__name__}; it must be text or a number.")


def _number_text(value: float) -> str:
    if math.isnan(value):
        return ""
    whole = value.is_integer() and abs(value) < 1e15
    return str(int(value)) if whole else str(value)


def _checked(cells: pd.Series, column: Column, name: object) -> pd.Series | list[float]:
    texts = cells.str.strip()
    if column.filled:
        _refuse(cells, texts == "", name, "is empty; fill it in")
    if column.unique:
        _refuse(cells, texts.duplicated() & (texts != ""), name, "occurs more than once")
    if column.values:
        allowed = f"is not one of {', '.join(filter(None, column.values))}"
        _refuse(cells, ~texts.isin(column.values), name, allowed)
        return texts
    if column.kind == "text":
        return texts if column.unique or column.filled else cells
    parse = _parse_probability if column.kind == "probability" else parse_number
    return [_number(text, parse, row, column, name) for row, text in texts.items()]


def _refuse(cells: pd.Series, wrong: pd.Series, name: object, why: str) -> None:
    if wrong.any():
        row = wrong.index[int(wrong.to_numpy().argmax())]
        raise InputError(f"{name}, row {row}, column {cells.name}: {cells[row]!r} {why}.")


def _number(
    text: str, parse: Callable[[str], float], row: object, column: Column, name: object
) -> float:
    try:
        return float(parse(text)) if text else math.nan
    except ValueError:
        what = "a number from 0 to 1" if column.kind == "probability" else "a number"
        raise InputError(
            f"{name}, row {row}, column {column.name}: {text!r} is not {what}."
        ) from None


def _parse_probability(text: str) -> float:
    value = parse_number(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 <= value <= 1:
        raise ValueError(f"{text!r} is not a probability")
    return value


def without_control_characters(rows: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, list[str]]:
    """The table with a blank in place of each control character, which no other format can hold."""
    found = [
        (position, str(column))
        for column in rows.columns
        for position, text in enumerate(rows[column])
        if CONTROL.search(text)
    ]
    if not found:
        return rows, []
    for column in {column for _, column in found}:
        rows[column] = [CONTROL.sub(" ", text) for text in rows[column]]
    position, column = min(found)
    note = (
        f"{path.name}: {len(found)} cells hold control characters, the first in row "
        f"{rows.index[position]}, column {column}; they were replaced by blanks."
    )
    return rows, [note]


def _repeats(names: Sequence[str]) -> bool:
    return len(set(names)) < len(names)


def _decoded(path: Path) -> tuple[str, list[str]]:
    """The text of a file, and a note if it is not UTF-8 or UTF-16."""
    if not path.is_file():
        raise InputError(f"{path} is not a file." if path.exists() else f"{path} does not exist.")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path} is larger than {MAX_BYTES / 1e9:.1f} GB; split it.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read as a table: {error.strerror}.") from None
    if not data.strip():
        raise InputError(f"{path} is empty.")
    utf_16 = data[:2] in UTF_16
    if b"\x00" in data and not utf_16:
        raise InputError(f"{path} is not a text table; save it as CSV or .xlsx.")
    notes: list[str] = []
    try:
        text = data.decode("utf-16" if utf_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        if utf_16:
            raise InputError(
                f"{path} is not valid UTF-16 after byte {error.start}; save it as 'CSV UTF-8'."
            ) from None
        text, note = _line_by_line(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), path)
        notes.append(note)
    if "\0" in text:  # UTF-32, or a binary file that begins as UTF-16 does
        raise InputError(f"{path} is not a text table; save it as CSV or .xlsx.")
    return text.replace("\r\n", "\n").replace("\r", "\n"), notes


def _line_by_line(lines: Iterable[bytes], path: Path) -> tuple[str, str]:
    decoded = [_line(line) for line in lines]
    other = [number for number, (_, is_utf_8) in enumerate(decoded, 1) if not is_utf_8]
    note = (
        f"{path.name}: {len(other)} lines are not UTF-8, the first is line {other[0]}; they "
        f"were read as Windows-1252. Check their names, or save it again as 'CSV UTF-8'."
    )
    return "\n".join(line for line, _ in decoded), note


def _line(line: bytes) -> tuple[str, bool]:
    """A line as text, and whether it was UTF-8."""
    try:
        return line.decode("utf-8"), True
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace"), False
