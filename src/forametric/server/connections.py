"""Limits of connections: how many, and how long a client may take to send a request.

uvicorn waits for a request for as long as a client likes, and accepts connections until the process
can open no more files. Here a request has to arrive in time, and where there are too many
connections the server closes one for which it waits, not the one that has just come.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from forametric.server.responses import BUSY_SECONDS

HEAD_SECONDS = 10.0  # for the request line and the headers
BODY_SECONDS = 20.0  # for a body, and longer for a large one
BODY_BYTES_PER_SECOND = 50_000  # the slowest upload
WRITE_SECONDS = 60.0  # for a client to take more of an answer
MAX_CONNECTIONS = 512
MIN_CONNECTIONS = 16
BACKLOG = 32  # connections that are accepted at once
OTHER_FILES = 128  # of the store, of images, of work in the background
NO_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
REPORT_SECONDS = 60.0  # between two reports of the same trouble
REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n"
    b"Retry-After: %d\r\n\r\n" % BUSY_SECONDS
)
logger = logging.getLogger(__name__)


def connection_limit() -> int:
    """How many connections the limit of open files allows."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no such limit
        return MAX_CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    # Some more are open for a moment: those just accepted, and those just closed.
    return max(MIN_CONNECTIONS, min(MAX_CONNECTIONS, files - OTHER_FILES - 2 * BACKLOG))


class LimitedProtocol(H11Protocol):
    """uvicorn's protocol, which waits for a client only so long."""

    limit = MAX_CONNECTIONS
    _timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _awaited = ""  # what the client has to send: "head", "body", or nothing
    _since = 0.0
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, if need be in place of another one, or refuse it."""
        super().connection_made(transport)
        self._expect("head", HEAD_SECONDS)
        others = [other for other in self._all_open() if other is not self]
        if len(others) < self.limit:
            return
        waiting = [other for other in others if other._awaited or other._is_idle()]
        if waiting:
            # Of the peer with most of them, so that one machine cannot close those of others.
            counts = Counter(other.peer for other in waiting)
            most = max(counts.values())
            crowd = [other for other in waiting if counts[other.peer] == most]
            min(crowd, key=lambda other: other._since)._drop()
        else:
            self._refused = True

    @property
    def peer(self) -> str:
        """The address of the other side."""
        return self.client[0] if self.client else ""

    def _all_open(self) -> Iterator[LimitedProtocol]:
        for connection in self.connections:
            if isinstance(connection, LimitedProtocol) and not connection.transport.is_closing():
                yield connection

    def _drop(self) -> None:
        """Close the connection, without waiting for a client that takes nothing."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        """Take data, and note what is still to come."""
        if self._refused:  # once it has asked: what is not read would undo the answer
            self.transport.write(REFUSAL)
            self.transport.close()
            return
        super().data_received(data)
        self._note_awaited()

    def _note_awaited(self) -> None:
        if self._is_idle():
            self._expect("head", HEAD_SECONDS)
        elif self.cycle.more_body:
            length = dict(self.headers).get(b"content-length", b"0")
            size = int(length) if length.isdigit() else 0
            self._expect("body", BODY_SECONDS + size / BODY_BYTES_PER_SECOND)
        else:
            self._expect_nothing()

    def on_response_complete(self) -> None:
        """Wait for nothing until the next request begins; uvicorn ends idle connections."""
        self._expect_nothing()
        super().on_response_complete()
        if not self._is_idle():  # the next request was sent together with the last
            self._note_awaited()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, without waiting for a client that takes nothing."""
        if not self.transport.is_closing():
            self._drop()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the timers."""
        self._expect_nothing()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Give a client that takes no more of an answer some time."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The client takes the answer."""
        super().resume_writing()
        if self._write_timer:
            self._write_timer.cancel()
            self._write_timer = None

    def _expect(self, awaited: str, seconds: float) -> None:
        """Close the connection when it has not arrived in time."""
        if self._awaited != awaited:
            self._expect_nothing()
            self._awaited, self._since = awaited, self.loop.time()
            self._timer = self.loop.call_later(seconds, self._drop)

    def _expect_nothing(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._awaited, self._timer, self._since = "", None, self.loop.time()


class TroubleReporter:
    """The handler of an event loop's errors: a lack of files is reported once a minute."""

    def __init__(self) -> None:
        self._reported = float("-inf")

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Report an error."""
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in NO_FILES):
            loop.default_exception_handler(context)
        elif time.monotonic() - self._reported > REPORT_SECONDS:
            self._reported = time.monotonic()
            logger.warning(
                "connections wait: %s. Raise the limit of open files (ulimit -n).", error.strerror
            )
