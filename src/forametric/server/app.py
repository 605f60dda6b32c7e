"""The web application: routes, access, errors and the page; `/api/openapi.json` describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles

from forametric._version import __version__
from forametric.server.problems import LastResort, add_handlers
from forametric.server.request_checks import PublicAddress, RequestChecks
from forametric.server.responses import PROBLEMS
from forametric.server.routes import decisions, morphotypes, results, specimens
from forametric.server.security import Access
from forametric.server.session import ReviewSession

STATIC = Path(__file__).parent / "static"


def make_app(
    session: ReviewSession,
    token: str,
    *,
    loopback: bool = True,
    proxy: PublicAddress | None = None,
) -> FastAPI:
    """The application for one session.

    Parameters
    ----------
    token : str
        What a client has to know; see `forametric.server.security`.
    loopback : bool
        Whether it answers only to the names of this machine.
    proxy : PublicAddress, optional
        Where a proxy serves the page.
    """
    app = make_interface()
    app.state.session = session
    # The one added last is the first to see a request.
    app.add_middleware(Access, token=token)
    app.add_middleware(RequestChecks, loopback=loopback, proxy=proxy)
    app.add_middleware(LastResort)
    if STATIC.is_dir():
        app.mount("/", StaticFiles(directory=STATIC, html=True))
    add_handlers(app)
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
