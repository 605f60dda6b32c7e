"""Tables: every cell stays as it was written, whichever program wrote it."""

import pandas as pd
import pytest

from forametric.data.collection import Collection
from forametric.data.importers import import_collection
from forametric.data.tables import read_table
from forametric.errors import InputError

# What pandas takes for "not available" unless it is told otherwise.
WORDS = ["NA", "N/A", "null", "None", "nan", "NaN", "n/a", "NULL", "-nan", "<NA>", "", "x"]


@pytest.fixture
def both(tmp_path):
    """The same table as CSV and as Excel."""
    table = pd.DataFrame({"id": [f"i{n}" for n in range(len(WORDS))], "word": WORDS})
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_excel(tmp_path / "t.xlsx", index=False)
    return tmp_path / "t.csv", tmp_path / "t.xlsx"


def test_words_that_look_like_nothing_are_kept(both):
    """Excel once lost a sample "NA", a label "null" and a verdict "None"."""
    csv, excel = (read_table(path).rows for path in both)
    assert csv["word"].tolist() == excel["word"].tolist() == WORDS
    pd.testing.assert_frame_equal(csv, excel, check_dtype=False)


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_an_import_keeps_such_labels_and_samples(tmp_path, picture, suffix):
    for number in range(4):
        picture(f"t/{number}.png", number)
    table = pd.DataFrame(
        {"image": [f"{n}.png" for n in range(4)], "label": ["null", "None", "NA", ""],
         "sample": ["NA", "N/A", "nan", "core 1"], "remark": ["", "None", "N/A", "ok"]}
    )  # fmt: skip
    path = tmp_path / "t" / f"t.{suffix}"
    table.to_csv(path, index=False) if suffix == "csv" else table.to_excel(path, index=False)
    import_collection(path, tmp_path / "c")
    found = Collection.open(tmp_path / "c").specimens
    assert found["label"].fillna("").tolist() == ["null", "None", "NA", ""]
    assert found["taxon"].fillna("").tolist() == ["null", "None", "NA", ""]
    assert found["sample"].tolist() == ["NA", "N/A", "nan", "core 1"]
    assert found["remark"].tolist() == ["", "None", "N/A", "ok"]


def test_numbers_and_dates_in_excel_become_text(tmp_path):
    table = pd.DataFrame({"id": ["a"], "depth": [12.5], "year": [2019], "when": ["2019-06-01"]})
    table.to_excel(tmp_path / "t.xlsx", index=False)
    table = read_table(tmp_path / "t.xlsx")
    rows, notes = table.rows, table.notes
    assert rows.iloc[0].tolist() == ["a", "12.5", "2019", "2019-06-01"]
    assert notes == []


def test_a_formula_that_failed_in_excel_is_an_empty_cell(tmp_path):
    table = pd.DataFrame({"id": ["a", "b"], "sample": ["#N/A", "core 1"]})
    table.to_excel(tmp_path / "t.xlsx", index=False)  # openpyxl writes it as an error
    rows = read_table(tmp_path / "t.xlsx").rows
    assert rows["sample"].tolist() == ["", "core 1"]


def test_what_is_not_a_table_is_refused(tmp_path):
    (tmp_path / "t.xlsx").write_bytes(b"no workbook")
    with pytest.raises(InputError, match="cannot be read as an Excel table"):
        read_table(tmp_path / "t.xlsx")
    pd.DataFrame().to_excel(tmp_path / "empty.xlsx", index=False)
    with pytest.raises(InputError, match="is empty"):
        read_table(tmp_path / "empty.xlsx")


def test_results_are_read_back_with_taxa_of_any_name(tmp_path):
    """A taxon called "NA" is a name; an empty cell is none."""
    path = tmp_path / "names.csv"
    pd.DataFrame({"image": ["a", "b"], "taxon": ["NA", ""]}).to_csv(path, index=False)
    assert read_table(str(path)).rows["taxon"].tolist() == ["NA", ""]
    with pytest.raises(InputError, match="does not exist"):
        read_table(tmp_path / "nowhere.csv")
