"""The web application: routes, access, errors and the page; `/api/openapi.json` describes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response

from forametric._version import __version__
from forametric.errors import ForametricError, NotFoundError
from forametric.server.access.middleware import Access, Authentication, too_many_attempts
from forametric.server.access.requirements import requirements
from forametric.server.access.roles import ForbiddenError
from forametric.server.access.throttle import TooManyAttemptsError
from forametric.server.responses import PROBLEMS, problem
from forametric.server.routes import accounts, decisions, morphotypes, results, specimens
from forametric.server.schemas import ProjectLink
from forametric.server.security import RequestChecks
from forametric.server.session import ReviewSession

STATIC = Path(__file__).parent / "static"


def make_app(session: ReviewSession, access: Access, *, loopback: bool = True) -> FastAPI:
    """The application for one session.

    Parameters
    ----------
    access : Access
        Who may use it.
    loopback : bool
        Whether it answers only to the names of this machine.
    """
    app = _with_page(make_interface(), access)
    app.state.session = session
    return _protected(app, access, loopback)


def make_lab_app(
    sessions: Mapping[str, ReviewSession], access: Access, *, loopback: bool = True
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
        app.mount(f"/projects/{name}", project)
    return _protected(_with_page(app, access), access, loopback)


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

    @app.exception_handler(ForametricError)
    async def _refused(_: Request, error: ForametricError) -> Response:
        return problem(400, str(error))

    @app.exception_handler(ForbiddenError)
    async def _forbidden(_: Request, error: ForbiddenError) -> Response:
        return problem(403, str(error))

    @app.exception_handler(NotFoundError)
    async def _not_found(_: Request, error: NotFoundError) -> Response:
        return problem(404, str(error))

    @app.exception_handler(TooManyAttemptsError)
    async def _wait(_: Request, error: TooManyAttemptsError) -> Response:
        return too_many_attempts(error)

    return app


def _protected(app: FastAPI, access: Access, loopback: bool) -> FastAPI:
    """The application behind the checks; the one added last is the first to see a request."""
    app.add_middleware(Authentication, access=access)
    app.add_middleware(RequestChecks, loopback=loopback)
    return app


def _operation_id(route: APIRoute) -> str:
    return f"{route.tags[0]}_{route.name}"
