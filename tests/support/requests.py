"""Requests to the review server: in process, and over a socket of this machine."""

from __future__ import annotations

import json
import re
import socket
import tempfile
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from forametric.review.project import Project
from forametric.server.app import make_app
from forametric.server.session import ReviewSession
from tests.support.serving import access
from tests.support.tiny import Tiny

TOKEN = "a-token-for-tests"
ADDRESS = "http://127.0.0.1:8765"
SECONDS = 10
RIGHT = (
    "GET /api/status HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
    "Connection: close\r\n\r\n"
)


class ServerError(Exception):
    """The server answered with a status of 500 or above, or did not answer."""


@cache
def _app(tiny: Tiny) -> Any:
    """The application of a new project; once in a process."""
    folder = Path(tempfile.mkdtemp()) / "project"
    images = [tiny.collection]
    project = Project.create(folder, tiny.more, tiny.model, reference_images=images, depth="depth")
    return make_app(ReviewSession.open(project, project.open_store()), access())


@cache
def _client(tiny: Tiny) -> TestClient:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    client = TestClient(_app(tiny), base_url=ADDRESS, headers=headers, follow_redirects=False)
    client.__enter__()
    return client


def send_json(text: bytes, tiny: Tiny) -> None:
    """Send the request that a JSON text describes; what no client could send is left out.

    Raises
    ------
    ServerError
        When the answer has a status of 500 or above. Exceptions of the application come through.
    """
    try:
        request = json.loads(text)
        method, path = str(request.get("method", "GET")), str(request.get("path", "/"))
        headers = {
            str(name): str(value)
            for name, value in dict(request.get("headers") or {}).items()
            if re.fullmatch(r"[!#$%&'*+.^_`|~\w-]+", str(name)) and str(name).isascii()
        }
        headers = {k: v.encode("utf-8", "replace").decode("latin-1") for k, v in headers.items()}
        query = dict(request.get("query") or {})
        body = json.dumps(request.get("body")).encode()
    except (ValueError, TypeError, AttributeError, RecursionError):
        return
    if not re.fullmatch(r"[A-Z]{1,10}", method) or (method, path) in (
        ("POST", "/api/models"), ("POST", "/api/models/current"),
    ):  # fmt: skip
        return
    path = "/" + path.lstrip("/").encode("utf-8", "replace").decode()
    texts = {
        str(k).encode("utf-8", "replace").decode(): str(v).encode("utf-8", "replace").decode()
        for k, v in query.items()
    }
    try:
        url = _client(tiny).base_url.copy_with(path=path, query=None)
    except Exception:  # not an address
        return
    answer = _client(tiny).request(
        method, url, params=texts, headers=headers | {"Content-Type": "application/json"},
        content=body if method in ("POST", "PUT", "PATCH") else None,
    )  # fmt: skip
    if answer.status_code >= 500:
        raise ServerError(f"{method} {path}: {answer.status_code} {answer.text[:200]}")


@cache
def _port(tiny: Tiny) -> int:
    """The port of a server in a thread of this process."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(_app(tiny), port=0, log_level="warning"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    return int(server.servers[0].sockets[0].getsockname()[1])


def send_raw(data: bytes, tiny: Tiny) -> None:
    """Send bytes over a socket; then the server must still answer another client.

    Raises
    ------
    ServerError
        When the answer has a status of 500 or above, or another client gets none.
    """
    port = _port(tiny)
    data = data.replace(b"{port}", str(port).encode()).replace(b"{token}", TOKEN.encode())
    answer = _exchange(data, port, 0.5)
    status = re.match(rb"HTTP/1\.[01] 5\d\d", answer)
    if status:
        raise ServerError(f"{status[0].decode()} to {data[:60]!r}")
    good = (
        f"GET /api/status HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {TOKEN}\r\n"
    )
    other = _exchange(f"{good}Connection: close\r\n\r\n".encode(), port, SECONDS)
    if not other.startswith(b"HTTP/1.1 200"):
        raise ServerError(f"another client gets {other[:60]!r} after {data[:60]!r}")


def _exchange(data: bytes, port: int, seconds: float) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        answer = b""
        try:
            connection.sendall(data)
            while part := connection.recv(65536):
                answer += part
                if len(answer) > 1_000_000:
                    break
        except OSError:  # the server waits for more, or has closed
            pass
        return answer
