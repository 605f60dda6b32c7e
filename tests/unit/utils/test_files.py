"""Writing so that nothing is lost, and giving away only what is ours."""

import errno
import os

import numpy as np
import pytest

from forametric.errors import InputError
from forametric.utils.files import (
    atomic_folder,
    atomic_path,
    disk_array,
    read_json,
    refuse_existing,
    resumable_folder,
    write_json,
)


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


def test_an_empty_folder_or_file_may_be_taken(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for name in ("folder", "file", "nothing"):
        refuse_existing(tmp_path / name)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="exists already"):
        refuse_existing(tmp_path / "file")
    refuse_existing(tmp_path / "file", overwrite=True)


def test_what_fails_half_way_leaves_what_was_there(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("before")

    def fill_the_disk(path):
        path.write_text("half")
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"), atomic_path(target) as temporary:
        fill_the_disk(temporary)
    assert target.read_text() == "before"
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "model.json").write_text("before")
    with pytest.raises(OSError, match="full"), atomic_folder(tmp_path / "f", True) as folder:
        fill_the_disk(folder / "model.json")
    assert (tmp_path / "f" / "model.json").read_text() == "before"
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "f"]


def test_a_working_folder_is_kept_for_the_same_run_only(tmp_path):
    work = tmp_path / "w.unfinished"
    resumable_folder(work, {"seed": 1})
    (work / "part").touch()
    resumable_folder(work, {"seed": 1})
    assert (work / "part").exists()
    resumable_folder(work, {"seed": 2})
    assert not (work / "part").exists()


def test_json_is_read_back_and_damage_is_named(tmp_path):
    write_json(tmp_path / "a.json", {"name": "Jérôme"})
    assert read_json(tmp_path / "a.json") == {"name": "Jérôme"}
    for text, words in (("{", "cannot be read as JSON"), ("[1]", "should hold a JSON object")):
        (tmp_path / "b.json").write_text(text)
        with pytest.raises(InputError, match=words):
            read_json(tmp_path / "b.json")
    with pytest.raises(InputError, match="does not exist"):
        read_json(tmp_path / "c.json")


def test_an_array_on_disk_takes_its_space_at_once(tmp_path):
    array = disk_array(tmp_path / "a.npy", (5, 4, 4, 3))
    array[3] = 7
    array.flush()
    assert (np.load(tmp_path / "a.npy")[3] == 7).all()
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= 5 * 4 * 4 * 3
