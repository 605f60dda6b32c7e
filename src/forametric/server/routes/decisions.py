"""The queue, the decisions, and the agreement between reviewers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from forametric.server import schemas
from forametric.server.dependencies import Session
from forametric.server.schemas import (
    DecisionBatch,
    Reviewer,
    ReviewerRequest,
    SpecimenId,
)

router = APIRouter(tags=["decisions"])


@router.get("/queue", response_model=schemas.QueueBatch)
def queue(
    session: Session,
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
    return session.next_batch(reviewer, count, exclude or [])


@router.post("/decisions")
def record(session: Session, body: DecisionBatch) -> schemas.DecisionsRecorded:
    """Record decisions; once this answers, they are on the disk."""
    return session.record(body)


@router.post("/decisions/undo")
def undo(session: Session, body: ReviewerRequest) -> schemas.DecisionsUndone:
    """Undo what the reviewer recorded last; what was recorded together is undone together."""
    return session.undo(body.reviewer)


@router.get("/agreement")
def agreement(session: Session) -> schemas.Agreement:
    """How far reviewers agree, and the specimens on which they differ."""
    return session.agreement()
