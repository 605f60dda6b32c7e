"""Start the server and open the page in a browser."""

from __future__ import annotations

import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable
from urllib.parse import quote

import uvicorn

from forametric.errors import InputError
from forametric.server.app import STATIC, make_app
from forametric.server.request_checks import LOOPBACK
from forametric.server.session import ReviewSession

MIN_TOKEN = 12  # characters, on a host that others can reach


def checked_token(host: str, given: str) -> str:
    """The token as given, or a new random one.

    Raises
    ------
    InputError
        When others can reach the host and could guess the token.
    """
    if host not in LOOPBACK and len(given) < MIN_TOKEN:
        raise InputError(
            f"others can reach a server on {host}: give a token of at least {MIN_TOKEN} "
            f"characters in the environment variable FORAMETRIC_TOKEN."
        )
    return given or secrets.token_urlsafe(24)


def serve(
    session: ReviewSession,
    *,
    host: str,
    port: int,
    token: str,
    browser: bool,
    report: Callable[[str], None],
) -> None:
    """Serve a session until Ctrl-C.

    Parameters
    ----------
    port : int
        0 for any free port.
    browser : bool
        Whether to open the page.
    report : callable
        Is given the link that opens the page.

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
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        raise InputError(
            f"{host}:{port} cannot be used: {error.strerror}; --port 0 takes any free port."
        ) from None
    shown = f"[{host}]" if ":" in host else host
    link = f"http://{shown}:{listening.getsockname()[1]}/?token={quote(token)}"
    app = make_app(session, token, loopback=host in LOOPBACK)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    report(link)
    if browser:
        threading.Timer(0.5, webbrowser.open, [link]).start()
    try:
        server.run(sockets=[listening])
    finally:
        session.close()
