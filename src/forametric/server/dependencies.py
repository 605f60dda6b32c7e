"""What FastAPI passes to the routes."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request

from forametric.server.session import ReviewSession


def session_of(request: Request) -> ReviewSession:
    """The session that `make_app` was given."""
    return cast(ReviewSession, request.app.state.session)


Session = Annotated[ReviewSession, Depends(session_of)]
