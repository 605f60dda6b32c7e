"""Start the server and open the page in a browser."""

from __future__ import annotations

import socket
import threading
import webbrowser
from collections.abc import Callable, Mapping

import uvicorn
from fastapi import FastAPI

from forametric.errors import InputError
from forametric.server.access.accounts import Accounts, SingleUser
from forametric.server.access.database import AccessDatabase
from forametric.server.access.middleware import Access
from forametric.server.app import STATIC, make_app, make_lab_app
from forametric.server.security import LOOPBACK
from forametric.server.session import ReviewSession

MIN_TOKEN = 12  # characters, on a host that others can reach


def checked_token(host: str, given: str) -> str:
    """The token as given; "" for none, so that only the link opens the page.

    Raises
    ------
    InputError
        When others can reach the host and could guess the token.
    """
    if host not in LOOPBACK and len(given) < MIN_TOKEN:
        raise InputError(
            f"others can reach a server on {host}: give a token of at least {MIN_TOKEN} "
            f"characters in the environment variable FORAMETRIC_TOKEN, or give everybody an "
            f"account: forametric serve."
        )
    return given


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
) -> None:
    """Serve a session to one user until Ctrl-C.

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

    Raises
    ------
    InputError
        When the port is in use, or the page was not built into the package.
    """
    listening, address = _listen(host, port)

    def announce(code: str) -> None:
        report(f"{address}/?code={code}")

    database = AccessDatabase.temporary()
    access = Access(SingleUser(token), database, announce)
    app = make_app(session, access, loopback=host in LOOPBACK)
    code = access.new_code()
    announce(code)
    if browser:
        threading.Timer(0.5, webbrowser.open, [f"{address}/?code={code}"]).start()
    try:
        _run(app, listening)
    finally:
        session.close()
        database.close()


def serve_lab(
    sessions: Mapping[str, ReviewSession],
    accounts: Accounts,
    *,
    host: str,
    port: int,
    report: Callable[[str], None],
) -> None:
    """Serve several projects to the users who have accounts, until Ctrl-C.

    Parameters
    ----------
    sessions : mapping
        By the name of the project, which is part of its address.
    report : callable
        Is given the address of the server.

    Raises
    ------
    InputError
        When the port is in use, or the page was not built into the package.
    """
    listening, address = _listen(host, port)
    access = Access(accounts, accounts.database)
    app = make_lab_app(sessions, access, loopback=host in LOOPBACK)
    report(address)
    try:
        _run(app, listening)
    finally:
        for session in sessions.values():
            session.close()
        accounts.database.close()


def _listen(host: str, port: int) -> tuple[socket.socket, str]:
    """A socket on a port, and the address of the page."""
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
    return listening, f"http://{shown}:{listening.getsockname()[1]}"


def _run(app: FastAPI, listening: socket.socket) -> None:
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    server.run(sockets=[listening])
