"""Morphotypes: proposed groups of specimens, changed and named by reviewers."""

from __future__ import annotations

from fastapi import APIRouter

from forametric.review.views import MorphotypeView
from forametric.server import schemas
from forametric.server.access.requirements import CallerOf, requires
from forametric.server.access.roles import Role
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


@router.get(
    "/morphotypes",
    response_model=list[schemas.Morphotype],
    dependencies=requires(Role.VIEWER),
)
def morphotypes(session: Session) -> list[MorphotypeView]:
    """All morphotypes, the unnamed ones first, the largest first."""
    return session.morphotypes.list()


@router.post("/morphotypes", dependencies=requires(Role.CURATOR, "morphotypes proposed"))
def discover(session: Session, caller: CallerOf, body: ReviewerRequest) -> JobStarted:
    """Group the unknown specimens; the new morphotypes replace the present ones."""
    return JobStarted(started=session.discover(caller.acting_as(body.reviewer)))


@router.post("/morphotypes/move", dependencies=requires(Role.CURATOR, "morphotype changed"))
def move(session: Session, caller: CallerOf, body: MoveRequest) -> MorphotypeChanged:
    """Move specimens into a morphotype, out of all, or into a new one."""
    number = session.morphotypes.move(
        caller.acting_as(body.reviewer), body.specimens, body.morphotype
    )
    return MorphotypeChanged(number=number)


@router.post("/morphotypes/merge", dependencies=requires(Role.CURATOR, "morphotypes merged"))
def merge(session: Session, caller: CallerOf, body: MergeRequest) -> MorphotypeChanged:
    """Merge morphotypes into the first of them."""
    return MorphotypeChanged(
        number=session.morphotypes.merge(caller.acting_as(body.reviewer), body.morphotypes)
    )


@router.post("/morphotypes/undo", dependencies=requires(Role.CURATOR, "morphotype step undone"))
def undo(session: Session, caller: CallerOf, body: ReviewerRequest) -> schemas.MorphotypeUndone:
    """Undo the reviewer's last step with morphotypes, and the decisions that it made."""
    return session.undo_morphotype(caller.acting_as(body.reviewer))


@router.post("/morphotypes/{number}/split", dependencies=requires(Role.CURATOR, "morphotype split"))
def split(
    session: Session, caller: CallerOf, number: MorphotypeNumber, body: ReviewerRequest
) -> MorphotypeChanged:
    """Split a morphotype in two; the smaller part becomes a new one."""
    return MorphotypeChanged(
        number=session.morphotypes.split(caller.acting_as(body.reviewer), number)
    )


@router.post("/morphotypes/{number}/name", dependencies=requires(Role.CURATOR, "morphotype named"))
def name(
    session: Session, caller: CallerOf, number: MorphotypeNumber, body: NameRequest
) -> schemas.MorphotypeNamed:
    """Give all specimens of a morphotype a name, known or new; they become references."""
    return session.name_morphotype(caller.acting_as(body.reviewer), number, body.name)
