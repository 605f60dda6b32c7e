"""What a client is told when a request fails, and what the log is told."""

from __future__ import annotations

import logging
import secrets

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy import exc
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forametric.errors import ForametricError, NotFoundError, StoreBusyError
from forametric.server.access.roles import ForbiddenError
from forametric.server.access.throttle import TooManyAttemptsError
from forametric.server.bounded_work import BusyError
from forametric.server.responses import Refusal, busy, problem

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
# The database of those who have access is locked.
DATABASE_ERRORS = (exc.OperationalError, exc.TimeoutError)
logger = logging.getLogger(__name__)


class LastResort:
    """The outermost middleware: headers for every answer, and an answer to every error.

    An unexpected error is logged once, with an id that the client is told. A client that has left
    is not an error.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and answer it where that fails."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except ClientDisconnect:
            return
        except DATABASE_ERRORS as error:  # of who has access, or before a route is reached
            if not begun:
                await _locked(error)(scope, receive, send_with_headers)
        except Exception:
            number = secrets.token_hex(4)
            path = scope["path"].encode("unicode_escape").decode()
            logger.exception("error %s in %s %s", number, scope["method"], path)
            if begun:  # uvicorn closes the connection of an answer that is not whole
                return
            detail = f"an unexpected error on the server; its log describes it as error {number}."
            await problem(500, detail)(scope, receive, send_with_headers)


def add_handlers(app: FastAPI) -> None:
    """Answer the errors that can be expected with a status and a sentence."""

    @app.exception_handler(ForametricError)
    async def _refused(_: Request, error: ForametricError) -> Refusal:
        return problem(400, str(error))

    @app.exception_handler(ForbiddenError)
    async def _forbidden(_: Request, error: ForbiddenError) -> Refusal:
        return problem(403, str(error))

    @app.exception_handler(TooManyAttemptsError)
    async def _wait(_: Request, error: TooManyAttemptsError) -> Refusal:
        return problem(429, str(error), {"Retry-After": str(error.seconds)})

    @app.exception_handler(NotFoundError)
    async def _not_found(_: Request, error: NotFoundError) -> Refusal:
        return problem(404, str(error))

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> Refusal:
        # Without the value as it was given: it may be a NaN or as large as the body.
        fields = [
            {name: found[name] for name in ("loc", "msg", "type")} for found in error.errors()
        ]
        return Refusal({"detail": fields}, 422)

    @app.exception_handler(StoreBusyError)  # nothing is recorded twice when it is sent again
    async def _store_busy(_: Request, error: StoreBusyError) -> Refusal:
        logger.warning("%s", error)
        return busy(str(error))

    @app.exception_handler(exc.OperationalError)
    @app.exception_handler(exc.TimeoutError)
    async def _access_busy(_: Request, error: exc.SQLAlchemyError) -> Refusal:
        return _locked(error)

    @app.exception_handler(BusyError)
    async def _busy(_: Request, error: BusyError) -> Refusal:
        return busy(str(error))


def _locked(error: exc.SQLAlchemyError) -> Refusal:
    logger.warning("the database of sessions is busy: %s", error.__cause__ or error)
    return busy("the database of sessions is busy; try again in a few seconds.")
