"""The one way in which long work shows itself: a bar with a rate, on standard error."""

from __future__ import annotations

import os
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

WINDOW = 256  # results that may wait at once: memory does not grow with the number of items
console = Console(stderr=True)
Item = TypeVar("Item")
Result = TypeVar("Result")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="dim")


class Advance(Protocol):
    """Called with how many more are done, and optionally a new word to show."""

    def __call__(self, count: int, note: str = "") -> None: ...


@contextmanager
def bar(what: str, total: int) -> Iterator[Advance]:
    """Show `what` with a bar of `total` steps; quiet for "" and when no terminal is there.

    >>> with bar("counting", 2) as advance:
    ...     advance(1); advance(1, "done")
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(
        *columns, console=console, disable=not (what and console.is_terminal)
    ) as progress:
        task = progress.add_task(what, total=total, note="")

        def advance(count: int, note: str = "") -> None:
            progress.advance(task, count)
            if note:
                progress.update(task, note=note)

        yield advance


def in_parallel(
    what: str, function: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[Result]:
    """The results of a function on many items, in their order, by a thread for each core.

    >>> list(in_parallel("squaring", lambda number: number**2, range(5)))
    [0, 1, 4, 9, 16]
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool, bar(what, len(items)) as advance:
        for start in range(0, len(items), WINDOW):
            for result in pool.map(function, items[start : start + WINDOW]):
                yield result
                advance(1)
