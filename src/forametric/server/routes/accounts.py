"""Who is logged in; the users of the server, and its log."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from forametric.errors import InputError
from forametric.server import schemas
from forametric.server.access.accounts import Accounts, UserRow
from forametric.server.access.log import LogEntry
from forametric.server.access.middleware import log_out as end_session
from forametric.server.access.requirements import CallerOf, requires
from forametric.server.access.roles import Role
from forametric.server.dependencies import AccessOf

router = APIRouter(tags=["accounts"])


@router.get("/account", dependencies=requires(Role.VIEWER))
def account(request: Request, caller: CallerOf) -> schemas.Account:
    """Who is logged in."""
    projects = getattr(request.app.state, "projects", None)
    return schemas.Account(name=caller.account.name, role=caller.account.role, projects=projects)


@router.post("/log-out", status_code=204, dependencies=requires(Role.VIEWER, "log-out"))
def log_out(request: Request, caller: CallerOf, access: AccessOf) -> Response:
    """End the session of this browser."""
    return end_session(request, access, caller)


@router.post(
    "/account/password", status_code=204, dependencies=requires(Role.VIEWER, "password changed")
)
def change_password(caller: CallerOf, access: AccessOf, body: schemas.PasswordChange) -> None:
    """Change one's own password; all of one's sessions end."""
    accounts, name = _accounts(access.people), caller.account.name
    if access.with_password(name, body.password, caller.address) is None:
        raise InputError("the present password is wrong.")
    accounts.set_password(name, body.new_password)


@router.get("/users", response_model=list[schemas.User], dependencies=requires(Role.ADMIN))
def users(access: AccessOf) -> list[UserRow]:
    """The users of the server, by name."""
    return _accounts(access.people).list()


@router.get("/log", response_model=list[schemas.LogEntry], dependencies=requires(Role.ADMIN))
def log(
    access: AccessOf,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="A number.")] = None,
    count: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> list[LogEntry]:
    """The last entries of the log before a number, the last first."""
    return access.log.entries(before, count) if access.log else []


def _accounts(people: object) -> Accounts:
    if not isinstance(people, Accounts):
        raise InputError("this server has no accounts; start one with: forametric serve")
    return people
