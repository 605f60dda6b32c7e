"""Show the progress of long work: a bar in a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from forametric.utils.text import printable

WINDOW = 256  # items in progress, so that memory does not grow with their number
SECONDS_BETWEEN_LINES = 15.0  # in a log
Item = TypeVar("Item")
Result = TypeVar("Result")
logger = logging.getLogger(__name__)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="dim")


class Advance(Protocol):
    """Called with the number of newly finished steps, and optionally a note to show."""

    def __call__(self, count: int, note: str = "") -> None: ...


@contextmanager
def bar(label: str, total: int) -> Iterator[Advance]:
    """Show `label` with a bar of `total` steps on standard error; with "" nothing is shown.

    If standard error is not a terminal that can move its cursor, lines with count, rate and note go
    to the log (level INFO) every 15 seconds. Of several processes that train together, only the
    first reports.

    >>> with bar("counting", 2) as advance:
    ...     advance(1); advance(1, "done")
    """
    console = Console(stderr=True)
    if not label or os.environ.get("RANK", "0") != "0":
        yield lambda count, note="": None
    elif not console.is_terminal or console.is_dumb_terminal:
        yield _Lines(label, total)
    else:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(label, total=total, note="")

            def advance(count: int, note: str = "") -> None:
                progress.advance(task, count)
                if note:
                    progress.update(task, note=printable(note))

            yield advance


class _Lines:
    """Progress as log lines: the first after 15 seconds, so that short work logs nothing."""

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.done, self.note = label, total, 0, ""
        self.started = self.last = time.monotonic()

    def __call__(self, count: int, note: str = "") -> None:
        self.done += count
        self.note = note or self.note
        now = time.monotonic()
        due = now - self.last >= SECONDS_BETWEEN_LINES
        finished = self.done >= self.total and self.last > self.started
        if due or (finished and count):
            self.last = now
            rate = self.done / max(now - self.started, 1e-9)
            note = f", {self.note}" if self.note else ""
            logger.info("%s: %d/%d, %.1f/s%s", self.label, self.done, self.total, rate, note)


def in_parallel(
    label: str, function: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[Result]:
    """The results of a function on many items, in their order, with one thread for each core.

    >>> list(in_parallel("squaring", lambda number: number**2, range(5)))
    [0, 1, 4, 9, 16]
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool, bar(label, len(items)) as advance:
        for start in range(0, len(items), WINDOW):
            for result in pool.map(function, items[start : start + WINDOW]):
                yield result
                advance(1)
