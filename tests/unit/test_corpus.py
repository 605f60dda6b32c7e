"""Every input that fuzzing has found to break a rule is read again, and holds it now."""

import tempfile
import warnings
from pathlib import Path
from random import Random

import matplotlib.pyplot  # noqa: F401  lists the fonts, once, before writing is watched
import pytest

from tests.support.inputs import KINDS, Case, make_case
from tests.support.rules import try_case

CORPUS = Path(__file__).parents[1] / "corpus"
KEPT = sorted(CORPUS.rglob("*.json"))
PENDING: dict[str, str] = {}
SLOW_KINDS = ("http", "raw")


@pytest.fixture(autouse=True)
def _own_temporary_files(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


def _name(path):
    return path.relative_to(CORPUS).with_suffix("").as_posix()


def _marked(path):
    name = _name(path)
    marks = [pytest.mark.xfail(reason=PENDING[name], strict=False)] if name in PENDING else []
    return pytest.param(path, id=name, marks=marks)


@pytest.mark.parametrize("path", [_marked(path) for path in KEPT])
def test_what_once_broke_a_rule_holds_it(path, tiny, tmp_path):
    case, how = Case.from_json(path.read_text(encoding="utf-8"))
    with warnings.catch_warnings(action="ignore"):  # libraries' own, about damaged files
        failures = try_case(case, tiny, tmp_path, how if how not in ("", "read") else None)
    assert not failures, "\n".join(f"{f.key} ({f.how})\n{f.message}" for f in failures)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in SLOW_KINDS])
def test_valid_seeds_break_no_rule(kind, tiny, tmp_path):
    from tests.support.inputs import seeds_of

    for name in sorted(seeds_of(kind, tiny))[:2]:
        failures = try_case(Case(kind, name), tiny, tmp_path)
        assert not failures, "\n".join(f"{f.key} ({f.how})\n{f.message}" for f in failures)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_numbers_make_the_same_input(kind, tiny):
    assert make_case(kind, tiny, Random("a")) == make_case(kind, tiny, Random("a"))


def test_a_case_is_kept_as_text_and_read_again(tiny):
    case = make_case("models", tiny, Random(3))
    assert Case.from_json(case.to_json("a reason", "identify")) == (case, "identify")
