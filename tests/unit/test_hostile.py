"""Each input that once crashed, hung or was read wrongly is read right or refused in a sentence."""

import sys
import warnings

import pytest

from tests.support.hostile import CASES, SLOW, Box

# Cases that are not right yet, each with its reason.
PENDING: dict[str, str] = {}


def _marked(name):
    marks = [pytest.mark.slow] if name in SLOW else []
    if name in PENDING:
        marks.append(pytest.mark.xfail(reason=PENDING[name], strict=False))
    return pytest.param(name, marks=[*marks, pytest.mark.timeout(600)])


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory by /proc")
@pytest.mark.parametrize("name", [_marked(name) for name in CASES])
def test_a_hostile_input_is_read_right_or_refused(name, tiny, tmp_path):
    with warnings.catch_warnings(action="ignore"):  # libraries' own, about damaged files
        CASES[name](Box(tmp_path, tiny))


def test_every_pending_case_exists():
    assert set(PENDING) <= set(CASES)
