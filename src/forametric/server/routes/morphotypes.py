"""Morphotypes: proposed groups of specimens, changed and named by reviewers."""

from __future__ import annotations

from fastapi import APIRouter

from forametric.review.views import MorphotypeView
from forametric.server import schemas
from forametric.server.dependencies import Session
from forametric.server.schemas import (
    JobStarted,
    MergeRequest,
    MorphotypeChanged,
    MorphotypeNumber,
    MoveRequest,
    NameRequest,
    ReviewerRequest,
)

router = APIRouter(tags=["morphotypes"])


@router.get("/morphotypes", response_model=list[schemas.Morphotype])
def morphotypes(session: Session) -> list[MorphotypeView]:
    """All morphotypes, the unnamed ones first, the largest first."""
    return session.morphotypes.list()


@router.post("/morphotypes")
def discover(session: Session, body: ReviewerRequest) -> JobStarted:
    """Group the specimens without a name; the new morphotypes replace the present ones."""
    return JobStarted(started=session.discover(body.reviewer))


@router.post("/morphotypes/move")
def move(session: Session, body: MoveRequest) -> MorphotypeChanged:
    """Move specimens into a morphotype, out of all, or into a new one."""
    number = session.morphotypes.move(body.reviewer, body.specimens, body.morphotype)
    return MorphotypeChanged(number=number)


@router.post("/morphotypes/merge")
def merge(session: Session, body: MergeRequest) -> MorphotypeChanged:
    """Merge morphotypes into the first of them."""
    return MorphotypeChanged(number=session.morphotypes.merge(body.reviewer, body.morphotypes))


@router.post("/morphotypes/undo")
def undo(session: Session, body: ReviewerRequest) -> schemas.MorphotypeUndone:
    """Undo the reviewer's last step with morphotypes, and the decisions that it made."""
    return session.undo_morphotype(body.reviewer)


@router.post("/morphotypes/{number}/split")
def split(session: Session, number: MorphotypeNumber, body: ReviewerRequest) -> MorphotypeChanged:
    """Split a morphotype in two; the smaller part becomes a new one."""
    return MorphotypeChanged(number=session.morphotypes.split(body.reviewer, number))


@router.post("/morphotypes/{number}/name")
def name(session: Session, number: MorphotypeNumber, body: NameRequest) -> schemas.MorphotypeNamed:
    """Give all specimens of a morphotype a name, known or new; they become references."""
    return session.name_morphotype(body.reviewer, number, body.name)
