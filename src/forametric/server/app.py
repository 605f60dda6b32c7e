"""The application: its routes, who may use them, and the page; `/api/openapi.json` describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from forametric._version import __version__
from forametric.errors import ForametricError, NotFoundError
from forametric.server.routes import decisions as deciding
from forametric.server.routes import morphotypes as grouping
from forametric.server.routes import results
from forametric.server.routes import specimens as looking
from forametric.server.schemas import ANSWERS
from forametric.server.security import Access
from forametric.server.session import Studio

STATIC = Path(__file__).parent / "static"


def make_app(studio: Studio, token: str, *, loopback: bool = True) -> FastAPI:
    """The application for one project.

    Parameters
    ----------
    token : str
        What a client has to know; see `forametric.server.security`.
    loopback : bool
        Whether it is reached under the names of this machine only.
    """
    app = FastAPI(
        title="Forametric review", version=__version__, docs_url=None, redoc_url=None,
        openapi_url="/api/openapi.json",
    )  # fmt: skip
    app.add_middleware(Access, token=token, loopback=loopback)
    for room in (looking, deciding, grouping, results):
        app.include_router(room.router_of(studio), prefix="/api", responses=ANSWERS)
    if STATIC.is_dir():
        app.mount("/", StaticFiles(directory=STATIC, html=True))

    @app.exception_handler(ForametricError)
    async def _refused(_: Request, error: ForametricError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 400)

    @app.exception_handler(NotFoundError)
    async def _absent(_: Request, error: NotFoundError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 404)

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
            schemes = {"token": {"type": "http", "scheme": "bearer"}}
            schema.setdefault("components", {})["securitySchemes"] = schemes
            schema["security"] = [{"token": []}]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]
    return app
