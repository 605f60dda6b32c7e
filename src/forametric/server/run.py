"""Start the server and open the page."""

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
from forametric.server.session import Studio

LEAST_TOKEN = 12
LOCAL = ("127.0.0.1", "::1", "localhost")


def checked_token(host: str, given: str) -> str:
    """The token: as given, or made for this run; `InputError` when another host could guess it."""
    if host not in LOCAL and len(given) < LEAST_TOKEN:
        raise InputError(
            f"a server on {host} can be reached by others: give a token of at least {LEAST_TOKEN} "
            f"characters in the environment variable FORAMETRIC_TOKEN."
        )
    return given or secrets.token_urlsafe(24)


def serve(
    studio: Studio,
    *,
    host: str,
    port: int,
    token: str,
    browser: bool,
    say: Callable[[str], None],
) -> None:
    """Serve a project until Ctrl-C; `say` is given the link that opens the page.

    Parameters
    ----------
    port : int
        0 for any that is free.

    Raises
    ------
    InputError
        When the port is taken, or the page was not built into the package.
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
        raise InputError(f"{host}:{port} cannot be used: {error.strerror}; --port 0 takes any.") \
            from None  # fmt: skip
    shown = f"[{host}]" if ":" in host else host
    link = f"http://{shown}:{listening.getsockname()[1]}/?token={quote(token)}"
    app = make_app(studio, token, loopback=host in LOCAL)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    say(link)
    if browser:
        threading.Timer(0.5, webbrowser.open, [link]).start()
    try:
        server.run(sockets=[listening])
    finally:
        studio.close()
