"""Morphotypes of a review: groups of specimens that reviewers find, change and name."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from forametric._typing import FloatArray, IntArray, NameArray
from forametric.analysis.clustering import centroids_of, cluster, unit_length
from forametric.analysis.discovery import MIN_SPECIMENS, discover
from forametric.data.verdicts import Verdict
from forametric.errors import InputError, NotFoundError
from forametric.identification.identifier import UNKNOWN
from forametric.review.candidates import nearest_references
from forametric.review.decisions import parse_verdict
from forametric.review.groups import Groups
from forametric.review.identification_run import IdentificationRun
from forametric.review.views import MorphotypeView, NearestTaxon
from forametric.review.workspace import ReviewWorkspace, VerdictOn

MAX_MEMBERS = 400  # of a morphotype that are listed
N_NEAREST = 3  # known taxa listed for each


class ReviewMorphotypes:
    """The morphotypes of a workspace; every change is recorded and can be undone."""

    def __init__(self, workspace: ReviewWorkspace) -> None:
        self.workspace = workspace
        self._groups = Groups(workspace.store)

    def discover(self, reviewer: str) -> int:
        """Group the unknown specimens; returns the number of morphotypes.

        These are those that reviewers call unlisted, and those that are not settled and unlike all
        known taxa. The present morphotypes are dissolved.

        Raises
        ------
        InputError
            When there are too few.
        """
        workspace = self.workspace
        with workspace.lock:
            run, settled = workspace.identification, workspace.settled
            is_unknown = (run.table["decision"] == UNKNOWN).to_numpy() & ~settled.is_settled
            rows = np.flatnonzero(is_unknown | (settled.verdicts == Verdict.UNLISTED))
        if len(rows) < MIN_SPECIMENS:
            raise InputError(f"{len(rows)} specimens are unknown: too few to group.")
        found = discover(workspace.embeddings[rows], run.model)
        with workspace.lock:
            self._groups.refresh()
            last = self._groups.next_number() - 1
            to = {i: 0 for i in self._groups.group_of if i in workspace.row_of}
            for row, label in zip(rows, found.labels_.tolist(), strict=True):
                if label:
                    to[str(workspace.ids[row])] = last + label
            self._groups.move(reviewer, "discover", to)
        return len(found)

    def list(self) -> builtins.list[MorphotypeView]:
        """All morphotypes, the unnamed ones first, the largest first."""
        workspace = self.workspace
        with workspace.lock:
            self._groups.refresh()
            group_of, names = dict(self._groups.group_of), dict(self._groups.names)
        run = workspace.identification
        known = unit_length(run.model.references.centroids)
        rows_of: dict[int, builtins.list[int]] = {}
        for specimen, number in group_of.items():
            if specimen in workspace.row_of:
                rows_of.setdefault(number, []).append(workspace.row_of[specimen])
        views = [
            self._view(run, number, names.get(number, ""), np.array(rows), known)
            for number, rows in rows_of.items()
        ]
        return sorted(views, key=lambda view: (bool(view.name), -view.specimens, view.number))

    def _view(
        self, run: IdentificationRun, number: int, name: str, rows: IntArray, known: FloatArray
    ) -> MorphotypeView:
        """One morphotype; `known` are the centroids of the known taxa, of length 1."""
        vectors = self.workspace.embeddings.vectors[rows]
        directions = unit_length(vectors)
        centroid = centroids_of(directions, np.ones(len(rows), np.int64))[0]
        cosines = directions @ centroid
        typical = rows[np.argsort(-cosines, kind="stable")]
        distances = np.linalg.norm(known - centroid, axis=1)
        references, mean = run.model.references, vectors.mean(0)
        nearest = [
            NearestTaxon(
                run.taxa[t],
                round(float(distances[t]), 3),
                nearest_references(references, run.taxa[t], mean, 1)[0].id,
            )
            for t in np.argsort(distances, kind="stable")[:N_NEAREST]
        ]
        return MorphotypeView(
            number,
            name,
            len(rows),
            [str(i) for i in self.workspace.ids[typical[:MAX_MEMBERS]]],
            round(float(cosines.mean()), 3),
            round(float(run.table["probability_known"].iloc[rows].mean()), 3),
            nearest,
        )

    def labels(self) -> NameArray:
        """The morphotype of each specimen, by its name or number; "" for none, shape (n,)."""
        with self.workspace.lock:
            group_of, names = self._groups.group_of, self._groups.names
            label = {g: names.get(g, f"morphotype {g}") for g in set(group_of.values())}
            ids = self.workspace.ids
            return np.asarray([label.get(group_of.get(i, 0), "") for i in ids], dtype=object)

    def move(self, reviewer: str, specimens: Sequence[str], morphotype: int | None = None) -> int:
        """Move specimens into a morphotype; returns its number.

        Parameters
        ----------
        morphotype : int, optional
            0 removes them from their morphotypes; None makes a new morphotype.

        Raises
        ------
        NotFoundError
            When a specimen is not of the collection, or the morphotype does not exist.
        """
        workspace = self.workspace
        for specimen in specimens:
            workspace.row(specimen)
        with workspace.lock:
            self._groups.refresh()
            if morphotype:
                self._members(morphotype)
            number = self._groups.next_number() if morphotype is None else morphotype
            self._groups.move(reviewer, "move", dict.fromkeys(specimens, number))
        return number

    def merge(self, reviewer: str, morphotypes: Sequence[int]) -> int:
        """Merge morphotypes into the first of them; returns its number.

        Raises
        ------
        NotFoundError
            When one of them does not exist.
        """
        first, *others = morphotypes
        with self.workspace.lock:
            self._groups.refresh()
            for number in morphotypes:
                self._members(number)
            to = {i: first for number in others for i in self._groups.members(number)}
            self._groups.move(reviewer, "merge", to)
        return first

    def split(self, reviewer: str, morphotype: int) -> int:
        """Split a morphotype into two clusters; returns the number of the smaller, new one.

        Raises
        ------
        InputError
            When it has fewer than two different specimens.
        NotFoundError
            When it does not exist.
        """
        workspace = self.workspace
        with workspace.lock:
            self._groups.refresh()
            members = [i for i in self._members(morphotype) if i in workspace.row_of]
            rows = [workspace.row_of[i] for i in members]
            labels = cluster(workspace.embeddings.vectors[rows], 2)[0] if len(rows) > 1 else [1]
            counts = pd.Series(labels).value_counts()
            if len(counts) < 2:
                raise InputError(f"morphotype {morphotype} has nothing to split.")
            smaller = 2 if counts[2] < counts[1] else 1
            number = self._groups.next_number()
            to = {i: number for i, label in zip(members, labels, strict=True) if label == smaller}
            self._groups.move(reviewer, "split", to)
        return number

    def name(self, reviewer: str, morphotype: int, name: str) -> int:
        """Give all specimens of a morphotype a name; returns the number of decisions recorded.

        Raises
        ------
        InputError
            When the name is a verdict.
        NotFoundError
            When the morphotype does not exist.
        """
        verdict, taxon = parse_verdict(name)
        if verdict != Verdict.TAXON:
            raise InputError(f"{name!r} is a verdict, not a name.")
        workspace = self.workspace
        with workspace.lock:
            self._groups.refresh()
            members = [i for i in self._members(morphotype) if i in workspace.row_of]
            numbers = workspace.record(reviewer, [VerdictOn(i, verdict, taxon) for i in members])
            more = {"group": morphotype, "name": taxon, "decisions": numbers}
            self._groups.move(reviewer, "name", {}, **more)
        return len(numbers)

    def undo(self, reviewer: str) -> dict[str, Any] | None:
        """Undo a reviewer's last step, and the decisions that it made; None when there is none.

        Returns
        -------
        dict
            The step: `kind` (discover, move, merge, split, name), `moves`, …
        """
        workspace = self.workspace
        with workspace.lock:
            last = self._groups.last_step(reviewer)
            if last is not None and last[1].get("decisions"):
                # First, since a step that was undone is not found again.
                workspace.store.revoke(last[1]["decisions"])
                workspace.refresh()
            return self._groups.undo(reviewer)

    def _members(self, morphotype: int) -> builtins.list[str]:
        members = self._groups.members(morphotype)
        if not members:
            raise NotFoundError(f"morphotype {morphotype} does not exist.")
        return members
