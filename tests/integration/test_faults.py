"""What happens when the disk is full, or a folder is not ours to give away."""

import contextlib
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from forametric.data.collection import Collection
from forametric.data.embeddings import read_vectors
from forametric.errors import InputError
from forametric.utils.files import atomic_folder, refuse_existing
from tests.support.cli import QUICK, forametric


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


@pytest.mark.parametrize("verb", ["import", "train", "evaluate", "identify", "embed", "map"])
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
    assert "Read-only file system" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_broken_image_in_a_hundred_is_listed_and_left_out(model_folder, many, tmp_path):
    table = Collection.open(many).specimens
    broken = table["image"].iloc[::100].tolist()
    images = tmp_path / "images"
    shutil.copytree(Collection.open(many).images, images)
    for name in broken:
        (images / name).write_bytes((images / name).read_bytes()[:60])
    shells = Collection(table, images)
    shells.save(tmp_path / "c")
    done = forametric("embed", model_folder, tmp_path / "c", "-o", tmp_path / "v.parquet")
    assert done.returncode == 1
    listed = set(pd.read_csv(tmp_path / "v.skipped.csv")["image"])
    assert set(broken) <= listed
    assert len(read_vectors(tmp_path / "v.parquet")[0]) == len(table) - len(listed)


def test_overwriting_gives_away_only_what_was_made_here(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with (
        pytest.raises(InputError, match="did not make"),
        atomic_folder(tmp_path / "thesis", overwrite=True),
    ):
        pass
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"
    (tmp_path / "thesis" / "model.json").write_text("{}")
    refuse_existing(tmp_path / "thesis", overwrite=True)


def test_a_stopped_demo_goes_on_and_a_finished_one_is_kept(tmp_path, monkeypatch):
    from forametric import demo
    from forametric.training import train

    monkeypatch.setattr(demo, "PER_FORM", 6)
    monkeypatch.setattr(demo, "SIZE", 48)
    monkeypatch.setattr(demo, "SETTINGS", ("epochs=1", "network.image_size=32", "tta_views=1"))

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(train, "train", stop)
        with pytest.raises(KeyboardInterrupt):
            demo.run_demo(tmp_path / "demo")
    drawn = (tmp_path / "demo" / "shells" / "specimens.csv").stat().st_mtime_ns
    made = demo.run_demo(tmp_path / "demo")
    assert (tmp_path / "demo" / "shells" / "specimens.csv").stat().st_mtime_ns == drawn
    assert all(os.path.exists(path) for path in made.values())
    with pytest.raises(InputError, match="exists already"):
        demo.run_demo(tmp_path / "demo")
