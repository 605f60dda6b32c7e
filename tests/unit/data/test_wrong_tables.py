"""Tables with something wrong in them: read with a note, or refused with file, row and column."""

import zipfile

import numpy as np
import pandas as pd
import pytest

from forametric.data import excel
from forametric.data.collection import Collection
from forametric.data.exporters import export
from forametric.data.importers import import_collection
from forametric.data.splits import Split
from forametric.data.tables import Column, read_table, text_table
from forametric.data.taxonomy import Taxonomy
from forametric.embedding.recipe import Recipe
from forametric.errors import InputError, RecipeError


def written(folder, data, name="t.csv"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


# Text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"id,subset\na,b\0c\n", "not a text table"),
        (b"id,subset\na,b,c\n", "row 2 has 3 cells, but the header has 2"),
        (b'id,subset\na,"b\nc,d\n', "a quotation mark is not closed"),
        (b'id,subset\na,"b"c\n', "row 2: text follows a closing quotation mark"),
        (b"id,subset,id\na,b,c\n", "has the column 'id' more than once"),
        (b"id," + b"x" * 200_000 + b"\na,b\n", "row 1: field larger than field limit"),
        (b"\xff\xfei\0d\0\n", "not valid UTF-16"),
        ("id\na\n".encode("utf-32"), "not a text table"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, data, message):
    with pytest.raises(InputError, match=message) as caught:
        read_table(written(tmp_path, data), [Column("id", required=True)])
    assert str(tmp_path / "t.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        "id,subset\na,train\n\nb,\n",
        "\ufeff\ufeffid;subset\r\na;train\r\n\r\nb\r\n",
        "id\tsubset\t\na\ttrain\t\n\nb\t\t\n",
    ],
)
def test_byte_order_marks_short_rows_and_trailing_delimiters_are_read(tmp_path, data):
    rows = read_table(written(tmp_path, data)).rows
    assert rows.to_dict("list") == {"id": ["a", "b"], "subset": ["train", ""]}
    assert rows.index.tolist() == [2, 4], "rows are numbered as a spreadsheet program does"


def test_columns_without_a_name_are_kept_if_they_hold_something(tmp_path):
    rows = read_table(written(tmp_path, ",id,\n0,a,\n1,b,\n")).rows
    assert rows.columns.tolist() == ["column 1", "id"]


def test_control_characters_become_blanks_with_a_note(tmp_path, picture):
    picture("a.png")
    path = written(tmp_path, "image,label,remark\na.png,Aa\x0bbb,\x1b[31m\n")
    report = import_collection(path, tmp_path / "c")
    assert report.table["taxon"].tolist() == ["Aa bb"]
    assert "2 cells hold control characters, the first in row 2, column label" in report.notes[0]
    assert len(export(tmp_path / "c", tmp_path / "c.xlsx", format="excel")) == 1


# Columns

SCHEMA = [
    Column("id", required=True, filled=True, unique=True),
    Column("share", "probability"),
    Column("depth", "number"),
    Column("state", values=("open", "closed", "")),
]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("share\n1\n", "lacks the column id"),
        ("id,share\na,1\n ,1\n", "row 3, column id: ' ' is empty"),
        ("id,share\na,1\na,1\n", "row 3, column id: 'a' occurs more than once"),
        ("id,share\na,1.2\n", "row 2, column share: '1.2' is not a number from 0 to 1"),
        ("id,share\na,-5 %\n", "not a number from 0 to 1"),
        ("id,depth\na,nan\n", "row 2, column depth: 'nan' is not a number"),
        ("id,depth\na,inf\n", "'inf' is not a number"),
        ("id,depth\na,1_0\n", "'1_0' is not a number"),
        ("id;depth\na;1.234,5\n", "'1.234,5' is not a number"),
        ("id,state\na,shut\n", "'shut' is not one of open, closed"),
    ],
)
def test_a_wrong_cell_is_named_by_row_and_column(tmp_path, data, message):
    with pytest.raises(InputError, match=message):
        read_table(written(tmp_path, data), SCHEMA)


def test_percent_signs_and_decimal_commas_are_read(tmp_path):
    rows = read_table(written(tmp_path, "id;share;depth\na;90 %;2,5\nb;0,5;\n"), SCHEMA).rows
    assert rows["share"].tolist() == [0.9, 0.5]
    assert rows["depth"].fillna(-1).tolist() == [2.5, -1]


def test_numbers_dates_and_missing_values_of_any_table_become_text():
    table = pd.DataFrame(
        {"n": [12.0, np.nan], "s": pd.Categorical(["x", None]), "b": [True, False],
         "d": [pd.Timestamp("2019-06-01"), pd.NaT]}
    )  # fmt: skip
    assert text_table(table, "t").to_dict("list") == {
        "n": ["12", ""], "s": ["x", ""], "b": ["True", "False"], "d": ["2019-06-01", ""],
    }  # fmt: skip
    with pytest.raises(InputError, match="t, row 2, column x holds a list"):
        text_table(pd.DataFrame({"x": [[1]]}), "t")


# Excel


def test_a_cell_at_the_far_end_of_a_sheet_takes_no_memory(tmp_path):
    from openpyxl import Workbook

    book = Workbook()
    book.active["A1"], book.active["XFD1048576"] = "image", "x"
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(InputError, match="row 1048576 has 16384 cells, but the header has 1"):
        read_table(tmp_path / "t.xlsx")


def test_a_sheet_beyond_the_budget_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "t.xlsx"
    pd.DataFrame(np.ones((30, 10))).to_excel(path, index=False)
    for limit, value, message in (
        ("MAX_CELLS", 200, "over 200 cells"),
        ("MAX_UNPACKED", 100, "more than the 0 MB"),
        ("MAX_TAGS", 5, "a row with too many cells"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(excel, limit, value)
            with pytest.raises(InputError, match=message):
                read_table(path)
    assert len(read_table(path).rows) == 30


def test_a_workbook_that_unpacks_to_too_much_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", bytes(excel.MAX_UNPACKED + 1))
    with pytest.raises(InputError, match="save the sheet as CSV"):
        read_table(tmp_path / "t.xlsx")


# Scales


@pytest.mark.parametrize("scale", ["0", "-2", "nan", "inf", "two"])
def test_a_scale_that_is_none_is_missing_with_a_note(tmp_path, picture, scale):
    for name in ("a.png", "b.png"):
        picture(name, len(name))
    data = f"image,label,um_per_px\na.png,x,{scale}\nb.png,y,2\n"
    report = import_collection(written(tmp_path, data), tmp_path / "c")
    assert report.table["um_per_px"].fillna(-1).tolist() == [-1, 2]
    assert f"the first is {scale!r} of a.png; they are read as missing" in report.notes[0]


# Paths


def test_backslashes_and_blanks_in_paths_are_read_on_any_system(tmp_path, picture):
    picture("sub/a.png", 1)
    picture("b.png", 2)
    report = import_collection(
        written(tmp_path, "image,label\nsub\\a.png,x\n b.png ,y\n"), tmp_path / "c"
    )
    assert report.table["image"].tolist() == ["sub/a.png", "b.png"]
    assert len(report.skipped) == 0


@pytest.mark.parametrize("relative", [True, False])
def test_absolute_paths_need_the_folder_of_the_images(tmp_path, picture, monkeypatch, relative):
    images = picture("images/a.png").parent
    picture("elsewhere/c.png", 2)
    path = written(
        tmp_path,
        f"image,label\n{images}/a.png,x\nb.png,y\n{tmp_path}/elsewhere/c.png,z\n",
        "images/t.csv",
    )
    picture("images/b.png", 1)
    monkeypatch.chdir(tmp_path)
    table = path.relative_to(tmp_path) if relative else path
    report = import_collection(table, tmp_path / "c")
    assert report.table["image"].tolist() == ["b.png"]
    assert set(report.skipped["reason"]) == {
        "an absolute path that is not inside a folder given as --images-root; give the folder "
        "that holds all images"
    }
    report = import_collection(table, tmp_path / "d", images_root="images" if relative else images)
    assert report.table["image"].tolist() == ["a.png", "b.png"]
    assert len(report.skipped) == 1
    report = import_collection(tmp_path / "images" / "t.csv", tmp_path / "e", images_root=tmp_path)
    assert report.table["image"].tolist() == ["images/a.png", "elsewhere/c.png"]


def test_a_folder_of_images_is_for_sources_with_paths(tmp_path, picture):
    picture("in/A/a.png")
    with pytest.raises(InputError, match="for table or particle-trieur only"):
        import_collection(tmp_path / "in", tmp_path / "c", images_root=tmp_path)
    with pytest.raises(InputError, match="nowhere does not exist"):
        import_collection(
            written(tmp_path, "image\na\n"), tmp_path / "c", images_root=tmp_path / "nowhere"
        )


# Collections, splits, taxonomies, recipes


def saved(shells, folder, **columns):
    """A collection whose Parquet file was edited with pandas."""
    shells.save(folder)
    shells.specimens.assign(**columns).to_parquet(folder / "specimens.parquet")
    return Collection.open(folder)


def test_numbers_in_a_parquet_file_that_was_edited_are_text(shells, tmp_path):
    from forametric.data.embeddings import Embeddings

    numbers = range(len(shells))
    found = saved(
        shells,
        tmp_path / "c",
        id=numbers,
        taxon=pd.Categorical([3] * 48),
        sample=4.0,
        group=numbers,
    )
    first = found.specimens.iloc[1]
    assert first[["id", "taxon", "sample", "group"]].tolist() == ["1", "3", "4", "1"]
    vectors = Embeddings.of_vectors(np.ones((48, 2)))
    columns = found.specimens[["id", "image", "taxon", "sample"]]
    Embeddings(columns, vectors.vectors, vectors.class_probabilities).save(tmp_path / "v.parquet")
    assert Embeddings.load(tmp_path / "v.parquet").table["sample"].tolist() == ["4"] * 48


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"um_per_px": 0.0}, "row 1 of the table of specimens has an um_per_px that is not above"),
        ({"um_per_px": "two"}, "an um_per_px that is not a number"),
        ({"image": None}, "row 1 of the table of specimens has no image"),
        ({"id": ""}, "has no id"),
        ({"id": "x"}, "ids must be unique"),
        ({"sample": [[1]] * 48}, "column sample holds a"),
    ],
)
def test_a_wrong_table_of_specimens_is_refused(shells, tmp_path, columns, message):
    with pytest.raises(InputError, match=message):
        saved(shells, tmp_path / "c", **columns)


def test_an_index_that_pandas_wrote_is_taken_back(shells, tmp_path):
    shells.save(tmp_path / "c")
    shells.specimens.iloc[5:].set_index("id").to_parquet(tmp_path / "c" / "specimens.parquet")
    found = Collection.open(tmp_path / "c").specimens
    assert found["id"].tolist() == shells.specimens["id"].tolist()[5:]
    assert found.index.tolist() == list(range(43))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "is empty"),
        ("id,subset\n", "names none of this collection"),
        ("id\na\n", "lacks the column subset"),
        ("id,subset\na,train,x\n", "row 2 has 3 cells"),
        ('id,subset\n"a,train\n', "is not closed"),
        ("id,subset\na,trian\n", "row 2, column subset: 'trian' is not one of train, val"),
        ("id,subset\na,train\na,test\n", "'a' occurs more than once"),
    ],
)
def test_a_wrong_split_is_refused(shells, tmp_path, data, message):
    with pytest.raises(InputError, match=message):
        Split.load(shells, written(tmp_path, data))


def test_a_split_in_any_encoding_is_read(shells, tmp_path):
    lines = "".join(f"{i};train\r\n" for i in shells.specimens["id"])
    for encoding in ("utf-8-sig", "utf-16"):
        path = written(tmp_path, f"id;subset\r\n{lines}".encode(encoding))
        assert Split.load(shells, path).counts == {"train": 48}


def test_a_taxonomy_needs_only_names(tmp_path):
    coils = "name,coiling\nGloborotalia menardii,dextral\nsingle sphere,\n"
    taxonomy = Taxonomy.load(written(tmp_path, coils))
    assert taxonomy.coiling("globorotalia_menardii") == "dextral"
    assert taxonomy.above("Globorotalia menardii") == {
        "genus": "Globorotalia", "family": "", "order": "",
    }  # fmt: skip
    assert taxonomy.above("single sphere")["genus"] == ""
    with pytest.raises(InputError, match="lacks the column name"):
        Taxonomy.load(written(tmp_path, "genus,coiling\na,dextral\n"))


def test_an_empty_taxonomy_and_a_recipe_of_another_encoding_are_refused(tmp_path):
    head = "name,genus,family,order,synonyms,aphia_id\n"
    for data, message in (("", "is empty"), (head, "no names"), (f"{head} ,A,,,,\n", "no names")):
        with pytest.raises(InputError, match=message):
            Taxonomy.load(written(tmp_path, data))
    for data, message in (
        ('about = "é"'.encode("cp1252"), "is not UTF-8"),
        (b"extends = 5", "extends must be"),
        (b"a = " + b"[" * 5000, "recipe"),
        (b'extends = "default"\n[optimiser]\nhead_lr = inf\n', "finite"),
    ):
        with pytest.raises(RecipeError, match=message):
            Recipe.load(written(tmp_path, data, "r.toml"))


# Exports


def test_names_with_percent_signs_and_numbers_are_exported(shells, tmp_path):
    image = shells.specimens["image"].iloc[0]
    data = f"image,taxon,probability,reason\n{image},Aa bb,90 %,5\n"
    report = export(shells, tmp_path / "o.csv", identifications=written(tmp_path, data))
    assert report.table.iloc[0][["taxon", "score", "reason"]].tolist() == ["Aa bb", "0.9000", "5"]
    with pytest.raises(InputError, match=r"t\.csv, row 2, column probability"):
        export(
            shells, tmp_path / "p.csv",
            identifications=written(tmp_path, data.replace("90 %", "high")),
        )  # fmt: skip


@pytest.mark.parametrize("kind", ["a path", "the folder of images", "a link"])
def test_no_export_packs_a_file_that_is_not_an_image(shells, tmp_path, kind):
    """A collection may come from others, and name any file of this machine."""
    secret = written(tmp_path, "root:x:0:0", "secret/passwd")
    folder, image = tmp_path / "images", "passwd"
    folder.mkdir()
    if kind == "a path":
        image = "../secret/passwd"
    elif kind == "the folder of images":
        folder, image = secret.parent.parent, "secret/passwd"
    else:
        (folder / image).symlink_to(secret)
    Collection(shells.specimens[:1].assign(image="a.png"), folder).save(tmp_path / "c")
    table = shells.specimens[:1].assign(image=image)
    table.to_parquet(tmp_path / "c" / "specimens.parquet")
    with pytest.raises(InputError, match=r"is not packed|leaves its folder"):
        export(tmp_path / "c", tmp_path / "o.zip", format="ecotaxa")
    assert not (tmp_path / "o.zip").exists()
    if kind != "a path":  # no export reads that one
        export(tmp_path / "c", tmp_path / "d.zip", format="darwin-core")
        with zipfile.ZipFile(tmp_path / "d.zip") as archive:
            assert not any(b"root:x" in archive.read(name) for name in archive.namelist())
