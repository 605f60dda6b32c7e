"""What happens when the disk is full or read-only, or some images are broken."""

import contextlib
import os
import subprocess
import sys

import pandas as pd
import pytest

from forametric.data.collection import Collection
from forametric.data.embeddings import read_vectors
from forametric.data.importers import import_collection
from forametric.errors import InputError, StoreBusyError
from forametric.review import Decision, DecisionStore
from tests.support.cli import QUICK, forametric, forametric_process
from tests.support.shared import write_noise


@contextlib.contextmanager
def _mounted(folder, options):
    """A disk of its own, in memory."""
    place = folder / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "none", str(place)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(mount).returncode:
        pytest.skip("a disk can be mounted by root on Linux only")
    try:
        yield place
    finally:
        # lazily: a failed test may still have a file open
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def full_disk(tmp_path):
    """A disk of 4 MB without a byte left on it."""
    with _mounted(tmp_path, "size=4m") as place:
        with contextlib.suppress(OSError), (place / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
        yield place


@pytest.mark.parametrize(
    "verb",
    [
        "import",
        "train",
        pytest.param("evaluate", marks=pytest.mark.slow),
        "identify",
        "embed",
        "map",
    ],
)
def test_a_full_disk_ends_in_a_sentence(
    verb, full_disk, shells, shells_folder, split_file, model_folder
):
    inputs = {
        "import": [shells.images],
        "train": [shells_folder, "--split", split_file, *QUICK],
        "evaluate": [model_folder, shells_folder, "--split", split_file],
        "identify": [model_folder, shells_folder],
        "embed": [model_folder, shells_folder],
        "map": [model_folder, shells_folder],
    }
    output = full_disk / {"map": "map.png"}.get(verb, "out")
    done = forametric(verb, *inputs[verb], "-o", output)
    assert done.returncode == 2, done.stderr
    assert "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr
    left = {p.name for p in full_disk.iterdir()} - {"filler", "map.parquet"}
    assert all(name.endswith(".unfinished") for name in left), left


@pytest.fixture
def read_only_disk(tmp_path):
    with _mounted(tmp_path, "ro") as place:
        yield place


@pytest.mark.parametrize("verb", ["embed", "identify", "map"])
def test_a_read_only_disk_ends_in_a_sentence(verb, read_only_disk, shells_folder, model_folder):
    output = read_only_disk / {"map": "map.png"}.get(verb, "out")
    done = forametric(verb, model_folder, shells_folder, "-o", output)
    assert done.returncode == 2, done.stderr
    assert "is read-only" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.process
def test_an_excel_file_on_a_full_disk_is_one_sentence_and_nothing_besides(full_disk, shells_folder):
    """Also where the folder of temporary files is full; what destructors print counts as well."""
    for environment in ({}, {"TMPDIR": str(full_disk)}):
        output = full_disk / "out.xlsx"
        done = forametric_process(
            "export", shells_folder, "--format", "excel", "-o", output,
            env=os.environ | environment,
        )  # fmt: skip
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert [p.name for p in full_disk.iterdir()] == ["filler"]


def test_a_store_on_a_full_disk_says_so_and_keeps_what_it_had(full_disk):
    (full_disk / "filler").unlink()
    store = DecisionStore(full_disk / "d.sqlite")
    store.record([Decision("s1", "unlisted", "", "A")])
    with contextlib.suppress(OSError), (full_disk / "filler").open("wb", buffering=0) as filler:
        while filler.write(bytes(4096)):
            pass
    many = [Decision(f"s{n}", "unlisted", "", "A") for n in range(2, 3000)]
    with pytest.raises(StoreBusyError, match=r"disk of .* is full, and nothing"):
        store.record(many)
    assert store.history()["specimen"].tolist() == ["s1"]
    done = forametric("backup", store.place, "-o", full_disk / "b.sqlite")
    assert done.returncode == 2
    assert "full" in done.stderr
    assert not (full_disk / "b.sqlite").exists()
    (full_disk / "filler").unlink()
    assert len(store.record(many)) == 2998


def test_a_store_on_a_read_only_disk_can_be_read(tmp_path):
    with _mounted(tmp_path, "size=4m") as place:
        store = DecisionStore(place / "d.sqlite")
        store.record([Decision("s1", "unlisted", "", "A")])
        store.close()
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        assert forametric("decisions", "--store", place / "d.sqlite").returncode == 0
        for write in (
            lambda: DecisionStore(place / "d.sqlite"),
            lambda: DecisionStore(place / "new" / "d.sqlite"),
            lambda: DecisionStore.open(place / "d.sqlite").undo("A"),
        ):
            with pytest.raises(InputError, match=r"(?i)read-only"):
                write()


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> Collection:
    """300 small images, three of which break after the import."""
    folder = tmp_path_factory.mktemp("few")
    write_noise(folder / "images", 300)
    found = import_collection(folder / "images", folder / "collection").collection
    for name in found.specimens["image"].iloc[::100]:
        (folder / "images" / name).write_bytes((folder / "images" / name).read_bytes()[:60])
    return found


def test_one_broken_image_in_a_hundred_is_listed_and_left_out(model_folder, few, tmp_path):
    folder = few.images.parent / "collection"
    done = forametric("embed", model_folder, folder, "-o", tmp_path / "v.parquet")
    assert done.returncode == 1
    listed = set(pd.read_csv(tmp_path / "v.skipped.csv")["image"])
    assert listed == set(few.specimens["image"].iloc[::100])
    assert len(read_vectors(tmp_path / "v.parquet")[0]) == 297
