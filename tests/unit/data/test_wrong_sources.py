"""Folders, archives and projects of other programs with what is wrong with real ones."""

import os
import sys
import zipfile

import pandas as pd
import pytest

from forametric.data.collection import Collection
from forametric.data.importers import import_collection
from forametric.data.importers.archive import unpack
from forametric.data.sources import open_collection
from forametric.errors import InputError
from tests.support.cli import forametric

# Folders


def labels_of(source, output):
    report = import_collection(source, output)
    labels = report.table["label"].fillna("")
    return dict(zip(report.table["image"], labels, strict=True)), report.notes


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        # A folder of one taxon keeps its name, whatever is inside.
        (["Aa bb/a.png", "Aa bb/.thumbnails/t.png"], ["Aa bb"]),
        (["Aa bb/a.png", "Aa bb/batch 2/b.png"], ["Aa bb", "Aa bb"]),
        (["Aa bb/batch 1/a.png"], ["Aa bb"]),
        (["Globigerina_bulloides/1/a.png", "Globigerina_bulloides/2/b.png"],
         ["Globigerina_bulloides"] * 2),
        (["set/Globigerina_bulloides/1/a.png", "set/Globigerina_bulloides/2/b.png"],
         ["Globigerina_bulloides"] * 2),
        # The label is the first folder.
        (["Aa bb/1/a.png", "Cc dd/b.png"], ["Aa bb", "Cc dd"]),
        (["a.png", "Aa bb/b.png"], ["Aa bb", ""]),
        (["a.png", "b.png"], ["", ""]),
        # Folders that wrap those of the taxa are passed over.
        (["unpacked/Aa bb/a.png", "unpacked/Cc dd/b.png"], ["Aa bb", "Cc dd"]),
        (["a/b/Aa bb/a.png", "a/b/Cc dd/b.png", "a/.git/x.png"], ["Aa bb", "Cc dd"]),
    ],
)  # fmt: skip
def test_the_label_is_the_folder_of_the_taxon(tmp_path, picture, images, labels):
    for number, name in enumerate(images):
        picture(f"in/{name}", number)
    (tmp_path / "in" / ".hidden" / "deep").mkdir(parents=True)
    found, _ = labels_of(tmp_path / "in", tmp_path / "c")
    assert list(found.values()) == labels
    assert set(found) == {name for name in images if "/." not in name}


def test_a_note_says_which_folders_became_labels(tmp_path, picture):
    for number, name in enumerate(("u/Aa/a.png", "u/Cc/b.png")):
        picture(f"in/{name}", number)
    picture("one/Aa/1/a.png")
    assert "the folders in u" in labels_of(tmp_path / "in", tmp_path / "c")[1][0]
    note = labels_of(tmp_path / "one", tmp_path / "d")[1][0]
    assert "all images are labelled Aa" in note
    assert f"import {tmp_path / 'one' / 'Aa'}" in note


@pytest.fixture
def not_utf_8(tmp_path, picture):
    """A folder with three images, the name of one of which is Latin-1."""
    if sys.platform in ("win32", "darwin"):
        pytest.skip("this system has Unicode names only")
    for number, name in enumerate(("1.png", "2.png", "3.png")):
        picture(f"in/Aa/{name}", number)
    folder = os.fsencode(tmp_path / "in" / "Aa")
    os.rename(folder + b"/2.png", folder + b"/n\xe9.png")
    return tmp_path / "in"


def test_a_name_that_is_not_utf_8_is_listed_and_skipped(not_utf_8, tmp_path):
    report = import_collection(not_utf_8, tmp_path / "c")
    assert report.table["image"].tolist() == ["Aa/1.png", "Aa/3.png"]
    assert report.skipped.to_numpy().tolist() == [
        ["Aa/n\\xe9.png", "its name is not UTF-8; rename the file or its folder"]
    ]
    assert "xe9" in (tmp_path / "c" / "skipped.csv").read_text()
    opened = open_collection(not_utf_8)
    assert [path.is_file() for path in opened.paths()] == [True, True, False]
    opened.save(tmp_path / "d")


def test_identifying_such_a_folder_skips_the_file(not_utf_8, model_folder, tmp_path):
    done = forametric("identify", model_folder, not_utf_8, "-o", tmp_path / "n.csv")
    assert done.returncode == 1, done.stderr
    assert pd.read_csv(tmp_path / "n.skipped.csv")["image"].tolist() == ["Aa/n\\xe9.png"]


def test_a_source_in_a_folder_that_is_not_utf_8_is_read(not_utf_8, tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/\xe9")
    os.rename(not_utf_8, folder)
    assert len(import_collection(folder, tmp_path / "c")) == 2
    found = Collection.open(tmp_path / "c")
    assert all(path.is_file() for path in found.paths())
    assert found.info["source"] == "\\xe9"


# Archives


def archive_of(path, names, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in names:
            archive.writestr(name, name * 100)
    return path


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_colons_in_names_are_unpacked(tmp_path):
    names = ["12:30:01.png", "a:b/c.png", "d:e.png"]
    unpack(archive_of(tmp_path / "z.zip", names), tmp_path / "into")
    assert all((tmp_path / "into" / name).is_file() for name in names)


@pytest.mark.parametrize("name", ["C:\\out.png", "\\\\server\\share\\a.png", "\\out.png", "a/../b"])
def test_paths_that_leave_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="outside its folder"):
        unpack(archive_of(tmp_path / "z.zip", ["a.png", name]), tmp_path / "into")
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize("method", [8, 12, 14])
def test_a_damaged_member_is_named(tmp_path, method):
    path = archive_of(tmp_path / "z.zip", ["whole.png", "damaged.png"], method)
    data = bytearray(path.read_bytes())
    start = data.index(b"damaged.png") + len("damaged.png")
    data[start : start + 12] = bytes(12)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"z\.zip: its file damaged\.png"):
        unpack(path, tmp_path / "into")
    assert [p.name for p in (tmp_path / "into").iterdir()] == ["whole.png"]


def test_names_that_exclude_each_other_are_refused(tmp_path):
    for number, names in enumerate((["a", "a/b"], ["a/b", "a"], ["x" * 300])):
        with pytest.raises(InputError, match=r"its file .* cannot be unpacked"):
            unpack(archive_of(tmp_path / "z.zip", names), tmp_path / f"into {number}")


def test_unpacking_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    """Each of 20,000 files once waited until it was on the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("waits for the disk"))
    unpack(archive_of(tmp_path / "z.zip", ["a.png", "b.png"]), tmp_path / "into")


# EcoTaxa

HEADER = "object_id\timg_file_name\tobject_annotation_category\tobject_depth\n"


def ecotaxa(path, rows, types="[t]\t[t]\t[t]\t[f]\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEADER + types + rows)


@pytest.mark.parametrize("types", ["[t]\t[t]\t[n]\t[f]\n", "[t]\t[T]\t\t[F]\n", ""])
def test_a_row_of_types_is_not_a_specimen(tmp_path, picture, types):
    picture("e/a[1].png")
    ecotaxa(tmp_path / "e" / "ecotaxa_1.tsv", "o1\ta[1].png\tAa\t2\n", types)
    report = import_collection(tmp_path / "e", tmp_path / "c")
    assert (report.table["image"].tolist(), len(report.skipped)) == (["a[1].png"], 0)


def test_tables_without_rows_are_left_out_with_a_note(tmp_path, picture):
    picture("e/a.png")
    ecotaxa(tmp_path / "e" / "ecotaxa_1.tsv", "o1\ta.png\tAa\t2\n")
    ecotaxa(tmp_path / "e" / "ecotaxa_2.tsv", "")
    (tmp_path / "e" / "ecotaxa_3.tsv").write_text("")
    report = import_collection(tmp_path / "e", tmp_path / "c")
    assert len(report) == 1
    assert report.notes == [
        "ecotaxa_2.tsv has no rows; it is left out.",
        "ecotaxa_3.tsv has no rows; it is left out.",
    ]


@pytest.mark.parametrize("types", ["", "[t]\t[t]\t[t]\t[f]\n"])
def test_a_project_of_empty_tables_is_refused(tmp_path, types):
    ecotaxa(tmp_path / "e" / "ecotaxa_1.tsv", "", types)
    with pytest.raises(InputError, match="its EcoTaxa tables have no rows"):
        import_collection(tmp_path / "e", tmp_path / "c")


def test_a_folder_of_archives_is_one_source(tmp_path, picture):
    folder = tmp_path / "archives"
    folder.mkdir()
    for number, name in enumerate(("a", "b")):
        image = picture(f"{name}.png", number)
        ecotaxa(tmp_path / "ecotaxa_1.tsv", f"o1\t{name}.png\tAa {name}\t2\n")
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            archive.write(image, f"{name}.png")
            archive.write(tmp_path / "ecotaxa_1.tsv", "ecotaxa_1.tsv")
    report = import_collection(folder, tmp_path / "c")
    assert report.source == "ecotaxa"
    assert report.table["image"].tolist() == ["a/a.png", "b/b.png"]
    assert all(path.is_file() for path in Collection.open(tmp_path / "c").paths())


# ParticleTrieur

IMAGE = "<image><source><filename>{}.png</filename></source>{}</image>"


def project(folder, *classified, declaration='<?xml version="1.0" encoding="UTF-8"?>'):
    images = "".join(IMAGE.format(n, scores) for n, scores in enumerate(classified))
    path = folder / "p.xml"
    path.write_text(f"{declaration}<project><images>{images}</images></project>")
    return path


def scores(**values):
    found = "".join(
        f"<classification><code>{code}</code><value>{value}</value></classification>"
        for code, value in values.items()
    )
    return f"<classifications>{found}</classifications>"


def test_a_project_in_which_nothing_is_classified_yet(tmp_path, picture):
    picture("0.png")
    report = import_collection(project(tmp_path, ""), tmp_path / "c")
    assert report.collection.taxa().tolist() == [""]
    assert report.table["label"].isna().all()


def test_decimal_commas_and_words_as_scores(tmp_path, picture):
    picture("0.png", 0)
    picture("1.png", 1)
    path = project(tmp_path, scores(aa="0,4", bb="0,6"), scores(aa="high", bb="0.1"))
    report = import_collection(path, tmp_path / "c")
    assert report.table["label"].tolist() == ["bb", "bb"]
    assert report.table["score"].tolist() == ["0.6", "0.1"]
    assert report.notes == [
        "p.xml: 1 scores are not numbers, the first is 'high'; they count as 0."
    ]


def test_an_unknown_encoding_is_named(tmp_path):
    path = project(tmp_path, "", declaration='<?xml version="1.0" encoding="x-martian"?>')
    with pytest.raises(InputError, match="x-martian"):
        import_collection(path, tmp_path / "c")
