"""Progress where there is no terminal: plain lines with count and rate, and not too many."""

import io
import logging
import re
import sys

import pytest

from forametric.utils import progress
from forametric.utils.progress import bar, in_parallel


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    time = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: time[0])
    return time


def test_lines_in_a_log_have_count_rate_and_note(clock, caplog):
    """`train` into a log file once showed nothing until it ended."""
    caplog.set_level(logging.INFO, "forametric")
    with bar("training (steps)", 90) as advance:
        for step in range(1, 91):
            clock[0] += 0.5
            advance(1, f"loss {step / 10:.2f}")
    assert caplog.messages == [
        "training (steps): 30/90, 2.0/s, loss 3.00",
        "training (steps): 60/90, 2.0/s, loss 6.00",
        "training (steps): 90/90, 2.0/s, loss 9.00",
    ]


def test_short_work_is_quiet(clock, caplog):
    caplog.set_level(logging.INFO, "forametric")
    with bar("reading", 3) as advance:
        for _ in range(3):
            clock[0] += 1
            advance(1)
    assert not caplog.messages


def test_a_small_interval_gives_a_line_each_time(monkeypatch, caplog):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    caplog.set_level(logging.INFO, "forametric")
    assert list(in_parallel("squaring", lambda n: n * n, range(3))) == [0, 1, 4]
    assert len(caplog.messages) == 3
    assert all(re.fullmatch(r"squaring: \d/3, [\d.]+/s", line) for line in caplog.messages)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("kind", ["xterm", "dumb"])
def test_a_note_is_shown_as_it_is_on_every_terminal(kind, monkeypatch, caplog):
    """Square brackets were taken for markup; a dumb terminal showed nothing until the end."""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setenv("TERM", kind)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("sys.stderr", _Terminal())
    caplog.set_level(logging.INFO, "forametric")
    with bar("runs [1]", 2) as advance:
        advance(2, "recipe [/x] \x07")
    shown = sys.stderr.getvalue() + caplog.text
    assert "runs [1]" in shown
    assert "recipe [/x]" in shown
    assert ("\x1b" in shown) == (kind == "xterm")
    assert "\x07" not in sys.stderr.getvalue()


@pytest.mark.parametrize("label", ["", "work of another process"])
def test_no_label_and_other_processes_say_nothing(label, monkeypatch, caplog):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    if label:
        monkeypatch.setenv("RANK", "1")
    caplog.set_level(logging.INFO, "forametric")
    with bar(label, 2) as advance:
        advance(2, "note")
    assert not caplog.messages
