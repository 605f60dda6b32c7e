"""Access control: a token in a cookie or a header.

The token comes in the link that opens the page, as with Jupyter. It becomes a cookie that scripts
cannot read and that pages of other sites do not send.
"""

from __future__ import annotations

import asyncio
import hmac
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from forametric.server.responses import problem
from forametric.utils.html import render

MONTH = 30 * 24 * 3600


class Access:
    """Middleware that checks every request before it reaches a route.

    Parameters
    ----------
    token : str
        What a client has to know.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token
        # The content of the cookie; a password may have characters that a cookie cannot.
        self._secret = hmac.new(token.encode(), b"forametric review", "sha256").hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse or redirect a request, or pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        answer = await self._authenticate(request)
        await (answer or self.app)(scope, receive, send)

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
        return problem(
            401,
            "a token is needed: in the cookie that the opening link gives, or as "
            "Authorization: Bearer TOKEN.",
            {"WWW-Authenticate": "Bearer"},
        )

    def _log_in(self, request: Request) -> Response:
        answer = RedirectResponse("/", 303)
        # "lax": the link works from a mail. Everything that changes data is a POST, with which
        # pages of other sites send no cookie.
        answer.set_cookie(
            _cookie(request),
            self._secret,
            max_age=MONTH,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
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


def _login_page(message: str, status: int) -> Response:
    return HTMLResponse(render("login.html", title="Forametric", message=message), status)


async def _body(request: Request, most: int) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > most:
            break
    return body[:most]
