"""Ranges of arguments: what is outside is refused by one sentence, in Python as in a terminal."""

import math

import numpy as np
import pytest

import forametric as fm
from forametric.errors import InputError
from forametric.utils.ranges import COUNT, LENGTH, NUMBER, PROBABILITY, SEED, SHARE, Range


def test_a_range_has_its_limits_and_nothing_that_is_not_a_number():
    assert all(value in PROBABILITY for value in (0, 1, 0.5, np.float32(0.5)))
    assert not any(value in SHARE for value in (0, 1, -0.1, math.nan, "0.5", None, True))
    assert not any(value in LENGTH for value in (0, -1, math.nan, math.inf))
    assert all(value in SEED for value in (0, 2**32 - 1, np.int64(3)))
    assert not any(value in SEED for value in (-1, 2**32, 0.5, math.nan))
    assert 0 in NUMBER
    assert 0 not in COUNT


def test_what_is_not_given_is_not_checked():
    Range(1, 2).check(first=None, second=1.5)
    with pytest.raises(InputError, match=r"^third must be a number between 1 and 2, not 3\.$"):
        Range(1, 2).check(first=1, third=3)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"held_out_taxa": -3}, "held_out_taxa"),
        ({"test": math.nan}, "test"),
        ({"val": 0}, "val"),
        ({"test": 0.6, "val": 0.4}, "the shares"),
    ],
)
def test_python_refuses_what_the_command_line_refuses(shells, arguments, name):
    with pytest.raises(InputError, match=f"^{name}"):
        fm.make_split(shells, **arguments)


def test_every_function_of_python_checks_its_numbers(shells, tmp_path):
    refused = (
        lambda: fm.train(None, seed=-1),
        lambda: fm.benchmark(shells, ["frozen"], repeats=0, output=tmp_path / "b"),
        lambda: fm.Morphospace(seed=-1),
        lambda: fm.simulation.write_dataset(tmp_path / "s", total=0),
        lambda: fm.simulation.write_dataset(tmp_path / "s", seed=-1),
        lambda: fm.simulation.write_dataset(tmp_path / "s", size=10**6),
        lambda: fm.import_collection(shells.images, tmp_path / "c", bar_um=math.nan),
        lambda: fm.segment_slides(shells.images, tmp_path / "c", um_per_px=0),
        lambda: fm.discover_unknown(None, shells, n_groups=0),
    )
    for call in refused:
        with pytest.raises(InputError, match="must be a"):
            call()
    assert not list(tmp_path.iterdir())
