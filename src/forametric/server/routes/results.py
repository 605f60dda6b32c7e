"""The check of the collection, samples, exports, and models."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Query, Request, Response
from fastapi.responses import FileResponse

from forametric.server import schemas
from forametric.server.access.requirements import requires
from forametric.server.access.roles import Role
from forametric.server.dependencies import Session
from forametric.server.responses import PAGE, binary
from forametric.server.schemas import JobStarted, ModelNumber, SampleName, SwitchRequest

router = APIRouter(tags=["results"])


@router.get("/check-findings", dependencies=requires(Role.VIEWER))
def check_findings(session: Session) -> schemas.CheckFindings:
    """The findings of the last check, without specimens that were settled since."""
    return session.findings()


@router.post("/check-findings", dependencies=requires(Role.CURATOR, "check"))
def check(session: Session) -> JobStarted:
    """Check the collection: copies, blank images, likely label errors."""
    return JobStarted(started=session.check())


@router.get("/samples", dependencies=requires(Role.VIEWER))
def samples(session: Session) -> schemas.Samples:
    """The samples as they were last counted."""
    return session.counted_samples()


@router.post("/samples", dependencies=requires(Role.VIEWER, "samples counted"))
def count(session: Session) -> JobStarted:
    """Count the samples again, with the present names and decisions."""
    return JobStarted(started=session.count())


@router.get("/samples/precision", dependencies=requires(Role.VIEWER))
def precision(session: Session, sample: Annotated[SampleName, Query()]) -> schemas.SamplePrecision:
    """How precisely the abundances of a sample are known now."""
    return session.precision(sample)


@router.get(
    "/exports/{kind}",
    response_class=Response,
    responses=binary("the file"),
    dependencies=requires(Role.CURATOR, "export"),
)
async def export(
    session: Session, kind: str, request: Request, background: BackgroundTasks
) -> Response:
    """A file to download: specimens in a format of another program, counts, or the history."""
    name = session.export_name(kind)
    folder = tempfile.TemporaryDirectory()
    background.add_task(folder.cleanup)
    path = Path(folder.name) / name
    try:
        with session.exporting.place():
            await session.exporting.run(request, lambda: session.write_export(kind, path))
    except BaseException:
        folder.cleanup()
        raise
    return FileResponse(path, filename=name, background=background)


@router.get("/models", dependencies=requires(Role.VIEWER))
def models(session: Session) -> list[schemas.ModelSummary]:
    """The project's models, with the measures of the last comparison."""
    return session.models()


@router.post("/models", dependencies=requires(Role.CURATOR, "training"))
def train(session: Session) -> JobStarted:
    """Train a new model with everything that is settled, and compare it with the present one."""
    return JobStarted(started=session.train())


@router.post("/models/current", dependencies=requires(Role.CURATOR, "model switched"))
def switch(session: Session, body: SwitchRequest) -> JobStarted:
    """Identify the specimens with another model from now on."""
    return JobStarted(started=session.switch(body.model))


@router.get(
    "/models/{number}/report",
    response_class=Response,
    responses=PAGE,
    dependencies=requires(Role.VIEWER),
)
def report(session: Session, number: ModelNumber) -> Response:
    """The report that the last comparison wrote for a model."""
    return Response(session.report(number).read_bytes(), media_type="text/html")
