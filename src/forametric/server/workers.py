"""Threads that do one piece of work after another, and do not keep the program alive."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

Result = TypeVar("Result")


class Workers:
    """A queue of work, and the threads that do it.

    Python waits for the threads of its own executors when it ends, for hours if need be. It does
    not wait for these.
    """

    def __init__(self, name: str, count: int = 1) -> None:
        self._queue: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{n}", daemon=True)
            for n in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Do some work when it is its turn; until then it can be cancelled."""
        future: Future[Result] = Future()
        self._queue.put((future, work))
        return future

    def stop(self, seconds: float = 0) -> None:
        """Begin nothing more, and wait some seconds for what is under way."""
        while not self._queue.empty():
            if (waiting := self._queue.get()) is not None:
                waiting[0].cancel()
        for _ in self._threads:
            self._queue.put(None)
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            future, work = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
