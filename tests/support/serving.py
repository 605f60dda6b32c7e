"""A review server in a process of its own, for tests from outside."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running(project: Path, token: str, *arguments: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """Serve a project on a free port; gives its address, and the process to be killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "forametric", "review", str(project), "--no-browser",
         *(arguments or ("--port", "0"))],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"FORAMETRIC_TOKEN": token, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        found = re.search(r"http://[\w.:\[\]]+", line)
        assert found, line + process.stderr.read()
        address = found.group()
        _answers(address)
        yield address, process
    finally:
        process.kill()
        process.communicate()


def _answers(address: str) -> None:
    import httpx

    for _ in range(100):
        try:
            httpx.get(address)
            return
        except httpx.TransportError:
            threading.Event().wait(0.1)
    raise AssertionError(f"{address} does not answer")
