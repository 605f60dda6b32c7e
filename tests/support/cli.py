"""Run the command line: in this process, or in one of its own where that matters."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import chdir, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest import mock

from forametric.cli import main

# Settings that make a training take a second.
QUICK = ["--set", "epochs=2", "--set", "network.image_size=32", "--set", "tta_views=1"]
FORMS = ["single sphere", "compressed keeled", "clavate radial", "globular trochospiral"]


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit status."""

    returncode: int
    stdout: str
    stderr: str


def forametric(*arguments: object, cwd=None, env=None) -> Done:
    """Run the command line in this process: no start-up time, and coverage counts."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    argv = ["forametric", *map(str, arguments)]
    with (
        mock.patch.object(sys, "argv", argv),
        mock.patch.dict(os.environ, env or {}),
        chdir(cwd) if cwd else nullcontext(),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
    return Done(status, out.getvalue(), err.getvalue())


def forametric_process(*arguments: object, **settings) -> subprocess.CompletedProcess:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "forametric", *map(str, arguments)],
        capture_output=True, text=True, timeout=300, **settings,
    )  # fmt: skip
