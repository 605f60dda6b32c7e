"""Middleware that knows who makes a request, and answers those who are not logged in.

A browser logs in with the one-time code of a link, with a name and a password, or with a token. It
is given a session (`forametric.server.access.sessions`). Scripts send a token with each request.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from urllib.parse import parse_qs

from anyio import CapacityLimiter, to_thread
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forametric.server.access.accounts import People, account_key
from forametric.server.access.database import AccessDatabase
from forametric.server.access.log import AccessLog
from forametric.server.access.requirements import KEY_HEADER
from forametric.server.access.roles import Account, Caller
from forametric.server.access.secrets import Codes
from forametric.server.access.sessions import LONGEST_SECONDS, Sessions
from forametric.server.access.throttle import Throttle, TooManyAttemptsError
from forametric.server.responses import problem
from forametric.utils.html import render

MAX_FORM = 8192  # bytes
PAGE_PATH = re.compile(r"/(projects/[\w.-]+/)?")
MOST_LOG_INS = 2  # at a time; each takes 64 MiB
LINK_SECONDS = 5  # between two links that visitors ask for


class Access:
    """Everything that decides who may use a server.

    Parameters
    ----------
    people : People
        Who may log in.
    database : AccessDatabase
        Where sessions are kept, and the log.
    announce : callable, optional
        Shows the one-time code of a link to the person who started the server. Without it, no
        code is ever made.
    """

    def __init__(
        self,
        people: People,
        database: AccessDatabase,
        announce: Callable[[str], None] | None = None,
    ) -> None:
        self.people, self.database = people, database
        self.sessions, self.throttle = Sessions(database), Throttle()
        self.log = AccessLog(database) if people.have_names else None
        self._announce, self._codes = announce, Codes()
        self._next_link = 0.0

    @property
    def has_links(self) -> bool:
        """Whether a browser can be opened by a link."""
        return self._announce is not None

    def new_code(self) -> str:
        """A code that opens one session."""
        return self._codes.new()

    def announce_link(self) -> None:
        """Show another link where the server was started, unless that was just done."""
        if self._announce and time.monotonic() >= self._next_link:
            self._next_link = time.monotonic() + LINK_SECONDS
            self._announce(self.new_code())

    def with_code(self, code: str, address: str) -> Account | None:
        """The account for the code of a link."""
        return self.people.find("") if self._codes.spend(code) else None

    def with_password(self, name: str, password: str, address: str) -> Account | None:
        """The account for a name and a password.

        Raises
        ------
        TooManyAttemptsError
            After failures; the password is not looked at.
        """
        if not self.people.have_names:
            return self.with_token(password, address)
        key = account_key(name)
        self.throttle.check(address, key)
        account = self.people.verify(name, password)
        if account:
            self.throttle.succeeded(address, key)
        else:
            self.throttle.failed(address, key)
            # A name that nobody has may be a password typed into the wrong field.
            known = self.people.find(name)
            self.note("failed log-in", known.name if known else "", address)
        return account

    def with_token(self, token: str, address: str) -> Account | None:
        """The account for the token of a script.

        Raises
        ------
        TooManyAttemptsError
            After failures. A right token that cannot be guessed is accepted all the same: others
            at this address may have failed.
        """
        if self.people.can_guess_token:
            self.throttle.check(address)
        account = self.people.by_token(token)
        if account is None:
            self.throttle.check(address)
            self.throttle.failed(address)
        return account

    def note(self, action: str, user: str, address: str, detail: str = "") -> None:
        """Add an entry to the log, on a server with accounts."""
        if self.log:
            self.log.add(action, user=user, address=address, detail=detail)


class Authentication:
    """The middleware; see the module."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access
        # Those who wait hold no thread; the delays are looked at when it is their turn.
        self._log_ins = CapacityLimiter(MOST_LOG_INS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request to log in or without a log-in, and pass others on with their caller."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        caller = None
        try:
            answer = await self._log_in_or_out(request)
            if answer is None:
                caller = await run_in_threadpool(self._caller, request)
        except TooManyAttemptsError as error:
            answer = too_many_attempts(error)
        if caller:
            request.state.caller = caller
            await self.app(scope, receive, self._logging(scope, caller, send))
        else:
            await (answer or self._refusal(request))(scope, receive, send)

    # Who it is

    def _caller(self, request: Request) -> Caller | None:
        address = _address(request)
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            account = self.access.with_token(token.strip(), address)
            return Caller(account, address) if account else None
        cookie = request.cookies.get(_cookie_name(request), "")
        session = self.access.sessions.find(cookie) if cookie else None
        account = self.access.people.find(session.user) if session else None
        if session is None or account is None:
            return None
        has_key = session.has_key(request.headers.get(KEY_HEADER, ""))
        opens_page = request.method == "GET" and request.headers.get("sec-fetch-dest") == "document"
        if opens_page or (has_key and request.method != "GET"):  # not what an open page asks for
            self.access.sessions.touch(cookie, session)
        return Caller(account, address, cookie, has_key)

    def _refusal(self, request: Request) -> Response:
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return self._page("", 401, _local_path(request.scope["path"]))
        return problem(
            401,
            "not logged in: open the page and log in, or send Authorization: Bearer TOKEN.",
            {"WWW-Authenticate": "Bearer"},
        )

    # Log-in

    async def _log_in_or_out(self, request: Request) -> Response | None:
        path, method = request.scope["path"], request.method
        if path == "/" and method == "GET" and "code" in request.query_params:
            return await self._with_code(request)
        if path == "/login" and method == "GET":
            return self._page("", 200, _local_path(request.query_params.get("next", "/")))
        if path == "/login" and method == "POST":
            return await self._with_form(request)
        if path == "/login/link" and method == "POST" and self.access.has_links:
            self.access.announce_link()
            return self._page("The link is shown where the server was started.", 200)
        return None

    async def _with_code(self, request: Request) -> Response:
        code = request.query_params["code"]
        account = self.access.with_code(code, _address(request))
        if account:
            return await run_in_threadpool(self._begin, request, account)
        if await run_in_threadpool(self._caller, request):
            return RedirectResponse("/", 303)  # the link was opened twice
        return self._page("This link was used already, or is older than ten minutes.", 401)

    async def _with_form(self, request: Request) -> Response:
        form = parse_qs((await _body(request)).decode("utf-8", "replace"))
        name, password, after = (form.get(f, [""])[0] for f in ("name", "password", "next"))
        after = _local_path(after)
        name = " ".join(name.split()) if self.access.people.have_names else ""
        try:
            account = await to_thread.run_sync(
                self.access.with_password, name, password, _address(request),
                limiter=self._log_ins,
            )  # fmt: skip
        except TooManyAttemptsError as error:
            answer = self._page(str(error).capitalize(), 429, after)
            answer.headers["Retry-After"] = str(error.seconds)
            return answer
        if account is None:
            what = "name or the password" if self.access.people.have_names else "token"
            return self._page(f"The {what} is wrong.", 401, after)
        return await run_in_threadpool(self._begin, request, account, after)

    def _begin(self, request: Request, account: Account, after: str = "/") -> Response:
        """Begin a session; the page finds its key behind the # of its address, and removes it."""
        name = _cookie_name(request)
        earlier = request.cookies.get(name)
        if earlier:
            self.access.sessions.end(earlier)
        cookie, key = self.access.sessions.begin(account.name)
        self.access.note("log-in", account.name, _address(request))
        answer = RedirectResponse(f"{after}#key={key}", 303)
        # "lax": a link in a mail opens the page. Nothing else follows from the cookie alone.
        answer.set_cookie(
            name, cookie, max_age=LONGEST_SECONDS, path="/", httponly=True, samesite="lax",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return answer

    def _page(self, message: str, status: int, next_path: str = "/") -> Response:
        people = self.access.people
        page = render(
            "login.html",
            title="Forametric",
            message=message,
            with_name=people.have_names,
            with_token=people.have_token,
            with_link=self.access.has_links,
            next=next_path,
        )
        return HTMLResponse(page, status)

    # The log

    def _logging(self, scope: Scope, caller: Caller, send: Send) -> Send:
        """Add an entry for what was done before the answer to it begins."""

        async def logged(message: Message) -> None:
            starts = message["type"] == "http.response.start"
            if starts and caller.action and message["status"] < 400 and self.access.log:
                await run_in_threadpool(
                    self.access.log.add,
                    caller.action,
                    user=caller.account.name,
                    address=caller.address,
                    project=scope.get("root_path", "").rpartition("/")[2],
                    detail=caller.detail,
                )
            await send(message)

        return logged


def too_many_attempts(error: TooManyAttemptsError) -> Response:
    """The answer to a client that has to wait."""
    return problem(429, str(error), {"Retry-After": str(error.seconds)})


def log_out(request: Request, access: Access, caller: Caller) -> Response:
    """End the session of a request and remove its cookie."""
    if caller.cookie:
        access.sessions.end(caller.cookie)
    answer = Response(status_code=204)
    answer.delete_cookie(_cookie_name(request), path="/", httponly=True, samesite="lax")
    return answer


def _cookie_name(request: Request) -> str:
    """The name has the port: a browser sends the cookies of one port of a host to all ports.

    The prefix, which browsers know, keeps other hosts of the domain from setting the cookie.
    """
    secure = request.url.scheme == "https"
    port = request.url.port or (443 if secure else 80)
    return f"{'__Host-' if secure else ''}forametric-{port}"


def _local_path(path: str) -> str:
    """A page of this server to open after the log-in; nothing else that a link may ask for.

    >>> _local_path("/projects/core/"), _local_path("//evil.example/")
    ('/projects/core/', '/')
    """
    return path if PAGE_PATH.fullmatch(path) else "/"


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_FORM:
            break
    return body[:MAX_FORM]
