"""Long work behind the page, one piece at a time, whose state can be asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from forametric.errors import ForametricError


@dataclass
class Job:
    """One kind of work: `idle`, `waiting`, `running`, `done` or `failed`, and what it says."""

    state: str = "idle"
    says: str = ""


class Jobs:
    """A queue of work with one worker, and another for what takes hours.

    Of each kind at most one piece waits or runs.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="job")
        self._long = ThreadPoolExecutor(1, thread_name_prefix="long-job")
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}

    def start(self, kind: str, work: Callable[[], str], *, apart: bool = False) -> bool:
        """Do some work, which returns what to say of it; False when such work is under way.

        `apart`: so that nothing else has to wait for it.
        """
        with self._lock:
            if self._jobs.get(kind, Job()).state in ("waiting", "running"):
                return False
            job = self._jobs[kind] = Job("waiting")

        def run() -> None:
            job.state = "running"
            try:
                job.says, job.state = work(), "done"
            except ForametricError as error:
                job.says, job.state = str(error), "failed"
            except Exception as error:
                job.says, job.state = f"{type(error).__name__}: {error}", "failed"
                raise

        (self._long if apart else self._pool).submit(run)
        return True

    def say(self, kind: str, says: str) -> None:
        """Tell how far a running piece has come."""
        self._jobs[kind].says = says

    def states(self) -> dict[str, dict[str, str]]:
        """All kinds that there have been: state and says."""
        with self._lock:
            return {kind: asdict(job) for kind, job in self._jobs.items()}

    def stop(self) -> None:
        """Begin nothing more."""
        for pool in (self._pool, self._long):
            pool.shutdown(wait=False, cancel_futures=True)
