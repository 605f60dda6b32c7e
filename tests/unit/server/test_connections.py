"""Clients that are slow, or too many, do not keep the server from others."""

import asyncio
import contextlib
import errno
import logging
import resource
import socket
import threading
from concurrent.futures import Future

import pytest
import uvicorn

from forametric.server import connections
from forametric.server.connections import LimitedProtocol, TroubleReporter, connection_limit

REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


async def _application(scope, receive, send):
    """Answers "ok" to a whole request; to /hold only when `release` is set."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message.get("more_body", False)
    if scope["path"] == "/hold":
        await asyncio.wrap_future(scope["app_release"])
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


class _Served:
    """A server of that application in a thread."""

    def __init__(self) -> None:
        self.release = Future()
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        self.address = listening.getsockname()

        async def application(scope, receive, send):
            await _application(scope | {"app_release": self.release}, receive, send)

        config = uvicorn.Config(
            application, http=LimitedProtocol, ws="none", lifespan="off", log_level="error"
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, args=([listening],))
        self.thread.start()

    def connect(self, sent: bytes = b"") -> socket.socket:
        found = socket.create_connection(self.address, timeout=20)
        found.sendall(sent)
        return found

    def stop(self) -> None:
        self.release.set_result(None)
        self.server.should_exit = True
        self.thread.join()


@pytest.fixture
def served(monkeypatch):
    monkeypatch.setattr(LimitedProtocol, "limit", 4)
    started = _Served()
    with contextlib.ExitStack() as opened:
        started.open = lambda sent=b"": opened.enter_context(started.connect(sent))
        yield started
    started.stop()


def _answer(connection: socket.socket) -> bytes:
    """An answer, up to the end of its body."""
    received = b""
    while not received.endswith(b"\r\n\r\nok"):
        if not (part := connection.recv(1000)):
            break
        received += part
    return received


def _is_closed(connection: socket.socket) -> bool:
    """Whether the server closes a connection without an answer."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: here\r\nX: ",
     b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\nhalf"],
    ids=["nothing", "half a line", "half a head", "half a body"],
)  # fmt: skip
def test_a_request_that_does_not_arrive_in_time_is_closed(served, monkeypatch, sent):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.1)
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.1)
    assert _is_closed(served.open(sent))


def test_a_request_sent_together_with_the_last_has_to_arrive_in_time(served, monkeypatch):
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.1)
    post = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\nhalf"
    connection = served.open(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n" + post)
    assert _answer(connection).endswith(b"ok")
    assert _is_closed(connection)


def test_a_client_that_sends_a_byte_now_and_then_gets_no_more_time(served, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    connection = served.open(b"GET / HTTP/1.1\r\n")
    connection.settimeout(0.02)
    for _ in range(500):
        with contextlib.suppress(TimeoutError):
            assert _is_closed(connection)
            return
        with contextlib.suppress(OSError):
            connection.sendall(b"X: y\r\n")
    raise AssertionError("the server still waits")


def test_a_connection_is_used_for_many_requests(served):
    connection = served.open()
    for _ in range(5):
        connection.sendall(REQUEST)
        assert b"200 OK" in _answer(connection)


def test_a_new_connection_takes_the_place_of_one_that_sends_nothing(served):
    silent = [served.open(b"GET") for _ in range(4)]
    assert b"200 OK" in _answer(served.open(REQUEST))
    assert _is_closed(silent[0])


def test_with_all_connections_at_work_one_more_is_refused_in_order(served):
    busy = [served.open(REQUEST.replace(b"/ ", b"/hold ")) for _ in range(4)]
    while len(served.server.server_state.tasks) < 4:
        threading.Event().wait(0.01)
    refused = _answer(served.open(REQUEST))
    assert refused.startswith(b"HTTP/1.1 503")
    assert b"Retry-After" in refused
    for connection in busy:
        connection.close()


@pytest.mark.parametrize(("files", "expected"), [(256, 64), (1024, 512), (100, 16), (10**6, 512)])
def test_the_limit_of_connections_leaves_files_for_other_work(monkeypatch, files, expected):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert connection_limit() == expected


def test_a_lack_of_files_is_reported_once(caplog):
    loop = asyncio.new_event_loop()
    report = TroubleReporter()
    error = OSError(errno.EMFILE, "Too many open files")
    for _ in range(1000):
        report(loop, {"message": "socket.accept() out of system resource", "exception": error})
    loop.close()
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "ulimit" in warnings[0].getMessage()
