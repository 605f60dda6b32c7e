"""One project under review: its desk, and the long work behind it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from forametric.analysis.assemblages import Assemblage
from forametric.analysis.check import check_collection
from forametric.data.collection import Collection
from forametric.errors import ForametricError, InputError, NotFoundError
from forametric.review.project import Project, embed_project
from forametric.review.retrain import side_by_side, training_set
from forametric.review.store import Decisions
from forametric.review.workspace import Desk
from forametric.server.jobs import Jobs
from forametric.utils.files import atomic_path, read_json, write_json

FINDINGS = "findings.csv"


@dataclass(frozen=True)
class Column:
    """A column that the map can be coloured by, one value a specimen.

    Attributes
    ----------
    levels : list of str
        What the codes stand for; empty for numbers.
    values : ndarray of uint16 or float32, shape (n,)
        Codes, or numbers (NaN where there is none).
    """

    levels: list[str]
    values: npt.NDArray[Any]


@dataclass
class Studio:
    """What a server holds.

    Attributes
    ----------
    desk : Desk
        Of the project's current model; another one after a switch.
    """

    project: Project
    store: Decisions
    desk: Desk
    jobs: Jobs = field(default_factory=Jobs)
    counts: Assemblage | None = None
    _embedding: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, project: Project, store: Decisions) -> Studio:
        """Prepare the project's collection; its references' pictures are opened with it."""
        return cls(project, store, Desk(embed_project(project), store, project.depth))

    def __post_init__(self) -> None:
        self._stamp = self._collection_stamp()
        self._pictures = [Collection.open(other) for other in self.project.reference_images]
        self._places = [
            {str(i): row for row, i in enumerate(other.specimens["id"])} for other in self._pictures
        ]

    def close(self) -> None:
        """Begin nothing more, and let go of the database."""
        self.jobs.stop()
        self.store.close()

    # What the page is told

    def status(self) -> dict[str, Any]:
        """How far everything is: what the page asks for every few seconds."""
        self.desk.refresh()
        self.after_decision()  # somebody may have decided elsewhere, on the same store
        return {
            "naming": self.desk.naming.number,
            "model": self.project.current,
            "jobs": self.jobs.states(),
            "changed": self._stamp != self._collection_stamp(),
            "progress": self.desk.progress(),
        }

    def _collection_stamp(self) -> tuple[int, ...]:
        try:
            states = [
                (self.project.collection / name).stat()
                for name in ("collection.json", "specimens.parquet")
            ]
        except OSError:
            return ()
        return tuple(state.st_mtime_ns for state in states)

    def where(self, specimen: str) -> tuple[Collection, int]:
        """The collection and row that hold the picture of a specimen or of a reference."""
        desk = self.desk
        if specimen in desk.row_of:
            return desk.shells, desk.row_of[specimen]
        for collection, places in zip(self._pictures, self._places, strict=True):
            if specimen in places:
                return collection, places[specimen]
        raise NotFoundError(f"there is no picture of {specimen} here.")

    def column(self, name: str) -> Column:
        """One of `Desk.columns`; `NotFoundError` for another."""
        desk = self.desk
        if name not in desk.columns:
            raise NotFoundError(f"there is no column {name}.")
        table = desk.naming.table
        values: Any
        if name == "name":
            values = desk.names()
        elif name == "decision":
            values = desk.states()
        elif name == "morphotype":
            values = desk.morphotype_of()
        elif name == "probability":
            values = table["best_probability"]
        elif name in ("doubt", "novelty"):
            values = table[name]
        else:
            values = desk.shells.specimens[name]
        if pd.api.types.is_numeric_dtype(values):
            return Column([], np.asarray(values, np.float32))
        texts = pd.Series(np.asarray(values, dtype=object)).fillna("").astype(str)
        codes, levels = pd.factorize(texts, sort=True)
        return Column([str(level) for level in levels], codes.astype(np.uint16))

    # Work

    def after_decision(self) -> None:
        """Name everything again where enough has changed."""
        if self.desk.is_stale():
            self.jobs.start("naming", self._renew)

    def _renew(self) -> str:
        desk = self.desk
        while desk.is_stale():  # again, if more was settled meanwhile
            desk.renew()
        return f"named {len(desk.ids)} specimens again"

    def group(self, reviewer: str) -> bool:
        """Group the unknown; False when that is under way."""
        return self.jobs.start(
            "grouping", lambda: f"{self.desk.group_unknown(reviewer)} groups found"
        )

    def identify(self, path: Path) -> dict[str, Any]:
        """Name an uploaded image; `InputError` when it cannot be read."""
        desk = self.desk  # the same throughout, even if another model takes over meanwhile
        with self._embedding:
            got = desk.prepared.model.embedder.embed_images([path], progress="")
        if len(got.skipped):
            raise InputError(f"the image {got.skipped['reason'].iloc[0]}.")
        return desk.identified(got)

    def audit(self) -> bool:
        """Look the collection over; False when that is under way."""

        def work() -> str:
            shells = self.desk.shells
            named = (shells.taxa() != "").any()
            audit = check_collection(shells, self.desk.got if named else None)
            with atomic_path(self.project.folder / FINDINGS) as temporary:
                audit.findings.to_csv(temporary, index=False)
            return f"{len(audit.findings)} findings"

        return self.jobs.start("audit", work)

    def findings(self) -> pd.DataFrame | None:
        """What the last audit found: `forametric.analysis.check.Audit.findings`; None before the first."""
        path = self.project.folder / FINDINGS
        if not path.is_file():
            return None
        try:
            table = pd.read_csv(path, dtype={"score": float}, keep_default_na=False, na_values={})
        except (ValueError, OSError) as error:
            raise InputError(f"{path} cannot be read as findings: {error}.") from None
        if not {"kind", "id", "other_id", "score", "says"} <= set(table.columns):
            raise InputError(f"{path} lacks columns; have the collection looked over again.")
        return table

    def count(self) -> bool:
        """Count the samples again; False when that is under way."""

        def work() -> str:
            self.counts = self.desk.assemblage()
            return f"{len(self.counts.samples)} samples counted"

        return self.jobs.start("counting", work)

    # Models

    def models(self) -> list[dict[str, Any]]:
        """The models of the project, and what the last comparison found of each."""
        path = self._reports / "comparison.json"
        measured = read_json(path) if path.is_file() else {}
        return [
            {"number": number, "name": model.name, "current": number == self.project.current,
             "report": (self._reports / model.name / "report.html").is_file(),
             "measured": measured.get(model.name)}
            for number, model in enumerate(self.project.models)
        ]  # fmt: skip

    @property
    def _reports(self) -> Path:
        return self.project.folder / "reports"

    def report(self, number: int) -> Path:
        """The page that the last comparison wrote for a model."""
        if 0 <= number < len(self.project.models):
            path = self._reports / self.project.models[number].name / "report.html"
            if path.is_file():
                return path
        raise NotFoundError(f"there is no report of a model {number}.")

    def train(self, seed: int = 0) -> bool:
        """Train a new model beside the old, and measure both; False when that is under way.

        Raises
        ------
        InputError
            When the project names no collection of references: the new model would forget them.
        """
        project, store = self.project, self.store
        if not project.reference_images:
            raise InputError(
                "this project names no collection of references, so a new model would know only "
                "what is settled here; train with: forametric train --decisions"
            )
        stamp = datetime.now().strftime("%Y-%m-%d-%H%M%S")
        target = project.folder / "models" / f"model-{stamp}"

        def work() -> str:
            command = [sys.executable, "-m", "forametric.cli", "train", str(project.collection),
                       "--decisions", store.place, "--from", str(project.model),
                       "-o", str(target), "--seed", str(seed)]  # fmt: skip
            for base in project.reference_images:
                command += ["--base", str(base)]
            self.jobs.say("training", "training; this takes minutes, on a large collection hours")
            # A password does not belong where every user of the machine can read it.
            known = os.environ | store.environment
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=known)
            if done.returncode not in (0, 1) or not (target / "model.json").is_file():
                lines = done.stderr.strip().splitlines() or ["it ended without a word"]
                raise InputError(f"no new model: {lines[-1].removeprefix('error: ')}")
            self.project = self.project.with_model(target)
            reviewed = Collection.open(project.collection)
            bases = [Collection.open(base) for base in project.reference_images]
            _, subsets = training_set(reviewed, store, bases, seed=seed)
            self.jobs.say("training", "measuring both models")
            models = {project.model.name: project.model, target.name: target}
            try:
                found = side_by_side(models, reviewed, store, subsets, self._reports)
            except ForametricError as error:
                return f"{target.name} is trained; no comparison: {error}"
            write_json(self._reports / "comparison.json", found)
            return f"{target.name} is trained and compared"

        return self.jobs.start("training", work, apart=True)

    def switch(self, number: int) -> bool:
        """Let another model name the specimens; False when that is under way.

        Raises
        ------
        NotFoundError
            When there is no such model.
        """
        wanted = self.project.at(number)

        def work() -> str:
            desk = Desk(embed_project(wanted), self.store, wanted.depth)
            # Only now, and from what the project is now: a new model may have come meanwhile.
            changed = self.project.at(number)
            changed.save()
            self.project = changed
            self.desk, self.counts = desk, None
            return f"{self.project.model.name} names the specimens now"

        return self.jobs.start("switching", work)
