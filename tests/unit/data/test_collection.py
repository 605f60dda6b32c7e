import os
import shutil

import numpy as np
import pandas as pd
import pytest

from forametric.data.collection import Collection, inside
from forametric.data.importers import import_collection
from forametric.data.sources import open_collection
from forametric.errors import InputError


def test_a_folder_for_each_taxon_becomes_labels(tmp_path, picture):
    picture("in/Orbulina_universa/1.png", 1)
    picture("in/Globigerina_bulloides/2.png", 2)
    got = import_collection(tmp_path / "in", tmp_path / "out")
    again = Collection.open(tmp_path / "out")
    assert list(again.specimens["label"]) == ["Globigerina_bulloides", "Orbulina_universa"]
    assert list(again.taxa()) == ["Globigerina bulloides", "Orbulina universa"]
    assert all(p.is_file() for p in again.paths())
    assert list(again.specimens["id"]) == list(got.collection.specimens["id"])


def test_a_flat_folder_is_unlabelled(tmp_path, picture):
    picture("in/1.png", 1)
    picture("in/2.png", 2)
    assert list(import_collection(tmp_path / "in", tmp_path / "o").collection.taxa()) == ["", ""]


def test_a_folder_of_one_taxon_keeps_its_name(tmp_path, picture):
    picture("in/Orbulina/1.png", 1)
    assert list(import_collection(tmp_path / "in", tmp_path / "o").collection.taxa()) == [
        "Orbulina"
    ]


def test_ids_follow_the_content_and_duplicates_are_named(tmp_path, picture):
    first = picture("in/A/1.png", 1)
    shutil.copy(first, tmp_path / "in" / "A" / "2.png")
    (tmp_path / "in" / "B").mkdir()
    shutil.copy(first, tmp_path / "in" / "B" / "3.png")
    got = import_collection(tmp_path / "in", tmp_path / "o")
    one, two, three = got.collection.specimens["id"]
    assert (two, three) == (f"{one}-2", f"{one}-3")
    assert list(got.duplicates["image"]) == ["A/2.png", "B/3.png"]
    assert list(got.duplicates["same_as_label"]) == ["A", "A"]


def test_a_table_keeps_every_column_and_skips_what_cannot_be_read(tmp_path, picture):
    picture("in/1.png", 1)
    picture("secret.png", 2)
    (tmp_path / "in" / "bad.jpg").write_text("no image")
    table = tmp_path / "in" / "t.csv"
    table.write_bytes(
        "\ufefffile;species;sample;um_per_px;depth\n1.png;Orbulina;GC37-10;2,5;10\n"
        "../secret.png;X;;;\nbad.jpg;X;;;\nabsent.png;X;;;\n".encode()
    )
    got = import_collection(table, tmp_path / "o")
    row = Collection.open(tmp_path / "o").specimens.iloc[0]
    assert (row["label"], row["sample"], row["um_per_px"], row["depth"]) == (
        "Orbulina", "GC37-10", 2.5, "10",
    )  # fmt: skip
    reasons = dict(got.skipped.itertuples(index=False))
    assert "leaves its folder" in reasons["../secret.png"]
    assert "not an image" in reasons["bad.jpg"]
    assert "does not exist" in reasons["absent.png"]
    assert len(pd.read_csv(tmp_path / "o" / "skipped.csv")) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is empty"),
        (b"name,where\na,b\n", "no column of image paths"),
        (b"image,label\n", "no rows"),
        (b"image,image\na,b\n", "more than once"),
        (b"image,label\na.png,x\n", "none of the 1 images"),
    ],
)
def test_a_bad_table_gives_one_sentence(tmp_path, text, message):
    (tmp_path / "t.csv").write_bytes(text)
    with pytest.raises(InputError, match=message):
        import_collection(tmp_path / "t.csv", tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_an_empty_folder_and_a_wrong_path(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        import_collection(tmp_path / "in", tmp_path / "o")
    with pytest.raises(InputError, match="does not exist"):
        import_collection(tmp_path / "nowhere", tmp_path / "o")


def test_nothing_is_overwritten_silently(shells_folder, shells):
    with pytest.raises(InputError, match="exists already"):
        shells.save(shells_folder)


def test_an_unknown_format_is_refused(tmp_path, shells):
    shells.save(tmp_path / "c")
    text = (tmp_path / "c" / "collection.json").read_text().replace('"format": 1', '"format": 9')
    (tmp_path / "c" / "collection.json").write_text(text)
    with pytest.raises(InputError, match="collection format 9"):
        Collection.open(tmp_path / "c")


def test_a_full_disk_leaves_nothing_half_written(tmp_path, shells, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(OSError, match="No space"):
        shells.save(tmp_path / "c")
    assert os.listdir(tmp_path) == []


def test_select_and_merge_give_back_the_whole(shells):
    half = shells.select([0, 1, 2]).merge(shells.select(list(range(3, len(shells)))))
    assert list(half.specimens["id"]) == list(shells.specimens["id"])
    assert half.paths() == shells.paths()


def test_rows_are_taken_by_mask_positions_slice_or_query(shells):
    mask = shells.taxa() == "single sphere"
    positions = np.flatnonzero(mask)
    for part in (
        shells[mask], shells[positions], shells[positions.tolist()], shells.select(mask),
        shells.query("taxon == 'single sphere'"), shells[positions[0] : positions[-1] + 1],
    ):  # fmt: skip
        assert part.specimens["id"].tolist() == shells.specimens["id"][mask].tolist()
    assert len(shells[[]]) == len(shells.select(np.zeros(48, bool))) == 0


@pytest.fixture
def places(shells, shells_folder, tmp_path):
    """What `open_collection` takes, with the number of specimens in it."""
    return {
        "a collection": (shells, 48),
        "its folder": (shells_folder, 48),
        "its folder as text": (str(shells_folder), 48),
        "a folder of images": (shells.images, 48),
        "a folder of images as text": (str(shells.path(0).parent), 12),
        "an image": (shells.path(0), 1),
        "an image as text": (str(shells.path(0)), 1),
    }


def test_one_rule_for_what_a_verb_takes(places, tmp_path):
    for what, (given, count) in places.items():
        found = open_collection(given)
        assert len(found) == count, what
        assert all(path.is_file() for path in found.paths()), what
    labelled = open_collection(places["a collection"][0])
    plain = open_collection(places["a folder of images"][0])
    assert sorted(plain.specimens["id"]) == sorted(labelled.specimens["id"]), "ids are by content"
    assert set(plain.taxa()) == {""}
    with pytest.raises(InputError, match="holds no images"):
        open_collection(tmp_path)
    with pytest.raises(InputError, match="a collection, a folder of images or an image"):
        open_collection(tmp_path / "nowhere")


def test_a_path_may_not_leave_its_folder(tmp_path):
    for name in ("../x", "/etc/passwd", "a/../../x"):
        with pytest.raises(InputError, match="leaves"):
            inside(tmp_path, name)
