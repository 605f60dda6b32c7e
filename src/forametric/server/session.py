"""One review project that is being served: its workspace, its models, and long work."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pandas as pd

from forametric._typing import FloatArray
from forametric._version import __version__
from forametric.analysis.assemblages import Assemblages
from forametric.data.collection import Collection
from forametric.data.taxonomy import Taxonomy
from forametric.errors import ForametricError, InputError, NotFoundError
from forametric.review.agreement import agreement
from forametric.review.assignment import Assignment
from forametric.review.columns import MapColumns
from forametric.review.decisions import consensus, current_decisions
from forametric.review.exports import SUFFIXES, export_suffix, write_export
from forametric.review.findings import FILE as FINDINGS
from forametric.review.findings import check_workspace, open_findings
from forametric.review.morphotypes import ReviewMorphotypes
from forametric.review.project import Project, embed_project
from forametric.review.retrain import TrainingProcess, compare_models
from forametric.review.samples import SampleCounts
from forametric.review.store import DecisionStore
from forametric.review.thumbnails import (
    COLUMNS,
    PER_SHEET,
    THUMBNAIL,
    sheet,
    sheet_count,
    specimen_jpeg,
)
from forametric.review.views import IdentifiedImage, MapColumn
from forametric.review.workspace import ReviewWorkspace, VerdictOn
from forametric.server import schemas
from forametric.server.bounded_work import BoundedWork
from forametric.server.jobs import Jobs
from forametric.utils.files import read_json, write_json

UPDATE_PAUSE = 24  # times as long as identifying again has taken, before it may begin again
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class MapLayout:
    """The coordinates of all specimens, in the order of the sheets.

    Attributes
    ----------
    model : int
        The number of the model whose map it is.
    coordinates : ndarray of float32, shape (n, 2)
    """

    ids: list[str]
    coordinates: FloatArray
    model: int


@dataclass(frozen=True, eq=False)
class OpenModel:
    """The workspace of one of the project's models, and what is derived from it."""

    number: int
    workspace: ReviewWorkspace
    assignment: Assignment
    morphotypes: ReviewMorphotypes
    columns: MapColumns
    samples: SampleCounts

    @classmethod
    def open(cls, project: Project, store: DecisionStore) -> OpenModel:
        """Embed and identify the collection with the project's current model."""
        workspace = ReviewWorkspace(embed_project(project), store, project.depth)
        morphotypes = ReviewMorphotypes(workspace)
        return cls(
            project.current,
            workspace,
            Assignment(workspace),
            morphotypes,
            MapColumns(workspace, morphotypes),
            SampleCounts(workspace),
        )


class ReviewSession:
    """What a server serves.

    Routes use its methods and those of `workspace` and `morphotypes`, which may change when
    another model is put in use; a method reads them once.

    Attributes
    ----------
    project : Project
    store : DecisionStore
    jobs : Jobs
    uploads, exporting : BoundedWork
        Queues for what clients wait for: images to be identified, files to be written.
    counts : Assemblages or None
        The samples as they were last counted.
    """

    def __init__(self, project: Project, store: DecisionStore, opened: OpenModel) -> None:
        self.project, self.store, self.jobs = project, store, Jobs()
        self.uploads = BoundedWork("uploads", workers=1, places=16)
        self.exporting = BoundedWork("exports", workers=1, places=4)
        self.counts: Assemblages | None = None
        self._open = opened
        self._next_update = 0.0  # time.monotonic, before which nothing is identified again
        self._embedding = threading.Lock()
        self._training: TrainingProcess | None = None
        self._training_lock, self._closed = threading.Lock(), False
        self._stamp = self._collection_stamp()
        self._image_collections = [Collection.open(path) for path in project.reference_images]
        self._image_rows = [
            {str(i): row for row, i in enumerate(collection.specimens["id"])}
            for collection in self._image_collections
        ]

    @classmethod
    def open(cls, project: Project, store: DecisionStore) -> ReviewSession:
        """Embed and identify the project's collection, and open its reference images."""
        session = cls(project, store, OpenModel.open(project, store))
        logger.info("%s is ready", project.folder)
        return session

    def close(self, seconds: float = 0) -> None:
        """Start nothing more, give what is under way some seconds, and close the store.

        A training run that was stopped resumes when it is started again.
        """
        with self._training_lock:
            self._closed = True
            if self._training:
                self._training.stop(seconds)
        self.uploads.close()
        self.exporting.close()
        self.jobs.stop(seconds)
        self.store.close()

    def kill(self) -> None:
        """End training at once."""
        if self._training:
            self._training.stop()

    @property
    def workspace(self) -> ReviewWorkspace:
        """The workspace of the model in use."""
        return self._open.workspace

    @property
    def morphotypes(self) -> ReviewMorphotypes:
        """The morphotypes of the workspace."""
        return self._open.morphotypes

    # The project

    @property
    def skipped(self) -> pd.DataFrame:
        """The images that could not be read: image, reason."""
        return self.workspace.embedded.skipped

    def project_summary(self) -> schemas.Project:
        """What the page needs to start."""
        workspace, taxonomy = self.workspace, Taxonomy.load().table
        embedded = workspace.embedded
        return schemas.Project(
            name=workspace.collection.info.get("name") or self.project.collection.name,
            version=__version__,
            specimens=len(workspace),
            skipped=len(embedded.skipped),
            taxa=workspace.identification.taxa,
            taxonomy=taxonomy["name"].tolist(),
            synonyms={
                synonym: name
                for name, synonyms in zip(taxonomy["name"], taxonomy["synonyms"], strict=True)
                for synonym in filter(None, synonyms.split("|"))
            },
            columns=self._open.columns.names,
            sheets=schemas.SheetLayout(
                count=sheet_count(embedded),
                columns=COLUMNS,
                thumbnail_size=THUMBNAIL,
                per_sheet=PER_SHEET,
            ),
            exports=list(SUFFIXES),
            model=self.project.model.name,
            fingerprint=embedded.model.fingerprint,
            has_samples=bool((workspace.samples != "").any()),
            warnings=self._warnings(),
        )

    def _warnings(self) -> list[str]:
        """What the page says about the model and its probabilities, above all views."""
        run = self._open.workspace.identification
        return [w for w in (run.model.identifier.calibrated.caution, *run.drift.warnings) if w]

    def status(self) -> schemas.Status:
        """The state of the server: what the page asks for every few seconds."""
        opened = self._open
        opened.workspace.refresh()
        self.update_if_needed()  # somebody may have decided in another program
        return schemas.Status(
            identification_run=opened.workspace.identification.number,
            model=opened.number,
            jobs={
                kind: schemas.Job.model_validate(job) for kind, job in self.jobs.states().items()
            },
            collection_changed=self._stamp != self._collection_stamp(),
            progress=self.progress(),
        )

    def progress(self) -> schemas.Progress:
        """How far the review has come."""
        return schemas.Progress.model_validate(self.workspace.progress())

    def _collection_stamp(self) -> tuple[int, ...]:
        try:
            states = [
                (self.project.collection / name).stat()
                for name in ("collection.json", "specimens.parquet")
            ]
        except OSError:
            return ()
        return tuple(state.st_mtime_ns for state in states)

    # Specimens

    def map(self) -> MapLayout:
        """The map of the model in use."""
        opened = self._open
        embedded, ids = opened.workspace.embedded, opened.workspace.ids
        coordinates = embedded.morphospace.coordinates_[embedded.order]
        return MapLayout([str(i) for i in ids[embedded.order]], coordinates, opened.number)

    def column(self, name: str) -> MapColumn:
        """A column in the order of the map; `NotFoundError` when there is none of this name."""
        opened = self._open
        column = opened.columns.column(name)
        return replace(column, values=column.values[opened.workspace.embedded.order])

    def sheet(self, number: int, model: int | None = None) -> bytes | None:
        """A sheet of thumbnails as JPEG; None when another model than `model` is in use.

        Raises
        ------
        NotFoundError
            When there is no such sheet.
        """
        opened = self._open
        if model is not None and model != opened.number:
            return None
        return sheet(opened.workspace.embedded, number).read_bytes()

    def image(self, specimen: str, size: int) -> bytes:
        """The image of a specimen or a reference, as JPEG.

        Raises
        ------
        NotFoundError
            When neither the collection nor the reference images have it, or it cannot be read.
        """
        collection, row = self._find_image(specimen)
        try:
            return specimen_jpeg(collection, row, size)
        except InputError as error:  # the file was removed or replaced
            raise NotFoundError(f"{specimen}: {error}") from None

    def _find_image(self, specimen: str) -> tuple[Collection, int]:
        workspace = self.workspace
        if specimen in workspace.row_of:
            return workspace.collection, workspace.row_of[specimen]
        for collection, rows in zip(self._image_collections, self._image_rows, strict=True):
            if specimen in rows:
                return collection, rows[specimen]
        raise NotFoundError(f"there is no image of {specimen}.")

    def identify(self, path: Path) -> IdentifiedImage:
        """Identify an uploaded image; `InputError` when it cannot be read."""
        workspace = self.workspace
        with self._embedding:
            embedder = workspace.embedded.model.embedder
            embeddings = embedder.embed_images([path], progress="")
        if len(embeddings.skipped):
            raise InputError(f"the image {embeddings.skipped['reason'].iloc[0]}.")
        return workspace.identify(embeddings)

    # Decisions

    def next_batch(self, reviewer: str, count: int, exclude: Sequence[str]) -> schemas.QueueBatch:
        """The specimens that a reviewer should see next: `Assignment.next_batch`."""
        opened = self._open
        opened.workspace.refresh()
        ids = opened.assignment.next_batch(reviewer, count, exclude)
        return schemas.QueueBatch(
            specimens=[
                schemas.QueuedSpecimen.model_validate(opened.workspace.queued(i)) for i in ids
            ],
            n_remaining=opened.assignment.n_remaining(reviewer),
        )

    def record(self, batch: schemas.DecisionBatch) -> schemas.DecisionsRecorded:
        """Record decisions, all or none."""
        workspace = self.workspace
        verdicts = [VerdictOn(**decision.model_dump()) for decision in batch.decisions]
        numbers = workspace.record(batch.reviewer, verdicts)
        self.update_if_needed()
        return schemas.DecisionsRecorded(numbers=numbers, progress=self.progress())

    def undo(self, reviewer: str) -> schemas.DecisionsUndone:
        """Undo what a reviewer recorded last."""
        undone = self.workspace.undo(reviewer)
        self.update_if_needed()
        first = undone[0] if undone else None
        return schemas.DecisionsUndone(
            specimen=first.specimen if first else None,
            verdict=first.verdict if first else None,
            taxon=first.taxon if first else "",
            count=len(undone),
            progress=self.progress(),
        )

    def agreement(self) -> schemas.Agreement:
        """How far the reviewers agree, and the specimens on which they differ."""
        history = self.store.history()
        together, kappas = consensus(history), agreement(history)
        conflicts = together.loc[together["conflict"], "specimen"]
        current = current_decisions(history)
        current = current[current["specimen"].isin(conflicts)]
        return schemas.Agreement(
            decisions=len(history),
            reviewers=sorted(history["reviewer"].unique().tolist()),
            cohen=[schemas.CohenKappa(**pair) for pair in kappas["cohen"]],
            fleiss=schemas.FleissKappa(**kappas["fleiss"]),
            conflicts=[
                schemas.Conflict(
                    specimen=str(specimen),
                    decisions=[
                        schemas.ReviewerDecision.model_validate(row)
                        for row in part.to_dict("records")
                    ],
                )
                for specimen, part in current.groupby("specimen", sort=False)
                if specimen in self.workspace.row_of
            ],
        )

    def update_if_needed(self) -> None:
        """Start to identify all specimens again where enough decisions have changed.

        It uses all cores. So that reviewers do not wait for them, 96 % of the time are left to
        requests.
        """
        workspace = self.workspace

        def work() -> str:
            began = time.monotonic()
            workspace.update()
            ended = time.monotonic()
            self._next_update = ended + UPDATE_PAUSE * (ended - began)
            return f"{len(workspace)} specimens identified again"

        if time.monotonic() >= self._next_update and workspace.needs_update():
            self.jobs.start("identifying", work)

    # Morphotypes

    def discover(self, reviewer: str) -> bool:
        """Group the unknown specimens; False when that is under way."""
        return self.jobs.start(
            "discovering", lambda: f"{self.morphotypes.discover(reviewer)} morphotypes found"
        )

    def name_morphotype(self, reviewer: str, number: int, name: str) -> schemas.MorphotypeNamed:
        """Give all specimens of a morphotype a name."""
        decisions = self.morphotypes.name(reviewer, number, name)
        self.update_if_needed()
        return schemas.MorphotypeNamed(decisions=decisions, progress=self.progress())

    def undo_morphotype(self, reviewer: str) -> schemas.MorphotypeUndone:
        """Undo a reviewer's last step with morphotypes."""
        step = self.morphotypes.undo(reviewer)
        self.update_if_needed()
        return schemas.MorphotypeUndone(
            undone=step["kind"] if step else None, progress=self.progress()
        )

    # Results

    def check(self) -> bool:
        """Check the collection; False when that is under way."""

        def work() -> str:
            return f"{check_workspace(self.workspace, self._findings)} findings"

        return self.jobs.start("checking", work)

    def findings(self) -> schemas.CheckFindings:
        """The findings of the last check, without specimens that were settled since."""
        table = open_findings(self.workspace, self._findings)
        if table is None:
            return schemas.CheckFindings(made=False, findings=[])
        findings = [schemas.Finding.model_validate(row) for row in table.to_dict("records")]
        return schemas.CheckFindings(made=True, findings=findings)

    @property
    def _findings(self) -> Path:
        return self.project.folder / FINDINGS

    def count(self) -> bool:
        """Count the samples again; False when that is under way."""

        def work() -> str:
            self.counts = self._open.samples.assemblages()
            return f"{len(self.counts)} samples counted"

        return self.jobs.start("counting", work)

    def counted_samples(self) -> schemas.Samples:
        """The samples as they were last counted."""
        counts, depth = self.counts, self.project.depth
        if counts is None:
            return schemas.Samples(made=False, depth=depth, abundances=[], samples=[])
        samples = counts.samples.rename(columns={depth: "depth"} if depth else {})
        return schemas.Samples(
            made=True,
            depth=depth,
            abundances=[
                schemas.Abundance.model_validate(row) for row in counts.table.to_dict("records")
            ],
            samples=[schemas.Sample.model_validate(row) for row in samples.to_dict("records")],
        )

    def precision(self, sample: str) -> schemas.SamplePrecision:
        """How precisely a sample is known now; `NotFoundError` for no such sample."""
        specimens, settled, width = self._open.samples.precision(sample)
        return schemas.SamplePrecision(specimens=specimens, settled=settled, interval_width=width)

    def export_name(self, kind: str) -> str:
        """The file name of an export; `NotFoundError` when there is no such export."""
        return f"{self.project.folder.name}-{kind}{export_suffix(kind)}"

    def write_export(self, kind: str, path: Path) -> None:
        """Write the file of an export."""
        write_export(self._open.samples, kind, path)

    # Models

    def models(self) -> list[schemas.ModelSummary]:
        """The models of the project, with the measures of the last comparison."""
        path = self._reports / "comparison.json"
        measured = read_json(path) if path.is_file() else {}
        return [
            schemas.ModelSummary(
                number=number,
                name=model.name,
                current=number == self.project.current,
                has_report=(self._reports / model.name / "report.html").is_file(),
                measured=measured.get(model.name),
            )
            for number, model in enumerate(self.project.models)
        ]

    @property
    def _reports(self) -> Path:
        return self.project.folder / "reports"

    def report(self, number: int) -> Path:
        """The page that the last comparison wrote for a model.

        Raises
        ------
        NotFoundError
            When there is none.
        """
        if 0 <= number < len(self.project.models):
            path = self._reports / self.project.models[number].name / "report.html"
            if path.is_file():
                return path
        raise NotFoundError(f"model {number} has no report.")

    def train(self, seed: int = 0) -> bool:
        """Train a new model and compare it with the present one; False when that is under way.

        Raises
        ------
        InputError
            When the project has no reference images: the new model would forget the references.
        """
        project = self.project
        if not project.reference_images:
            raise InputError(
                "this project has no collection of reference images, so a new model would know "
                "only what is settled here; train with: forametric train --decisions"
            )
        target = self._new_model()

        def work() -> str:
            self._report("training; this takes minutes, for a large collection hours")
            with self._training_lock:
                if self._closed:
                    raise InputError("the server is being stopped.")
                self._training = TrainingProcess(project, self.store.url, target, seed)
            trained = self._training.result()
            self.project = self.project.with_model(trained.folder)
            self._report("comparing the models")
            models = {project.model.name: project.model, target.name: target}
            collection = Collection.open(project.collection)
            try:
                measures = compare_models(
                    models, collection, self.store, trained.subsets, self._reports
                )
            except ForametricError as error:
                return f"{target.name} is trained; no comparison: {error}"
            write_json(self._reports / "comparison.json", measures)
            return f"{target.name} is trained and compared"

        return self.jobs.start("training", work, long=True)

    def _new_model(self) -> Path:
        """The folder of the next model: that of a training run that was stopped, or a new one."""
        models = self.project.folder / "models"
        unfinished = sorted(path.with_suffix("") for path in models.glob("model-*.unfinished"))
        for folder in reversed(unfinished):
            if not folder.exists():
                return folder
        return models / f"model-{datetime.now().strftime('%Y-%m-%d-%H%M%S')}"

    def _report(self, message: str) -> None:
        self.jobs.report("training", message)

    def switch(self, number: int) -> bool:
        """Identify the specimens with another model; False when that is under way.

        Raises
        ------
        NotFoundError
            When the project has no such model.
        """
        wanted = self.project.at(number)

        def work() -> str:
            opened = OpenModel.open(wanted, self.store)
            # Not `wanted`: a new model may have been added in the meantime.
            changed = self.project.at(number)
            changed.save()
            self.project, self._open, self.counts = changed, opened, None
            return f"{self.project.model.name} identifies the specimens now"

        return self.jobs.start("switching", work)
