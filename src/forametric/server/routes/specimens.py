"""The project, its specimens, their images and their map, and uploaded images."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import Field

from forametric.errors import InputError
from forametric.review.views import IdentifiedImage, SimilarSpecimen, SpecimenView
from forametric.server import schemas
from forametric.server.access.requirements import requires
from forametric.server.access.roles import Role
from forametric.server.dependencies import Session
from forametric.server.responses import CONFLICT, JPEG, binary, cached_jpeg, pack_binary
from forametric.server.schemas import ModelNumber, SpecimenId

router = APIRouter(tags=["specimens"])
IMAGE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("/project", dependencies=requires(Role.VIEWER))
def project(session: Session) -> schemas.Project:
    """The project: its size, its taxa, and what can be shown and exported."""
    return session.project_summary()


@router.get("/status", dependencies=requires(Role.VIEWER))
def status(session: Session) -> schemas.Status:
    """The state of the server: progress, long work, and the model in use."""
    return session.status()


@router.get(
    "/map",
    response_class=Response,
    responses=binary("x and y, float32"),
    dependencies=requires(Role.VIEWER),
)
def coordinates(session: Session) -> Response:
    """The coordinates of all specimens in the order of the sheets, packed as `/column` describes.

    The JSON text has `ids`, and `model`, the number of the model whose map it is.
    """
    layout = session.map()
    return pack_binary({"ids": layout.ids, "model": layout.model}, layout.coordinates, "<f4")


@router.get(
    "/column",
    response_class=Response,
    responses=binary("codes or numbers"),
    dependencies=requires(Role.VIEWER),
)
def column(session: Session, name: Annotated[str, Query(max_length=1000)]) -> Response:
    """A column by which to color the map, in the order of `/map`.

    First the length of a JSON text (uint32); the text with `levels`, filled up with blanks to a
    multiple of four bytes; then for each specimen a uint16 code of its level, or a float32 where
    there are no levels. Little-endian.
    """
    found = session.column(name)
    return pack_binary({"levels": found.levels}, found.values, "<u2" if found.levels else "<f4")


@router.get(
    "/sheets/{number}",
    response_class=Response,
    responses=JPEG | CONFLICT,
    dependencies=requires(Role.VIEWER),
)
def sheet(
    session: Session,
    number: Annotated[int, Field(ge=0, le=10**6)],
    model: Annotated[
        ModelNumber | None,
        Query(description="The model whose map the sheet should follow; 409 when it is not in use"),
    ] = None,
) -> Response:
    """A sheet of thumbnails, in the order of `/map`."""
    data = session.sheet(number, model)
    if data is None:
        raise HTTPException(409, f"model {model} is not in use; ask for the map again.")
    return Response(data, media_type="image/jpeg")


@router.get(
    "/image",
    response_class=Response,
    responses=JPEG,
    dependencies=requires(Role.VIEWER, cookie_is_enough=True),
)
def image(
    session: Session,
    specimen: Annotated[SpecimenId, Query()],
    size: Literal["96", "160", "320", "640"] = "320",
) -> Response:
    """The image of a specimen or of a reference specimen, as a square JPEG."""
    return cached_jpeg(session.image(specimen, int(size)))


@router.get("/specimens", dependencies=requires(Role.VIEWER))
def search(
    session: Session, text: Annotated[str, Query(min_length=1, max_length=200)]
) -> schemas.SearchResult:
    """The specimens whose id, image, sample, label or taxon contains a text."""
    ids = session.workspace.search(text)
    return schemas.SearchResult(count=len(ids), ids=ids)


@router.get("/specimen", response_model=schemas.Specimen, dependencies=requires(Role.VIEWER))
def specimen(session: Session, specimen: Annotated[SpecimenId, Query()]) -> SpecimenView:
    """Everything known about a specimen, with its history of decisions."""
    return session.workspace.specimen(specimen)


@router.get(
    "/specimen/similar",
    response_model=list[schemas.SimilarSpecimen],
    dependencies=requires(Role.VIEWER),
)
def similar(session: Session, specimen: Annotated[SpecimenId, Query()]) -> list[SimilarSpecimen]:
    """The specimens most similar to one of the collection, the most similar first."""
    return session.workspace.similar_to(specimen)


@router.post(
    "/identifications",
    response_model=schemas.Identification,
    openapi_extra=IMAGE_BODY,
    dependencies=requires(Role.REVIEWER, "image identified"),
)
async def identify(request: Request, session: Session) -> IdentifiedImage:
    """Identify an image, sent as the body, and place it on the map."""
    with session.uploads.place(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        with path.open("wb") as file:
            async for part in request.stream():
                file.write(part)
        if not path.stat().st_size:
            raise InputError("the image is empty (0 bytes).")
        return await session.uploads.run(request, lambda: session.identify(path))
