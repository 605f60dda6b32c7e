"""Start the server and open the page in a browser."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from forametric.errors import InputError
from forametric.server.access.accounts import Accounts, SingleUser
from forametric.server.access.database import AccessDatabase
from forametric.server.access.middleware import Access
from forametric.server.app import STATIC, make_app, make_lab_app
from forametric.server.connections import (
    BACKLOG,
    LimitedProtocol,
    TroubleReporter,
    connection_limit,
)
from forametric.server.request_checks import LOOPBACK, PublicAddress
from forametric.server.session import ReviewSession
from forametric.utils.malloc import return_freed_memory

ANSWER_SECONDS, STOP_SECONDS = 10, 5  # at the end: for answers under way; for long work
MIN_TOKEN = 12  # characters, on a host that others can reach


def checked_token(host: str, given: str, proxy: PublicAddress | None = None) -> str:
    """The token as given; "" for none, so that only the link opens the page.

    Raises
    ------
    InputError
        When others can reach the server and could guess the token.
    """
    if proxy and 0 < len(given) < MIN_TOKEN:
        raise InputError(
            f"others can reach {proxy}: FORAMETRIC_TOKEN needs at least {MIN_TOKEN} characters."
        )
    if host not in LOOPBACK and len(given) < MIN_TOKEN:
        raise InputError(
            f"others can reach a server on {host}: give a token of at least {MIN_TOKEN} "
            f"characters in the environment variable FORAMETRIC_TOKEN, or give everybody an "
            f"account: forametric serve."
        )
    return given


class Server(uvicorn.Server):
    """A server of sessions, which it closes, and of the people who have access.

    The first signal ends it in order: answers are finished and training is asked to stop, each for
    some seconds. A second signal ends it at once.

    Parameters
    ----------
    ready : callable
        Is called when it serves, and signals end it as they should.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        sessions: Sequence[ReviewSession],
        access: Access,
        ready: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._sessions, self._access, self._ready = sessions, access, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to serve, then say so: who reads it may send a signal at once."""
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish answers, then close everything: uvicorn passes SIGTERM on, which ends Python."""
        await super().shutdown(sockets)
        closing = (asyncio.to_thread(one.close, STOP_SECONDS) for one in self._sessions)
        await asyncio.gather(*closing)
        self._access.database.close()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the first signal; obey the second."""
        if self.should_exit:
            for session in self._sessions:
                session.kill()
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        super().handle_exit(sig, frame)


def refuse_without_users(accounts: Accounts) -> None:
    """Raise `InputError` when nobody could log in, before any long work."""
    if not accounts.list():
        path = accounts.database.path
        raise InputError(
            f"nobody could log in: {path} has no users; add one with: forametric users add "
            f'"YOUR NAME" --role admin --accounts {path}'
        )


def serve(
    session: ReviewSession,
    *,
    host: str,
    port: int,
    token: str,
    browser: bool,
    report: Callable[[str], None],
    proxy: PublicAddress | None = None,
) -> None:
    """Serve a session to whoever has the link or the token, until Ctrl-C or SIGTERM.

    Parameters
    ----------
    port : int
        0 for any free port.
    token : str
        What scripts send and what opens the page without a link; "" for none.
    browser : bool
        Whether to open the page.
    report : callable
        Is given the link that opens the page, and another one whenever that is asked for.
    proxy : PublicAddress, optional
        Where a proxy on this machine serves the page.

    Raises
    ------
    InputError
        When the port is in use, or the page was not built into the package.
    """
    listening, address = _listen(host, port, proxy)

    def announce(code: str) -> None:
        report(f"{address}/?code={code}")

    access = Access(SingleUser(token), AccessDatabase.temporary(), announce)
    app = make_app(session, access, loopback=host in LOOPBACK, proxy=proxy)

    def ready() -> None:
        code = access.new_code()
        announce(code)
        if browser:
            threading.Timer(0.5, webbrowser.open, [f"{address}/?code={code}"]).start()

    _serve(app, [session], access, listening, proxy, ready)


def serve_lab(
    sessions: Mapping[str, ReviewSession],
    accounts: Accounts,
    *,
    host: str,
    port: int,
    report: Callable[[str], None],
    proxy: PublicAddress | None = None,
) -> None:
    """Serve several projects to the users who have accounts, until Ctrl-C or SIGTERM.

    Parameters
    ----------
    sessions : mapping
        By the name of the project, which is part of its address.
    report : callable
        Is given the address of the server.
    proxy : PublicAddress, optional
        Where a proxy on this machine serves the pages.

    Raises
    ------
    InputError
        When the port is in use, or the page was not built into the package.
    """
    listening, address = _listen(host, port, proxy)
    access = Access(accounts, accounts.database)
    app = make_lab_app(sessions, access, loopback=host in LOOPBACK, proxy=proxy)
    opened = list(sessions.values())
    _serve(app, opened, access, listening, proxy, lambda: report(address))


def _serve(
    app: ASGIApp,
    sessions: Sequence[ReviewSession],
    access: Access,
    listening: socket.socket,
    proxy: PublicAddress | None,
    ready: Callable[[], None],
) -> None:
    return_freed_memory()
    server = Server(_configuration(app, behind_proxy=proxy is not None), sessions, access, ready)
    try:
        asyncio.run(_run(server, listening))
    finally:
        for session in sessions:
            session.close()
        access.database.close()


def _listen(host: str, port: int, proxy: PublicAddress | None) -> tuple[socket.socket, str]:
    """A socket on a port, and the address of the page."""
    if not (STATIC / "index.html").is_file():
        raise InputError(
            "this installation has no review page; install Forametric again with pip, which "
            "builds it (in a checkout: pip install -e .)."
        )
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        raise InputError(
            f"{host}:{port} cannot be used: {error.strerror}; --port 0 takes any free port."
        ) from None
    shown = f"[{host}]" if ":" in host else host
    return listening, str(proxy or f"http://{shown}:{listening.getsockname()[1]}")


def _configuration(app: ASGIApp, behind_proxy: bool) -> uvicorn.Config:
    """Limits for clients; who they are is taken from a proxy on this machine alone."""
    LimitedProtocol.limit = connection_limit()
    return uvicorn.Config(
        app,
        http=LimitedProtocol,
        ws="none",
        log_level="error",  # not a line for each request that is not valid
        access_log=False,
        proxy_headers=behind_proxy,
        forwarded_allow_ips=list(LOOPBACK),
        backlog=BACKLOG,
        timeout_graceful_shutdown=ANSWER_SECONDS,
    )


async def _run(server: Server, listening: socket.socket) -> None:
    asyncio.get_running_loop().set_exception_handler(TroubleReporter())
    await server.serve(sockets=[listening])
