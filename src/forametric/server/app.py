"""The HTTP interface of a review project; `/api/openapi.json` describes it."""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, BackgroundTasks, FastAPI, Query, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from forametric import __version__
from forametric.assemblage import NOT_COUNTED, downcore_figure, write_book
from forametric.errors import ForametricError, InputError
from forametric.export import export_collection
from forametric.export.exporting import FORMATS
from forametric.review.decisions import TAXON, agreement, consensus, standing
from forametric.review.desk import Word
from forametric.review.pictures import ACROSS, PER_SHEET, THUMB, picture, sheet, sheets
from forametric.server.access import Access
from forametric.server.studio import Studio
from forametric.taxonomy import Taxonomy

STATIC = Path(__file__).parent / "static"
TABLES = {
    "assemblage": ".xlsx", "counts": ".csv", "fractions": ".csv", "shares": ".csv",
    "history": ".csv", "figure": ".png",
}  # fmt: skip
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


class Missing(Exception):
    """What was asked for by its address is not there."""


def make_app(studio: Studio, token: str, *, loopback: bool = True) -> FastAPI:
    """The application for one project.

    Parameters
    ----------
    token : str
        What a client has to know; see `forametric.server.access`.
    loopback : bool
        Whether it is reached under the names of this machine only.
    """
    app = FastAPI(
        title="Forametric review", version=__version__, docs_url=None, redoc_url=None,
        openapi_url="/api/openapi.json",
    )  # fmt: skip
    app.add_middleware(Access, token=token, loopback=loopback)
    app.include_router(_looking(studio), prefix="/api", responses=ANSWERS)
    app.include_router(_deciding(studio), prefix="/api", responses=ANSWERS)
    app.include_router(_grouping(studio), prefix="/api", responses=ANSWERS)
    app.include_router(_results(studio), prefix="/api", responses=ANSWERS)
    if STATIC.is_dir():
        app.mount("/", StaticFiles(directory=STATIC, html=True))

    @app.exception_handler(ForametricError)
    async def _refused(_: Request, error: ForametricError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 400)

    @app.exception_handler(Missing)
    async def _missing(_: Request, error: Missing) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 404)

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
            schemes = {"token": {"type": "http", "scheme": "bearer"}}
            schema.setdefault("components", {})["securitySchemes"] = schemes
            schema["security"] = [{"token": []}]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]
    return app


def _looking(studio: Studio) -> APIRouter:
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
            "columns": studio.column_names(),
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

    @router.get("/map", response_class=Response, responses=_binary("x and y, float32"))
    def coordinates() -> Response:
        """x and y of all specimens in the order of sheets, float32, little-endian."""
        prepared = studio.desk.prepared
        places = prepared.space.coordinates[prepared.order]
        return _packed({"ids": [str(i) for i in studio.desk.ids[prepared.order]]}, places, "<f4")

    @router.get(
        "/columns/{name:path}",
        response_class=Response,
        responses=_binary("codes or numbers"),
    )
    def column(name: str) -> Response:
        """A column to colour the map by, in the order of `/map`.

        First the length of a JSON text (uint32), the text with the levels, blanks up to a multiple
        of four; then a uint16 code or a float32 for each specimen. Little-endian.
        """
        if name not in studio.column_names():
            raise Missing(f"there is no column {name}.")
        found = studio.column(name)
        values = found.values[studio.desk.prepared.order]
        return _packed({"levels": found.levels}, values, "<u2" if found.levels else "<f4")

    @router.get("/sheets/{number}", response_class=Response, responses=_picture())
    def pictures(number: Annotated[int, Field(ge=0, le=10**6)]) -> Response:
        """A sheet of 256 small pictures, in the order of `/map`."""
        if number >= sheets(studio.desk.prepared):
            raise Missing(f"there is no sheet {number}.")
        return Response(sheet(studio.desk.prepared, number).read_bytes(), media_type="image/jpeg")

    @router.get("/pictures/{specimen}", response_class=Response, responses=_picture())
    def one_picture(specimen: Id, size: Literal["96", "160", "320", "640"] = "320") -> Response:
        """The picture of a specimen or of a reference, as a square JPEG."""
        try:
            collection, row = studio.where(specimen)
            return _kept(picture(collection, row, int(size)))
        except InputError as error:
            raise Missing(f"{specimen}: {error}") from None

    @router.get("/specimens/{specimen}")
    def specimen_(specimen: Id) -> dict[str, Any]:
        """Everything known of a specimen: names, evidence, columns, and who decided what."""
        desk = studio.desk
        row = _row(studio, specimen)
        said = desk.naming.table.iloc[row]
        own = desk.shells.specimens.iloc[row]
        history = desk.store.history(specimens=[specimen])
        shown = own.drop("id").dropna()
        return {
            "id": specimen,
            "name": str(desk.names()[row]),
            "state": str(desk.states()[row]),
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
        return desk.similar(desk.got.vectors[_row(studio, specimen)])

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


def _deciding(studio: Studio) -> APIRouter:
    """The queue and the decisions."""
    router = APIRouter(tags=["decide"])

    @router.post("/queue")
    def queue(
        asked: By,
        count: Annotated[int, Query(ge=1, le=100)] = 20,
        held: Annotated[list[Id] | None, Query(max_length=200)] = None,
    ) -> dict[str, Any]:
        """The specimens that a reviewer should see next; they are lent to the reviewer."""
        desk = studio.desk
        desk.refresh()
        found = []
        for specimen in desk.next_for(asked.reviewer, count, held or []):
            row = desk.row_of[specimen]
            said = desk.naming.table.iloc[row]
            found.append(
                {
                    "id": specimen,
                    "image": str(desk.shells.specimens["image"].iloc[row]),
                    "label": str(desk.shells.specimens["label"].fillna("").iloc[row]),
                    "sample": str(desk.samples[row]),
                    "decision": str(said["decision"]),
                    "suggested": str(said["best"]),
                    "probability": round(float(said["best_probability"]), 4),
                    "doubt": round(float(said["doubt"]), 4),
                    "evidence": desk.evidence(row),
                    "candidates": desk.candidates(row),
                }
            )
        return {"specimens": found, "left": desk.left_for(asked.reviewer)}

    @router.post("/decisions")
    def decide(asked: Decided) -> dict[str, Any]:
        """Keep verdicts; once this answers, they are on the disk."""
        for said in asked.decisions:
            _row(studio, said.specimen)
        words = [Word(**said.model_dump()) for said in asked.decisions]
        numbers = studio.desk.decide(asked.reviewer, words)
        studio.after_decision()
        return {"numbers": numbers, "progress": studio.desk.progress()}

    @router.post("/undo")
    def undo(asked: By) -> dict[str, Any]:
        """Take back what the reviewer decided last; what was decided together, together."""
        taken = studio.desk.undo(asked.reviewer)
        studio.after_decision()
        return {
            "specimen": taken[0].specimen if taken else None,
            "name": taken[0].name if taken else None,
            "count": len(taken),
            "progress": studio.desk.progress(),
        }

    @router.get("/agreement")
    def agreed() -> dict[str, Any]:
        """How far reviewers agree, and the specimens on which they differ."""
        history = studio.store.history()
        together = consensus(history)
        conflicts = together[together["conflict"]]
        words = standing(history)
        words = words[words["specimen"].isin(conflicts["specimen"])]
        return {
            "decisions": len(history),
            "reviewers": sorted(history["reviewer"].unique().tolist()),
            **agreement(history),
            "conflicts": [
                {"specimen": specimen, "said": _said(part)}
                for specimen, part in words.groupby("specimen", sort=False)
                if specimen in studio.desk.row_of
            ],
        }

    return router


def _grouping(studio: Studio) -> APIRouter:
    """Morphotypes: groups of specimens, put together and named."""
    router = APIRouter(tags=["morphotypes"])

    @router.get("/morphotypes")
    def morphotypes() -> list[dict[str, Any]]:
        """All groups, unnamed ones first, the largest first."""
        return studio.desk.morphotypes()

    @router.post("/morphotypes/find")
    def find(asked: By) -> dict[str, bool]:
        """Group what is unknown; the groups there are now make room."""
        return _started(studio.group(asked.reviewer))

    @router.post("/morphotypes/move")
    def move(asked: Moved) -> dict[str, int]:
        """Put specimens into a group, out of all, or into a new one."""
        desk = studio.desk
        for specimen in asked.specimens:
            _row(studio, specimen)
        with desk.lock:
            desk.groups.refresh()
            group = desk.groups.next_number() if asked.group is None else asked.group
            if asked.group and not desk.groups.members(asked.group):
                raise Missing(f"there is no group {asked.group}.")
            desk.groups.move(asked.reviewer, "move", dict.fromkeys(asked.specimens, group))
        return {"group": group}

    @router.post("/morphotypes/merge")
    def merge(asked: Merged) -> dict[str, int]:
        """Make one group of several."""
        desk, (first, *others) = studio.desk, asked.groups
        with desk.lock:
            desk.groups.refresh()
            for group in asked.groups:
                if not desk.groups.members(group):
                    raise Missing(f"there is no group {group}.")
            to = {i: first for group in others for i in desk.groups.members(group)}
            desk.groups.move(asked.reviewer, "merge", to)
        return {"group": first}

    @router.post("/morphotypes/{group}/split")
    def split(group: Group, asked: By) -> dict[str, int]:
        """Part a group in two, where it parts most easily."""
        return {"group": studio.desk.split_group(asked.reviewer, group)}

    @router.post("/morphotypes/{group}/name")
    def name(group: Group, asked: Named) -> dict[str, Any]:
        """Call all specimens of a group by a name, known or new; they are references at once."""
        count = studio.desk.name_group(asked.reviewer, group, asked.name)
        studio.after_decision()
        return {"decided": count, "progress": studio.desk.progress()}

    @router.post("/morphotypes/undo")
    def undo(asked: By) -> dict[str, Any]:
        """Take back the reviewer's last step with groups, and the decisions it made."""
        step = studio.desk.undo_step(asked.reviewer)
        studio.after_decision()
        return {"undone": step["kind"] if step else None, "progress": studio.desk.progress()}

    return router


def _results(studio: Studio) -> APIRouter:
    """Audit, samples, exports and models."""
    router = APIRouter(tags=["results"])

    @router.get("/audit")
    def audit() -> dict[str, Any]:
        """What the last look over the collection found, of what is not settled since."""
        table = studio.findings()
        if table is None:
            return {"made": False, "findings": []}
        desk = studio.desk
        table = table[table["id"].isin(desk.row_of)]
        rows = np.array([desk.row_of[i] for i in table["id"]], int)
        table = table[desk.settled[rows] == ""]
        # What each is called by its accepted name: `label` is verbatim.
        taxon = dict(zip(desk.ids, desk.shells.taxa(), strict=True))
        table = table.assign(
            taxon=table["id"].map(taxon), other_taxon=table["other_id"].map(taxon).fillna("")
        )
        return {"made": True, "findings": json.loads(table.to_json(orient="records"))}

    @router.post("/audit")
    def look_over() -> dict[str, bool]:
        """Look the collection over: copies, blanks, likely label errors."""
        return _started(studio.audit())

    @router.get("/samples")
    def samples() -> dict[str, Any]:
        """The assemblages as last counted."""
        found = studio.counts
        if found is None:
            return {"made": False, "shares": [], "samples": [], "depth": studio.project.depth}
        return {
            "made": True,
            "depth": studio.project.depth,
            "shares": json.loads(found.shares.to_json(orient="records")),
            "samples": json.loads(found.samples.to_json(orient="records")),
        }

    @router.get("/precision/{sample:path}")
    def precision(sample: Annotated[str, Field(max_length=200)]) -> dict[str, Any]:
        """How wide the 95 % intervals of a sample's taxa, and of the unknown, are on average."""
        desk = studio.desk
        if not sample or not (desk.samples == sample).any():
            raise Missing(f"there is no sample {sample}.")
        shares = desk.assemblage(sample).shares
        return {
            "specimens": int((desk.samples == sample).sum()),
            "settled": int((desk.settled[desk.samples == sample] != "").sum()),
            "width": round(float((shares["high"] - shares["low"]).mean()), 5),
        }

    @router.post("/samples")
    def count() -> dict[str, bool]:
        """Count the samples again, as names and decisions are now."""
        return _started(studio.count())

    @router.get("/export/{kind}", response_class=Response, responses=_binary("the file"))
    def export(kind: str, later: BackgroundTasks) -> Response:
        """A file to take away: specimens in a format of another program, counts, or the history."""
        if kind not in (*FORMATS, *TABLES):
            raise Missing(f"there is no export {kind}.")
        suffix = TABLES.get(kind) or FORMATS[kind].suffix
        folder = tempfile.TemporaryDirectory()
        later.add_task(folder.cleanup)
        name = f"{studio.project.folder.name}-{kind}{suffix}"
        path = Path(folder.name) / name
        _write_export(studio, kind, path)
        return FileResponse(path, filename=name, background=later)

    @router.get("/models")
    def models() -> list[dict[str, Any]]:
        """The project's models, side by side."""
        return studio.models()

    @router.get("/models/{number}/report", response_class=Response, responses=_page())
    def report(number: Annotated[int, Field(ge=0, le=1000)]) -> Response:
        """The page of figures that the last comparison wrote for a model."""
        try:
            return Response(studio.report(number).read_bytes(), media_type="text/html")
        except InputError as error:
            raise Missing(str(error)) from None

    @router.post("/models")
    def train() -> dict[str, bool]:
        """Train a new model with all that is settled, and measure it beside the present one."""
        return _started(studio.train())

    @router.post("/models/current")
    def switch(asked: Switch) -> dict[str, bool]:
        """Let another model name the specimens."""
        return _started(studio.switch(asked.model))

    return router


def _write_export(studio: Studio, kind: str, path: Path) -> None:
    """Write one of the files that can be taken away."""
    desk = studio.desk
    if kind == "history":
        studio.store.write_csv(path)
    elif kind in FORMATS:
        collection, names = desk.named()
        if kind == "darwin-core":  # what is no organism, or counted already, is no occurrence
            there = ~collection.specimens["decided"].isin(NOT_COUNTED)
            collection = collection.select(there.to_numpy())
        export_collection(
            collection,
            path,
            kind,
            names=names if len(names) else None,
            identified_by=desk.prepared.model.card.title,
        )
    else:
        counts = desk.assemblage()
        if kind == "assemblage":
            write_book(counts, path)
        elif kind == "figure":
            downcore_figure(counts, studio.project.depth).savefig(path, dpi=200)
        else:
            counts.tables()[kind].to_csv(path, index=False)


def _row(studio: Studio, specimen: str) -> int:
    try:
        return studio.desk.row(specimen)
    except InputError as error:
        raise Missing(str(error)) from None


def _said(rows: Any) -> list[dict[str, str]]:
    """Who said what, in words."""
    return [
        {"reviewer": row["reviewer"], "verdict": row["verdict"], "time": row["time"],
         "taxon": row["taxon"] if row["verdict"] == TAXON else ""}
        for row in rows.to_dict("records")
    ]  # fmt: skip


def _started(started: bool) -> dict[str, bool]:
    return {"started": started}


def _kept(data: bytes) -> Response:
    """A picture that the browser may keep: an id never means another picture."""
    kept = {"Cache-Control": "private, max-age=86400"}
    return Response(data, media_type="image/jpeg", headers=kept)


def _packed(about: dict[str, Any], values: np.ndarray[Any, Any], kind: str) -> Response:
    text = json.dumps(about, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 4)
    data = struct.pack("<I", len(text)) + text + np.ascontiguousarray(values).astype(kind).tobytes()
    return Response(data, media_type="application/octet-stream")


def _binary(says: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": says, "content": {"application/octet-stream": {}}}}


def _picture() -> dict[int | str, dict[str, Any]]:
    return {200: {"description": "a JPEG", "content": {"image/jpeg": {}}}}


def _page() -> dict[int | str, dict[str, Any]]:
    return {200: {"description": "a page", "content": {"text/html": {}}}}
