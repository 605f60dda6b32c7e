"""Run the command line: in this process, or in one of its own where that matters."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

# Settings that make a training take a second.
QUICK = ["--set", "epochs=2", "--set", "network.image_size=32", "--set", "tta_views=1"]
FORMS = ["single sphere", "compressed keeled", "clavate radial", "globular trochospiral"]


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit status."""

    returncode: int
    stdout: str
    stderr: str


def forametric(*arguments: object, **settings) -> subprocess.CompletedProcess:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "forametric", *map(str, arguments)],
        capture_output=True, text=True, timeout=300, **settings,
    )  # fmt: skip
