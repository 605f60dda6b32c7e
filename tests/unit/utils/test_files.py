"""Single files are written whole or not at all."""

import errno
import os

import numpy as np
import pytest

from forametric.errors import InputError
from forametric.utils.files import (
    atomic_path,
    disk_array,
    read_json,
    write_json,
)


def test_what_fails_half_way_leaves_what_was_there(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("before")

    def fill_the_disk(path):
        path.write_text("half")
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"), atomic_path(target) as temporary:
        fill_the_disk(temporary)
    assert target.read_text() == "before"
    assert os.listdir(tmp_path) == ["a.txt"]


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


def test_an_array_that_another_process_reads_keeps_its_values(tmp_path):
    """A second training once turned the images of the first one black."""
    first = disk_array(tmp_path / "a.npy", (5, 4, 4, 3))
    first[:] = 7
    second = disk_array(tmp_path / "a.npy", (5, 4, 4, 3))
    assert (first == 7).all()
    assert (second == 0).all()
    assert os.listdir(tmp_path) == ["a.npy"]
