"""Counts and abundances of the samples of a review, estimated again only where necessary."""

from __future__ import annotations

import numpy as np

from forametric._typing import NameArray
from forametric.analysis.abundance import Composition
from forametric.analysis.assemblages import (
    Assemblages,
    add_unlike,
    coiling_ratios,
    count_samples,
)
from forametric.data.verdicts import NOT_COUNTED, Verdict
from forametric.errors import InputError, NotFoundError
from forametric.identification.identifier import UNKNOWN
from forametric.review.identification_run import Settled
from forametric.review.workspace import ReviewWorkspace


class SampleCounts:
    """The samples of a workspace."""

    def __init__(self, workspace: ReviewWorkspace) -> None:
        self.workspace = workspace
        self._compositions: dict[str, tuple[int, Composition]] = {}  # with the sample's version
        self._estimated_for: tuple[int, list[str]] = (0, [])  # identification run, taxa

    def assemblages(self, sample: str = "") -> Assemblages:
        """Counts and abundances of all samples, or of one, with the present names and decisions.

        Raises
        ------
        InputError
            When no specimen has a sample.
        """
        workspace = self.workspace
        with workspace.lock:
            run, settled = workspace.identification, workspace.settled.copy()
            versions = dict(workspace.sample_versions)
            added = sorted(set(settled.taxa.tolist()) - {"", *run.taxa})
            # A composition has one number for each taxon, so it is of no use with other taxa.
            if self._estimated_for != (run.number, added):
                self._compositions, self._estimated_for = {}, (run.number, added)
            compositions = {
                name: composition
                for name, (version, composition) in self._compositions.items()
                if version == versions.get(name, 0)
            }
        wanted = workspace.samples == sample if sample else workspace.samples != ""
        rows = np.flatnonzero(wanted & ~np.isin(settled.verdicts, NOT_COUNTED))
        if not len(rows):
            raise InputError("no specimen of this collection has a sample to be counted in.")
        specimens = workspace.collection.specimens.iloc[rows].reset_index(drop=True)
        names = run.table.iloc[rows].reset_index(drop=True)
        labels = _labels(settled)[rows]
        table, samples = count_samples(
            specimens,
            names,
            np.pad(run.probabilities[rows], ((0, 0), (0, len(added)))),
            [*run.taxa, *added],
            run.model.calibrated,
            labels,
            depth=workspace.depth,
            compositions=compositions,
        )
        add_unlike(samples, run.drift.table)
        with workspace.lock:  # other taxa may have been settled in the meantime
            if self._estimated_for == (run.number, added):
                for name, composition in compositions.items():
                    self._compositions[name] = (versions.get(name, 0), composition)
        return Assemblages(
            table,
            samples,
            workspace.embedded.skipped,
            int((workspace.samples == "").sum()),
            depth=workspace.depth,
            model=workspace.embedded.model.title,
            coiling=coiling_ratios(specimens, names, labels, depth=workspace.depth),
        )

    def precision(self, sample: str) -> tuple[int, int, float]:
        """A sample's number of specimens, those settled, and the mean width of its intervals.

        Raises
        ------
        NotFoundError
            When the collection has no such sample.
        """
        workspace = self.workspace
        of_sample = workspace.samples == sample
        if not sample or not of_sample.any():
            raise NotFoundError(f"the collection has no sample {sample}.")
        table = self.assemblages(sample).table
        settled = int(workspace.settled.is_settled[of_sample].sum())
        width = round(float((table["high"] - table["low"]).mean()), 5)
        return int(of_sample.sum()), settled, width


def _labels(settled: Settled) -> NameArray:
    """What reviewers say each specimen is: a taxon, `unknown` where it is unlisted, or ""."""
    unlisted = settled.verdicts == Verdict.UNLISTED
    return np.asarray(np.where(unlisted, UNKNOWN, settled.taxa), dtype=object)
