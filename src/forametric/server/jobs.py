"""Long work behind the page: one piece of each kind at a time, with its state and a message."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from forametric.errors import ForametricError
from forametric.server.workers import Workers
from forametric.utils.crash import report_crash

State = Literal["idle", "waiting", "running", "done", "failed"]
logger = logging.getLogger(__name__)


@dataclass
class Job:
    """One kind of work: its state, and its progress, result or error in words."""

    state: State = "idle"
    message: str = ""


class Jobs:
    """A queue of work with one worker, and a second worker for what takes hours.

    Of each kind at most one piece waits or runs. The program can end while work is under way.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._worker, self._long_worker = Workers("job"), Workers("long-job")

    def start(self, kind: str, work: Callable[[], str], *, long: bool = False) -> bool:
        """Start some work; False when work of this kind is already under way.

        Parameters
        ----------
        work : callable
            Returns the message to show when it is done.
        long : bool
            Whether it takes so long that other kinds should not wait for it.
        """
        with self._lock:
            if self._jobs.get(kind, Job()).state in ("waiting", "running"):
                return False
            job = self._jobs[kind] = Job("waiting")

        def run() -> None:
            job.state = "running"
            try:
                job.message, job.state = work(), "done"
            except ForametricError as error:
                job.message, job.state = str(error), "failed"
            except Exception as error:
                job.message, job.state = report_crash(error), "failed"

        (self._long_worker if long else self._worker).submit(run)
        return True

    def report(self, kind: str, message: str) -> None:
        """Set the message of running work."""
        self._jobs[kind].message = message

    def states(self) -> dict[str, Job]:
        """A copy of every job that was started."""
        with self._lock:
            return {kind: replace(job) for kind, job in self._jobs.items()}

    def stop(self, seconds: float = 0) -> None:
        """Start nothing more, and wait some seconds for what is under way."""
        for worker in (self._worker, self._long_worker):
            worker.stop(seconds)
