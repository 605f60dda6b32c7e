"""The prose check: the repository is clean, and the check finds what it is for."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECK = ROOT / ".ci" / "prose.py"


def check(*files: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(CHECK), *map(str, files)], capture_output=True, text=True, timeout=60
    )


def test_no_file_has_a_replaced_word():
    started = time.monotonic()
    done = check()
    assert done.returncode == 0, done.stdout
    assert time.monotonic() - started < 20  # it takes about a second


@pytest.mark.parametrize(
    "line",
    [
        "The gallery has 300 rows.",
        "A specimen stranger than 95 % of the others.",
        "Both are listed beside the map.",
        "A plate is no slide.",
        "It goes on where it was.",
        "Of more than 40,000 specimens so many are laid out.",
        "Cut the shells out.",
        "forametric decide core names.csv",
        "split --unseen 5",
        "`open_set` was unknown.auroc",
    ],
)
def test_an_old_word_is_found_with_its_line(line, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"A specimen is one image of one object.\n\n{line}\n")
    done = check(page)
    assert done.returncode == 1
    assert re.match(rf"{re.escape(page.as_posix())}:3: ", done.stdout)


@pytest.mark.parametrize(
    "line",
    [
        "There is no network.",
        "It is no longer needed.",
        "Measure the pressure of least squares.",
        "Simulated shells have 35 forms.",
        "The specimen is not of a known taxon.",
    ],
)
def test_plain_english_passes(line, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(line + "\n")
    done = check(page)
    assert done.returncode == 0, done.stdout
