"""Audit, samples, files to take away, and models."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, BackgroundTasks, Response
from fastapi.responses import FileResponse
from pydantic import Field

from forametric.analysis.assemblages import NOT_COUNTED, write_book
from forametric.analysis.plots.downcore import downcore_figure
from forametric.data.exporters import export_collection
from forametric.data.exporters.exporting import FORMATS
from forametric.errors import NotFoundError
from forametric.server.schemas import Switch, a_page, binary, started
from forametric.server.session import Studio

TABLES = {
    "assemblage": ".xlsx", "counts": ".csv", "fractions": ".csv", "shares": ".csv",
    "history": ".csv", "figure": ".png",
}  # fmt: skip


def router_of(studio: Studio) -> APIRouter:
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
        return started(studio.audit())

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
            raise NotFoundError(f"there is no sample {sample}.")
        shares = desk.assemblage(sample).shares
        return {
            "specimens": int((desk.samples == sample).sum()),
            "settled": int((desk.settled[desk.samples == sample] != "").sum()),
            "width": round(float((shares["high"] - shares["low"]).mean()), 5),
        }

    @router.post("/samples")
    def count() -> dict[str, bool]:
        """Count the samples again, as names and decisions are now."""
        return started(studio.count())

    @router.get("/export/{kind}", response_class=Response, responses=binary("the file"))
    def export(kind: str, later: BackgroundTasks) -> Response:
        """A file to take away: specimens in a format of another program, counts, or the history."""
        if kind not in (*FORMATS, *TABLES):
            raise NotFoundError(f"there is no export {kind}.")
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

    @router.get("/models/{number}/report", response_class=Response, responses=a_page())
    def report(number: Annotated[int, Field(ge=0, le=1000)]) -> Response:
        """The page of figures that the last comparison wrote for a model."""
        return Response(studio.report(number).read_bytes(), media_type="text/html")

    @router.post("/models")
    def train() -> dict[str, bool]:
        """Train a new model with all that is settled, and measure it beside the present one."""
        return started(studio.train())

    @router.post("/models/current")
    def switch(asked: Switch) -> dict[str, bool]:
        """Let another model name the specimens."""
        return started(studio.switch(asked.model))

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
