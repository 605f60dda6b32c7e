"""Counts of samples follow decisions, and are estimated again only where necessary."""

import numpy as np

from forametric.analysis import assemblages
from forametric.data.verdicts import Verdict
from forametric.review.samples import SampleCounts
from forametric.review.workspace import VerdictOn


def test_only_samples_with_new_decisions_are_estimated_again(workspace, monkeypatch):
    counts, calls = SampleCounts(workspace), []
    estimate = assemblages.estimate_composition
    monkeypatch.setattr(
        assemblages, "estimate_composition", lambda *a, **k: calls.append(1) or estimate(*a, **k)
    )
    first = counts.assemblages()
    assert len(calls) == len(first.samples) == 4
    workspace.record("A", [VerdictOn(workspace.ids[0], Verdict.UNLISTED)])
    again = counts.assemblages()
    assert len(calls) == 5
    assert again.samples["depth"].tolist() == [0, 1, 2, 3]
    known = counts.assemblages(str(workspace.samples[0]))
    assert known.samples["sample"].tolist() == [workspace.samples[0]]
    assert len(calls) == 5


def test_an_estimate_from_before_a_decision_is_not_kept(workspace, monkeypatch):
    counts, estimate = SampleCounts(workspace), assemblages.estimate_composition

    def decide_meanwhile(*arguments, **settings):
        monkeypatch.setattr(assemblages, "estimate_composition", estimate)
        workspace.record("A", [VerdictOn(workspace.ids[0], Verdict.TAXON, "Nova species")])
        return estimate(*arguments, **settings)

    monkeypatch.setattr(assemblages, "estimate_composition", decide_meanwhile)
    counts.assemblages(str(workspace.samples[0]))
    found = counts.assemblages().table.set_index(["sample", "taxon"])
    assert found.loc[(workspace.samples[0], "Nova species"), "count"] == 1
    assert found.loc[(workspace.samples[1], "Nova species"), "count"] == 0


def test_an_estimate_of_a_sample_that_changes_meanwhile_is_made_again(workspace, monkeypatch):
    counts, estimate, calls = SampleCounts(workspace), assemblages.estimate_composition, []

    def decide_meanwhile(*arguments, **settings):
        calls.append(1)
        if len(calls) == 1:
            workspace.record("A", [VerdictOn(workspace.ids[0], Verdict.UNLISTED)])
        return estimate(*arguments, **settings)

    monkeypatch.setattr(assemblages, "estimate_composition", decide_meanwhile)
    counts.assemblages()
    counts.assemblages()
    assert len(calls) == 5, "the changed sample once more"


def test_duplicates_and_what_is_not_a_specimen_are_not_counted(workspace):
    counts = SampleCounts(workspace)
    before = counts.assemblages().samples.set_index("sample")["specimens"]
    rows = np.flatnonzero(workspace.samples == workspace.samples[0])[:2]
    verdicts = (Verdict.DUPLICATE, Verdict.NOT_A_SPECIMEN)
    workspace.record(
        "A", [VerdictOn(workspace.ids[r], v) for r, v in zip(rows, verdicts, strict=True)]
    )
    after = counts.assemblages().samples.set_index("sample")["specimens"]
    first = workspace.samples[0]
    assert (before - after).to_dict() == {s: 2 if s == first else 0 for s in before.index}
