"""Start the server and open the page in a browser."""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable
from types import FrameType
from urllib.parse import quote

import uvicorn
from starlette.types import ASGIApp

from forametric.errors import InputError
from forametric.server.app import STATIC, make_app
from forametric.server.connections import (
    BACKLOG,
    LimitedProtocol,
    TroubleReporter,
    connection_limit,
)
from forametric.server.request_checks import LOOPBACK, PublicAddress
from forametric.server.session import ReviewSession

ANSWER_SECONDS, STOP_SECONDS = 10, 5  # at the end: for answers under way; for long work
MIN_TOKEN = 12  # characters, on a host that others can reach


def checked_token(host: str, given: str, proxy: PublicAddress | None = None) -> str:
    """The token as given, or a new random one.

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
            f"characters in the environment variable FORAMETRIC_TOKEN."
        )
    return given or secrets.token_urlsafe(24)


class Server(uvicorn.Server):
    """A server of one session, which it closes.

    The first signal ends it in order: answers are finished and training is asked to stop, each for
    some seconds. A second signal ends it at once.
    """

    def __init__(self, config: uvicorn.Config, session: ReviewSession) -> None:
        super().__init__(config)
        self._session = session

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish answers, then close the session."""
        await super().shutdown(sockets)
        await asyncio.to_thread(self._session.close, STOP_SECONDS)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the first signal; obey the second."""
        if self.should_exit:
            self._session.kill()
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        super().handle_exit(sig, frame)


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
    """Serve a session until Ctrl-C or SIGTERM.

    Parameters
    ----------
    port : int
        0 for any free port.
    browser : bool
        Whether to open the page.
    report : callable
        Is given the link that opens the page.
    proxy : PublicAddress, optional
        Where a proxy on this machine serves the page.

    Raises
    ------
    InputError
        When the port is in use, or the page was not built into the package.
    """
    if not (STATIC / "index.html").is_file():
        raise InputError(
            "this installation has no review page; install Forametric again with pip, which "
            "builds it (in a checkout: pip install -e .)."
        )
    listening = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = str(proxy or f"http://{shown}:{listening.getsockname()[1]}")
    link = f"{address}/?token={quote(token)}"
    app = make_app(session, token, loopback=host in LOOPBACK, proxy=proxy)
    server = Server(_configuration(app, behind_proxy=proxy is not None), session)
    report(link)
    if browser:
        threading.Timer(0.5, webbrowser.open, [link]).start()
    try:
        asyncio.run(_run(server, listening))
    finally:
        session.close()


def _listen(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        raise InputError(
            f"{host}:{port} cannot be used: {error.strerror}; --port 0 takes any free port."
        ) from None
    return listening


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
