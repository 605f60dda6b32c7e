"""Access control: a token in a cookie or a header, requests of the same origin, known host names.

The token comes in the link that opens the page, as with Jupyter. It becomes a cookie that scripts
cannot read and that pages of other sites do not send.
"""

from __future__ import annotations

import asyncio
import hmac
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forametric.utils.html import render

LOOPBACK = ("127.0.0.1", "localhost", "::1")  # the names of this machine
LOOPBACK_HOSTS = tuple(f"[{name}]" if ":" in name else name for name in LOOPBACK)  # as in `Host:`
MAX_BYTES = 32 * 1024 * 1024  # of an upload
MONTH = 30 * 24 * 3600
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


class Access:
    """Middleware that checks every request before it reaches a route.

    Parameters
    ----------
    token : str
        What a client has to know.
    loopback : bool
        Answer only to the names of this machine, so that a foreign page whose own name points to
        this machine (DNS rebinding) is refused.
    """

    def __init__(self, app: ASGIApp, token: str, loopback: bool) -> None:
        self.app, self.token, self.loopback = app, token, loopback
        # The content of the cookie; a password may have characters that a cookie cannot.
        self._secret = hmac.new(token.encode(), b"forametric review", "sha256").hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse or redirect a request, or pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        answer = self._refusal(request) or await self._authenticate(request)

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
            return _problem(403, f"this server answers only to {', '.join(LOOPBACK_HOSTS)}.")
        origin = request.headers.get("origin")
        site = request.headers.get("sec-fetch-site", "")
        foreign = site in ("cross-site", "same-site")
        navigates = request.method == "GET" and request.headers.get("sec-fetch-mode") == "navigate"
        if (origin and urlsplit(origin).netloc != host) or (foreign and not navigates):
            return _problem(403, "requests from pages of other origins are refused.")
        length = request.headers.get("content-length", "0")
        if "transfer-encoding" in request.headers:
            return _problem(411, "give the length of the body in Content-Length.")
        if not length.isdigit() or int(length) > MAX_BYTES:
            return _problem(413, f"the body is larger than {MAX_BYTES >> 20} MiB.")
        return None

    async def _authenticate(self, request: Request) -> Response | None:
        """The login page, or the cookie for a right token; None for a client that is logged in."""
        given = request.query_params.get("token")
        path = request.url.path
        if path == "/" and request.method == "GET" and given is not None:
            if self._is_token(given):
                return self._log_in(request)
            return _login_page("This link is not valid (any more).", 401)
        if path == "/login" and request.method == "POST":
            form = parse_qs((await _body(request, 4096)).decode("utf-8", "replace"))
            if self._is_token(form.get("token", [""])[0]):
                return self._log_in(request)
            await asyncio.sleep(0.5)  # slows down guessing
            return _login_page("The password is wrong.", 401)
        if self._is_logged_in(request):
            return None
        if path == "/" and request.method == "GET":
            return _login_page("", 401)
        return _problem(
            401,
            "a token is needed: in the cookie that the opening link gives, or as "
            "Authorization: Bearer TOKEN.",
        )

    def _log_in(self, request: Request) -> Response:
        answer = RedirectResponse("/", 303)
        # "lax": the link works from a mail. Everything that changes data is a POST, with which
        # pages of other sites send no cookie.
        answer.set_cookie(
            _cookie(request), self._secret, max_age=MONTH, httponly=True, samesite="lax"
        )
        return answer

    def _is_logged_in(self, request: Request) -> bool:
        kind, _, bearer = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._is_token(bearer):
            return True
        given = request.cookies.get(_cookie(request), "").encode()
        return hmac.compare_digest(given, self._secret.encode())

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())


def _cookie(request: Request) -> str:
    """The name has the port: a browser sends the cookies of one port of a host to all ports."""
    return f"forametric-{request.url.port or 80}"


def _problem(status: int, detail: str) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"detail": detail}, status, headers)


def _login_page(message: str, status: int) -> Response:
    return HTMLResponse(render("login.html", title="Forametric", message=message), status)


async def _body(request: Request, most: int) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > most:
            break
    return body[:most]
