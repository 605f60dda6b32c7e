"""A budget of memory that all threads which read images share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from forametric.errors import ImageError

LIMIT = 1536 * 2**20  # bytes for all images that are read at the same time


class MemoryBudget:
    """Threads wait until the memory that they need is free.

    They are served in the order in which they come, so that a large image is not kept waiting by a
    stream of small ones. A thread must not reserve twice.

    >>> budget = MemoryBudget(100)
    >>> with budget.reserve(60):
    ...     budget.free
    40
    """

    def __init__(self, limit: int) -> None:
        self.limit = self.free = limit
        self._first = threading.Lock()  # held by the thread that is next
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, nbytes: int) -> Iterator[None]:
        """Hold `nbytes` during the block; `ImageError` if that is more than the whole budget."""
        if nbytes > self.limit:
            raise ImageError(
                f"reading it needs {nbytes / 1e9:.1f} GB of memory; "
                f"at most {self.limit / 1e9:.1f} GB are used; save it smaller or with fewer bits"
            )
        with self._first, self._changed:
            self._changed.wait_for(lambda: self.free >= nbytes)
            self.free -= nbytes
        try:
            yield
        finally:
            with self._changed:
                self.free += nbytes
                self._changed.notify()


BUDGET = MemoryBudget(LIMIT)
