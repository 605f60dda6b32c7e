"""Who may ask: a token, in a cookie or a header; no page of another origin; no other host's name.

Like Jupyter's, the token comes in the link that opens the page. It becomes a cookie which scripts
cannot read and which other sites' pages do not send.
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

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
MOST_BYTES = 32 * 1024 * 1024  # of an upload
MONTH = 30 * 24 * 3600
# The map's library writes its shaders' callers as code ('unsafe-eval') and works in a thread of its
# own (blob:); nothing may come from another place.
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
    """What stands in front of every route.

    Parameters
    ----------
    token : str
        What a client has to know.
    loopback : bool
        Answer only to the names of this machine: a foreign page that made its own name point here
        gets nothing.
    """

    def __init__(self, app: ASGIApp, token: str, loopback: bool) -> None:
        self.app, self.token, self.loopback = app, token, loopback
        # What the cookie holds: it may be of other letters than a password.
        self._secret = hmac.new(token.encode(), b"forametric review", "sha256").hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on what may pass."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        answer = self._refusal(request) or await self._entrance(request)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await (answer or self.app)(scope, receive, guarded)

    def _refusal(self, request: Request) -> Response | None:
        """For a wrong host, another origin, or too large a body."""
        host = request.headers.get("host", "")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if self.loopback and name not in LOOPBACK:
            return _says(403, f"this server answers to {', '.join(LOOPBACK)} only.")
        origin = request.headers.get("origin")
        site = request.headers.get("sec-fetch-site", "")
        foreign = site in ("cross-site", "same-site")
        navigates = request.method == "GET" and request.headers.get("sec-fetch-mode") == "navigate"
        if (origin and urlsplit(origin).netloc != host) or (foreign and not navigates):
            return _says(403, "requests from pages of other origins are refused.")
        length = request.headers.get("content-length", "0")
        if "transfer-encoding" in request.headers:
            return _says(411, "say how long the body is, with Content-Length.")
        if not length.isdigit() or int(length) > MOST_BYTES:
            return _says(413, f"more than {MOST_BYTES >> 20} MiB are not taken.")
        return None

    async def _entrance(self, request: Request) -> Response | None:
        """For those who have no token yet, or bring it; None for those who may pass."""
        given = request.query_params.get("token")
        path = request.url.path
        if path == "/" and request.method == "GET" and given is not None:
            if self._is_token(given):
                return self._welcome(request)
            return _login("This link is not, or no longer, valid.", 401)
        if path == "/login" and request.method == "POST":
            form = parse_qs((await _body(request, 4096)).decode("utf-8", "replace"))
            if self._is_token(form.get("token", [""])[0]):
                return self._welcome(request)
            await asyncio.sleep(0.5)  # guessing should take long
            return _login("That is not the password.", 401)
        if self._knows(request):
            return None
        if path == "/" and request.method == "GET":
            return _login("", 401)
        return _says(401, "a token is needed: in the cookie that the opening link gives, or as "
                          "Authorization: Bearer TOKEN.")  # fmt: skip

    def _welcome(self, request: Request) -> Response:
        answer = RedirectResponse("/", 303)
        # "lax": who follows the link from a mail is let in; what changes anything is a POST, with
        # which other sites' pages send no cookie.
        answer.set_cookie(
            _cookie(request), self._secret, max_age=MONTH, httponly=True, samesite="lax"
        )
        return answer

    def _knows(self, request: Request) -> bool:
        kind, _, bearer = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._is_token(bearer):
            return True
        given = request.cookies.get(_cookie(request), "").encode()
        return hmac.compare_digest(given, self._secret.encode())

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())


def _cookie(request: Request) -> str:
    """Named by port: a browser sends the cookies of one port of a host to all others."""
    return f"forametric-{request.url.port or 80}"


def _says(status: int, detail: str) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"detail": detail}, status, headers)


def _login(says: str, status: int) -> Response:
    return HTMLResponse(render("login.html", title="Forametric", says=says), status)


async def _body(request: Request, most: int) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > most:
            break
    return body[:most]
