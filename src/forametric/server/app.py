"""The web application: routes, access, errors and the page; `/api/openapi.json` describes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles

from forametric._version import __version__
from forametric.server.access.middleware import Access, Authentication
from forametric.server.access.requirements import requirements
from forametric.server.problems import LastResort, add_handlers
from forametric.server.request_checks import PublicAddress, RequestChecks
from forametric.server.responses import PROBLEMS
from forametric.server.routes import accounts, decisions, morphotypes, results, specimens
from forametric.server.schemas import ProjectLink
from forametric.server.session import ReviewSession

STATIC = Path(__file__).parent / "static"


def make_app(
    session: ReviewSession,
    access: Access,
    *,
    loopback: bool = True,
    proxy: PublicAddress | None = None,
) -> FastAPI:
    """The application for one session.

    Parameters
    ----------
    access : Access
        Who may use it.
    loopback : bool
        Whether it answers only to the names of this machine.
    proxy : PublicAddress, optional
        Where a proxy serves the page.
    """
    app = _with_page(make_interface(), access)
    app.state.session = session
    return _protected(app, access, loopback, proxy)


def make_lab_app(
    sessions: Mapping[str, ReviewSession],
    access: Access,
    *,
    loopback: bool = True,
    proxy: PublicAddress | None = None,
) -> FastAPI:
    """The application for several projects: a page that lists them, and the page of each.

    Parameters
    ----------
    sessions : mapping
        By the name of the project, which is part of its address.
    """
    app = _interface(accounts.router)
    app.state.projects = [
        ProjectLink(name=name, path=f"/projects/{name}/") for name in sorted(sessions)
    ]
    for name, session in sessions.items():
        project = _with_page(make_interface(), access)
        project.state.session = session
        project.add_middleware(LastResort)  # before the one that FastAPI gives each application
        app.mount(f"/projects/{name}", project)
    return _protected(_with_page(app, access), access, loopback, proxy)


def make_interface() -> FastAPI:
    """The routes and their description alone, without a session."""
    modules = (specimens, decisions, morphotypes, results, accounts)
    return _interface(*(module.router for module in modules))


def _interface(*routers: APIRouter) -> FastAPI:
    app = FastAPI(
        title="Forametric review",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        generate_unique_id_function=_operation_id,
    )
    requirements(*routers)  # refuses a route without a role
    for router in routers:
        app.include_router(router, prefix="/api", responses=PROBLEMS)

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


def _with_page(app: FastAPI, access: Access) -> FastAPI:
    """The application with the page, and with sentences for errors."""
    app.state.access = access
    if STATIC.is_dir():
        app.mount("/", StaticFiles(directory=STATIC, html=True))

    add_handlers(app)
    return app


def _protected(
    app: FastAPI, access: Access, loopback: bool, proxy: PublicAddress | None
) -> FastAPI:
    """The application behind the checks; the one added last is the first to see a request."""
    app.add_middleware(Authentication, access=access)
    app.add_middleware(RequestChecks, loopback=loopback, proxy=proxy)
    app.add_middleware(LastResort)
    return app


def _operation_id(route: APIRoute) -> str:
    return f"{route.tags[0]}_{route.name}"
