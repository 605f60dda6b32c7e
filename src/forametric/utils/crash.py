"""What is done about an error that nobody foresaw: one sentence, and a log with the traceback."""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
import traceback
from pathlib import Path

from forametric._version import __version__
from forametric.utils.text import printable

_logs: dict[tuple[str, str, int], Path] = {}  # of this process, by where the error was raised
_PASSWORD = re.compile(r"(://[^\s:/@]*:)[^\s/]*@")
_TOKEN = re.compile(r"(token=)[^\s&'\"]+")


def report_crash(error: BaseException) -> str:
    """Write a log of an unforeseen error and return the sentence that names it.

    The log is a new file in the folder for temporary files that only this user can read. It holds
    the versions, the command and the traceback; passwords in addresses are left out. Where no file
    can be written, the traceback goes to standard error. An error that a server meets again and
    again has one log.

    Parameters
    ----------
    error : BaseException
        With its traceback.
    """
    what = without_secrets("".join(traceback.format_exception_only(error)).strip())
    sentence = f"this is a mistake in Forametric ({what.splitlines()[0]})."
    *_, last = traceback.extract_tb(error.__traceback__) or [None]
    place = (type(error).__name__, last.filename, last.lineno or 0) if last else ("", "", 0)
    log = _logs.get(place)
    if log is None or not log.is_file():
        log = _write(without_secrets("".join([_about(), *traceback.format_exception(error)])))
    if log is None:
        return f"{sentence} No log could be written; please report what stands above."
    _logs[place] = log
    return f"{sentence} Please report it with the log: {log}"


def without_secrets(text: str) -> str:
    """Text without the passwords in addresses and the tokens in links.

    >>> without_secrets("postgresql://lee:secret@host/core")
    'postgresql://lee:***@host/core'
    """
    return _TOKEN.sub(r"\1***", _PASSWORD.sub(r"\1***@", text))


def _about() -> str:
    python = f"Python {platform.python_version()} on {platform.platform()}"
    return f"forametric {__version__}, {python}\ncommand: {sys.argv}\n\n"


def _write(text: str) -> Path | None:
    """The new log; None if no folder takes it, or the disk is full."""
    path = None
    try:
        handle, name = tempfile.mkstemp(prefix="forametric-error-", suffix=".log")
        path = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError:
        if path is not None:
            path.unlink(missing_ok=True)
        if sys.stderr is not None:
            shown = printable(text, keep="\n").encode("ascii", "backslashreplace")
            sys.stderr.write(shown.decode("ascii"))
        return None
    return path
