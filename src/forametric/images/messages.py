"""Collect what libraries log and warn while this thread decodes an image.

Python's own `warnings.catch_warnings` changes the filters of all threads and does not restore them
in the right order when threads overlap. Here the warnings and log records of other threads pass
through unchanged.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOGGERS = ("tifffile", "PIL.Image", "PIL.PngImagePlugin", "PIL.TiffImagePlugin")
_here = threading.local()
_lock = threading.Lock()
_active = 0


@contextmanager
def collected() -> Iterator[list[str]]:
    """The messages of this thread during the block; nothing is printed."""
    messages: list[str] = []
    outer, _here.messages = getattr(_here, "messages", None), messages
    _enter()
    try:
        yield messages
    finally:
        _leave()
        _here.messages = outer


class _Collector(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        messages = getattr(_here, "messages", None)
        if messages is not None and record.levelno >= logging.WARNING:
            messages.append(record.getMessage())
        return messages is None


class _Hook:
    """Takes the place of `warnings.showwarning` while any thread decodes."""

    def __init__(self) -> None:
        self.original = warnings.showwarning

    def __call__(self, message: Warning | str, *where: Any, **more: Any) -> None:
        messages = getattr(_here, "messages", None)
        if messages is None:
            self.original(message, *where, **more)
        else:
            messages.append(str(message))


_collector = _Collector()
_hook: _Hook | None = None


def _enter() -> None:
    global _active, _hook
    with _lock:
        _active += 1
        if _active == 1:
            for name in _LOGGERS:
                logging.getLogger(name).addFilter(_collector)
        if not isinstance(warnings.showwarning, _Hook):
            _hook = _Hook()
            warnings.showwarning = _hook


def _leave() -> None:
    global _active
    with _lock:
        _active -= 1
        if _active:
            return
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(_collector)
        # Another thread may have put its own in place meanwhile; then it is left there.
        if _hook is not None and warnings.showwarning is _hook:
            warnings.showwarning = _hook.original
