"""The map, pictures, search, and names for uploaded images."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from forametric._version import __version__
from forametric.data.exporters.exporting import FORMATS
from forametric.data.taxonomy import Taxonomy
from forametric.errors import InputError, NotFoundError
from forametric.review.thumbnails import ACROSS, PER_SHEET, THUMB, picture, sheet, sheets
from forametric.server.routes.results import TABLES
from forametric.server.schemas import Id, a_picture, binary, kept, packed
from forametric.server.session import Studio


def router_of(studio: Studio) -> APIRouter:
    """The map, pictures, search, and names for uploaded images."""
    router = APIRouter(tags=["look"])

    @router.get("/project")
    def project() -> dict[str, Any]:
        """What the page needs to begin with."""
        desk = studio.desk
        taxonomy = Taxonomy.load()
        return {
            "name": desk.shells.info.get("name") or studio.project.collection.name,
            "version": __version__,
            "specimens": len(desk.ids),
            "skipped": len(desk.prepared.skipped),
            "taxa": [str(taxon) for taxon in desk.naming.taxa],
            "taxonomy": taxonomy.table["name"].tolist(),
            "synonyms": {
                synonym: name
                for name, synonyms in zip(
                    taxonomy.table["name"], taxonomy.table["synonyms"], strict=True
                )
                for synonym in filter(None, synonyms.split("|"))
            },
            "columns": desk.columns,
            "sheets": {"count": sheets(desk.prepared), "across": ACROSS, "thumb": THUMB,
                       "per_sheet": PER_SHEET},
            "exports": [*FORMATS, *TABLES],
            "model": studio.project.model.name,
            "has_samples": bool((desk.samples != "").any()),
        }  # fmt: skip

    @router.get("/status")
    def status() -> dict[str, Any]:
        """How far everything is."""
        return studio.status()

    @router.get("/map", response_class=Response, responses=binary("x and y, float32"))
    def coordinates() -> Response:
        """x and y of all specimens in the order of sheets, float32, little-endian."""
        prepared = studio.desk.prepared
        places = prepared.space.coordinates[prepared.order]
        return packed({"ids": [str(i) for i in studio.desk.ids[prepared.order]]}, places, "<f4")

    @router.get(
        "/columns/{name:path}",
        response_class=Response,
        responses=binary("codes or numbers"),
    )
    def column(name: str) -> Response:
        """A column to colour the map by, in the order of `/map`.

        First the length of a JSON text (uint32), the text with the levels, blanks up to a multiple
        of four; then a uint16 code or a float32 for each specimen. Little-endian.
        """
        found = studio.column(name)
        values = found.values[studio.desk.prepared.order]
        return packed({"levels": found.levels}, values, "<u2" if found.levels else "<f4")

    @router.get("/sheets/{number}", response_class=Response, responses=a_picture())
    def pictures(number: Annotated[int, Field(ge=0, le=10**6)]) -> Response:
        """A sheet of 256 small pictures, in the order of `/map`."""
        return Response(sheet(studio.desk.prepared, number).read_bytes(), media_type="image/jpeg")

    @router.get("/pictures/{specimen}", response_class=Response, responses=a_picture())
    def project_stack(specimen: Id, size: Literal["96", "160", "320", "640"] = "320") -> Response:
        """The picture of a specimen or of a reference, as a square JPEG."""
        collection, row = studio.where(specimen)
        try:
            return kept(picture(collection, row, int(size)))
        except InputError as error:  # the file is gone, or is no image any more
            raise NotFoundError(f"{specimen}: {error}") from None

    @router.get("/specimens/{specimen}")
    def specimen_(specimen: Id) -> dict[str, Any]:
        """Everything known of a specimen: names, evidence, columns, and who decided what."""
        desk = studio.desk
        row = desk.row(specimen)
        said = desk.naming.table.iloc[row]
        own = desk.shells.specimens.iloc[row]
        history = desk.store.history(specimens=[specimen])
        shown = own.drop("id").dropna()
        return {
            "id": specimen,
            "name": str(desk.names([row])[0]),
            "state": str(desk.states([row])[0]),
            "settled": str(desk.settled[row]),
            "suggested": str(said["best"]),
            "probability": round(float(said["best_probability"]), 4),
            "decision": str(said["decision"]),
            "evidence": desk.evidence(row),
            "doubt": round(float(said["doubt"]), 4),
            "novelty": float(said["novelty"]),
            "candidates": desk.candidates(row),
            "columns": {str(c): str(value) for c, value in shown.items()},
            "history": json.loads(history.to_json(orient="records")),
        }

    @router.get("/similar/{specimen}")
    def similar(specimen: Id) -> list[dict[str, Any]]:
        """The specimens most like one of the collection, nearest first."""
        desk = studio.desk
        return desk.similar(desk.got.vectors[desk.row(specimen)])

    @router.get("/search")
    def search(text: Annotated[str, Query(min_length=1, max_length=200)]) -> dict[str, Any]:
        """Specimens whose id, image, sample, label or name holds a text."""
        rows = studio.desk.search(text)
        return {"count": len(rows), "ids": [str(i) for i in studio.desk.ids[rows]]}

    image = {
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string",
                                                               "format": "binary"}}},
        }
    }  # fmt: skip

    @router.post("/identify", openapi_extra=image)
    async def identify(request: Request) -> dict[str, Any]:
        """Name an image sent as the body, and find its place on the map and what is like it."""
        data = await request.body()
        if not data:
            raise InputError("the image is empty (0 bytes).")

        def work() -> dict[str, Any]:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "image"
                path.write_bytes(data)
                return studio.identify(path)

        return await run_in_threadpool(work)

    return router
