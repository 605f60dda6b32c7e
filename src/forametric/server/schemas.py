"""What goes over the wire: the bodies of requests, the kinds of answers, and why one is refused."""

from __future__ import annotations

import json
import struct
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

Id = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[\w.-]+$")]
# No control characters, and none of the signs that stand around verdicts and between reviewers.
PLAIN = r"^[^\x00-\x1f<>|\x7f-\x9f]*$"
Name = Annotated[str, Field(max_length=120, pattern=PLAIN)]
Reviewer = Annotated[str, Field(min_length=1, max_length=60, pattern=PLAIN)]
Group = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Body(BaseModel):
    """A request: what is not asked for is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Said(Body):
    """One verdict on one specimen."""

    specimen: Id
    verdict: Literal["taxon", "unknown", "none", "duplicate", "skip"]
    taxon: Name = ""
    suggested: Name | None = None
    probability: Annotated[float, Field(ge=0, le=1)] | None = None


class Decided(Body):
    """A reviewer's verdicts, kept all or none."""

    reviewer: Reviewer
    decisions: Annotated[list[Said], Field(min_length=1, max_length=5000)]


class By(Body):
    """Who asks."""

    reviewer: Reviewer


class Moved(By):
    """Specimens to be put into a group; 0 is none, and without one they begin a new group."""

    specimens: Annotated[list[Id], Field(min_length=1, max_length=5000)]
    group: Group | None = None


class Merged(By):
    """Groups that are one: all become the first."""

    groups: Annotated[list[Group], Field(min_length=2, max_length=100)]


class Named(By):
    """What a group is called."""

    name: Annotated[Name, Field(min_length=1)]


class Switch(Body):
    """The model that should name the specimens."""

    model: Annotated[int, Field(ge=0, le=1000)]


class Problem(BaseModel):
    """Why a request was refused, in one sentence."""

    detail: Any


ANSWERS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "description": says}
    for code, says in (
        (400, "it cannot be done; the sentence says why"),
        (401, "no token"),
        (403, "another origin or host"),
        (404, "there is no such thing"),
        (411, "a body of unknown length"),
        (413, "too large"),
    )
}


def started(begun: bool) -> dict[str, bool]:
    """The answer to a request for long work: whether it was begun, or is under way already."""
    return {"started": begun}


def kept(data: bytes) -> Response:
    """A picture that the browser may keep: an id never means another picture."""
    kept = {"Cache-Control": "private, max-age=86400"}
    return Response(data, media_type="image/jpeg", headers=kept)


def packed(about: dict[str, Any], values: np.ndarray[Any, Any], kind: str) -> Response:
    """Numbers with a JSON text before them, as `/columns` describes."""
    text = json.dumps(about, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 4)
    data = struct.pack("<I", len(text)) + text + np.ascontiguousarray(values).astype(kind).tobytes()
    return Response(data, media_type="application/octet-stream")


def binary(says: str) -> dict[int | str, dict[str, Any]]:
    """In the description of the interface: bytes."""
    return {200: {"description": says, "content": {"application/octet-stream": {}}}}


def a_picture() -> dict[int | str, dict[str, Any]]:
    """In the description of the interface: a JPEG."""
    return {200: {"description": "a JPEG", "content": {"image/jpeg": {}}}}


def a_page() -> dict[int | str, dict[str, Any]]:
    """In the description of the interface: a page."""
    return {200: {"description": "a page", "content": {"text/html": {}}}}
