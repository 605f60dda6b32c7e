"""What is checked of every request before anybody logs in: its host, its origin, its size."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forametric.server.responses import problem

LOOPBACK = ("127.0.0.1", "localhost", "::1")  # the names of this machine
LOOPBACK_HOSTS = tuple(f"[{name}]" if ":" in name else name for name in LOOPBACK)  # as in `Host:`
MAX_BYTES = 32 * 1024 * 1024  # of an upload
# The library of the map generates code ('unsafe-eval') and works in a thread (blob:); everything
# must come from this server.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; worker-src 'self' blob:; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class RequestChecks:
    """Middleware that refuses wrong hosts, other origins, and bodies that are too large.

    Parameters
    ----------
    loopback : bool
        Answer only to the names of this machine, so that a foreign page whose own name points to
        this machine (DNS rebinding) is refused.
    """

    def __init__(self, app: ASGIApp, loopback: bool) -> None:
        self.app, self.loopback = app, loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = self._refusal(Request(scope, receive))

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await (answer or self.app)(scope, receive, guarded)

    def _refusal(self, request: Request) -> Response | None:
        """The answer to a wrong host, another origin, or too large a body; None for others."""
        host = request.headers.get("host", "")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if self.loopback and name not in LOOPBACK_HOSTS:
            return problem(403, f"this server answers only to {', '.join(LOOPBACK_HOSTS)}.")
        origin = request.headers.get("origin")
        site = request.headers.get("sec-fetch-site", "")
        foreign = site in ("cross-site", "same-site")
        navigates = request.method == "GET" and request.headers.get("sec-fetch-mode") == "navigate"
        if (origin and urlsplit(origin).netloc != host) or (foreign and not navigates):
            return problem(403, "requests from pages of other origins are refused.")
        length = request.headers.get("content-length", "0")
        if "transfer-encoding" in request.headers:
            return problem(411, "give the length of the body in Content-Length.")
        if not length.isdigit() or int(length) > MAX_BYTES:
            return problem(413, f"the body is larger than {MAX_BYTES >> 20} MiB.")
        return None
