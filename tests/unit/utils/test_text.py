"""Text from outside, made fit for a terminal and for JSON."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from forametric.utils.files import write_json
from forametric.utils.text import printable, to_json


def test_what_a_terminal_would_obey_is_visible():
    for obeyed in "\x1b\r\n\x07\x9b\x7f\u202e\u2066\u2028\udce9\ufeff":
        shown = printable(f"a{obeyed}b")
        assert shown.isprintable(), ascii(obeyed)
        assert shown[0] + shown[-1] == "ab"


def test_names_of_every_script_stay_as_they_are():
    for name in ("Globigerina ruber [pink]", "Ελλάδα", "可可", "می‌خواهم", "H′ µm", "a\\b"):
        assert printable(name) == name


@given(st.text(st.characters(codec=None)))
def test_any_text_can_be_printed(text):
    printable(text).encode("utf-8")
    assert "\x1b" not in printable(text)


def test_json_has_no_numbers_that_the_standard_lacks(tmp_path):
    data = {
        "nan": math.nan, "inf": [math.inf, -math.inf], "numpy": np.float32("nan"), "none": None,
        "array": np.array([1.5, math.nan]), "whole": np.int64(3), "true": np.bool_(True),
        "path": Path("a/b"), "missing": pd.NA, "time": pd.NaT, 5: "key",
    }  # fmt: skip
    expected = {
        "nan": None, "inf": [None, None], "numpy": None, "none": None, "array": [1.5, None],
        "whole": 3, "true": True, "path": str(Path("a/b")), "missing": None, "time": None,
        "5": "key",
    }  # fmt: skip

    def refuse(constant):
        raise AssertionError(constant)

    write_json(tmp_path / "a.json", data)
    for text in (to_json(data), to_json(data, ascii_only=True), (tmp_path / "a.json").read_text()):
        assert json.loads(text, parse_constant=refuse) == expected


def test_json_in_ascii_keeps_every_character():
    names = ["Ελλάδα", "\x1b[31m", "\u202e", "\udce9"]
    text = to_json(names, ascii_only=True)
    assert text.isascii()
    assert "\x1b" not in text
    assert json.loads(text) == names
