"""The web application: routes, access, errors and the page; `/api/openapi.json` describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles

from forametric._version import __version__
from forametric.errors import ForametricError, NotFoundError, StoreBusyError
from forametric.server.responses import PROBLEMS
from forametric.server.routes import decisions, morphotypes, results, specimens
from forametric.server.security import Access
from forametric.server.session import ReviewSession

STATIC = Path(__file__).parent / "static"


def make_app(session: ReviewSession, token: str, *, loopback: bool = True) -> FastAPI:
    """The application for one session.

    Parameters
    ----------
    token : str
        What a client has to know; see `forametric.server.security`.
    loopback : bool
        Whether it answers only to the names of this machine.
    """
    app = make_interface()
    app.state.session = session
    app.add_middleware(Access, token=token, loopback=loopback)
    if STATIC.is_dir():
        app.mount("/", StaticFiles(directory=STATIC, html=True))

    @app.exception_handler(ForametricError)
    async def _refused(_: Request, error: ForametricError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 400)

    @app.exception_handler(StoreBusyError)  # the page sends again what has not arrived
    async def _busy(_: Request, error: StoreBusyError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 503)

    @app.exception_handler(NotFoundError)
    async def _not_found(_: Request, error: NotFoundError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 404)

    return app


def make_interface() -> FastAPI:
    """The routes and their description alone, without a session."""
    app = FastAPI(
        title="Forametric review",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        generate_unique_id_function=_operation_id,
    )
    for module in (specimens, decisions, morphotypes, results):
        app.include_router(module.router, prefix="/api", responses=PROBLEMS)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
            schemes = {"token": {"type": "http", "scheme": "bearer"}}
            schema.setdefault("components", {})["securitySchemes"] = schemes
            schema["security"] = [{"token": []}]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def _operation_id(route: APIRoute) -> str:
    return f"{route.tags[0]}_{route.name}"
