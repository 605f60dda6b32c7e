"""What a route requires of its caller, declared once with the route."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.routing import APIRoute

from forametric.server.access.roles import Caller, Role

KEY_HEADER = "X-Forametric-Key"


@dataclass(frozen=True)
class Requirement:
    """The role that a route requires.

    Attributes
    ----------
    role : Role
    action : str
        The word for it in the log; empty for what is not logged.
    cookie_is_enough : bool
        Whether the key of the page is not needed: for images, which the browser requests.
    """

    role: Role
    action: str = ""
    cookie_is_enough: bool = False

    def __call__(self, request: Request) -> None:
        """Refuse a caller who lacks the role."""
        caller = caller_of(request)
        if not (caller.has_key or self.cookie_is_enough):
            raise HTTPException(401, "the page has lost the key of its session; log in again.")
        if not caller.account.role.includes(self.role):
            raise HTTPException(
                403, f"this needs the role {self.role}; yours is {caller.account.role}."
            )
        caller.action = self.action
        caller.detail = ", ".join(str(value) for value in request.path_params.values())


def requires(role: Role, action: str = "", *, cookie_is_enough: bool = False) -> list[Any]:
    """The `dependencies` of a route that requires a role."""
    return [Depends(Requirement(role, action, cookie_is_enough))]


def caller_of(request: Request) -> Caller:
    """Who makes a request; the middleware has found out."""
    return cast(Caller, request.state.caller)


CallerOf = Annotated[Caller, Depends(caller_of)]


def requirements(*routers: APIRouter) -> dict[tuple[str, str], Requirement]:
    """What each route requires, by method and path.

    Raises
    ------
    RuntimeError
        When a route declares nothing, or changes something and has no word for the log.
    """
    found: dict[tuple[str, str], Requirement] = {}
    for route in (route for router in routers for route in router.routes):
        if not isinstance(route, APIRoute):
            raise RuntimeError(f"{route} must be a route of its own, with a role.")
        calls = [one.call for one in route.dependant.dependencies]
        declared = [call for call in calls if isinstance(call, Requirement)]
        for method in sorted(route.methods or ()):
            if len(declared) != 1 or (method != "GET" and not declared[0].action):
                raise RuntimeError(f"{method} {route.path} must require one role, and be logged.")
            found[method, route.path] = declared[0]
    return found
