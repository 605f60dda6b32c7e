"""One writer for each output: a lock of the operating system, which ends with its process."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from forametric.errors import InputError
from forametric.utils.verb import running_verb


@contextmanager
def one_writer(output: Path) -> Iterator[bool]:
    """Keep all other processes and threads from writing an output while the block runs.

    The lock is the file `.NAME.lock` next to the output, which says who has it. A killed process
    loses its lock. Blocks of one thread may be nested; the value says whether it is the outermost.

    Raises
    ------
    InputError
        When another process or thread is writing it.
    """
    output = Path(os.path.realpath(output))
    output.parent.mkdir(parents=True, exist_ok=True)
    file = output.with_name(f".{output.name}.lock")
    lock = FileLock(file, timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"{output} is being written by {_owner(file)}; wait until it has ended, or name "
            f"another output."
        ) from None
    outermost = lock.lock_counter == 1
    try:
        if outermost:
            with suppress(OSError):  # Windows lets nobody write to a locked file
                file.write_text(json.dumps(_myself()), encoding="utf-8")
        yield outermost
    finally:
        if outermost:
            with suppress(OSError):  # on Windows, releasing the lock removes the file
                file.unlink()
        lock.release()


def _myself() -> dict[str, str | int]:
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    return {
        "verb": running_verb(),
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": since,
    }


def _owner(file: Path) -> str:
    try:
        owner = json.loads(file.read_text(encoding="utf-8"))
        process = f"process {owner['pid']} on {owner['host']} since {owner['since']}"
        return f"forametric {owner['verb']} ({process})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
