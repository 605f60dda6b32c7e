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
from tests.support.cli import QUICK, forametric
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
        subprocess.run(["umount", str(place)], check=True)


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
