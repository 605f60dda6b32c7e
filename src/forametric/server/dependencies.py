"""What FastAPI passes to the routes."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request

from forametric.server.access.middleware import Access
from forametric.server.session import ReviewSession


def session_of(request: Request) -> ReviewSession:
    """The session that `make_app` was given."""
    return cast(ReviewSession, request.app.state.session)


def access_of(request: Request) -> Access:
    """What decides who may use the server."""
    return cast(Access, request.app.state.access)


Session = Annotated[ReviewSession, Depends(session_of)]
AccessOf = Annotated[Access, Depends(access_of)]
