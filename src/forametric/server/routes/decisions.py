"""The queue, the decisions, and the agreement between reviewers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from forametric.server import schemas
from forametric.server.access.requirements import CallerOf, requires
from forametric.server.access.roles import Role
from forametric.server.dependencies import Session
from forametric.server.schemas import (
    DecisionBatch,
    Reviewer,
    ReviewerRequest,
    SpecimenId,
)

router = APIRouter(tags=["decisions"])


@router.get("/queue", dependencies=requires(Role.REVIEWER))
def queue(
    session: Session,
    caller: CallerOf,
    reviewer: Annotated[Reviewer, Query()],
    count: Annotated[int, Query(ge=1, le=100)] = 20,
    exclude: Annotated[
        list[SpecimenId] | None,
        Query(max_length=200, description="Specimens that the page shows already."),
    ] = None,
) -> schemas.QueueBatch:
    """The specimens that a reviewer should see next.

    They are reserved for the reviewer for two minutes, as are those to exclude.
    """
    return session.next_batch(caller.acting_as(reviewer), count, exclude or [])


@router.post("/decisions", dependencies=requires(Role.REVIEWER, "decisions"))
def record(session: Session, caller: CallerOf, body: DecisionBatch) -> schemas.DecisionsRecorded:
    """Record decisions; once this answers, they are on the disk."""
    caller.acting_as(body.reviewer)
    caller.detail = str(len(body.decisions))
    return session.record(body)


@router.post("/decisions/undo", dependencies=requires(Role.REVIEWER, "undo"))
def undo(session: Session, caller: CallerOf, body: ReviewerRequest) -> schemas.DecisionsUndone:
    """Undo what the reviewer recorded last; what was recorded together is undone together."""
    return session.undo(caller.acting_as(body.reviewer))


@router.get("/agreement", dependencies=requires(Role.VIEWER))
def agreement(session: Session) -> schemas.Agreement:
    """How far reviewers agree, and the specimens on which they differ."""
    return session.agreement()
