"""Progress where there is no terminal: plain lines with count and rate, and not too many."""

import logging
import re

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


@pytest.mark.parametrize("label", ["", "work of another process"])
def test_no_label_and_other_processes_say_nothing(label, monkeypatch, caplog):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    if label:
        monkeypatch.setenv("RANK", "1")
    caplog.set_level(logging.INFO, "forametric")
    with bar(label, 2) as advance:
        advance(2, "note")
    assert not caplog.messages
