"""The state of a review: decisions as they come in, and identifications that follow them."""

import re
import threading
from dataclasses import replace

import numpy as np
import pytest

from forametric.data.embeddings import Embeddings
from forametric.data.verdicts import Verdict
from forametric.errors import InputError, NotFoundError
from forametric.review import Decision, DecisionStore
from forametric.review.identification_run import identify_collection
from forametric.review.morphotypes import ReviewMorphotypes
from forametric.review.project import STORE, Project, embed_project
from forametric.review.workspace import ReviewWorkspace, VerdictOn


def _is(specimen, taxon):
    return VerdictOn(specimen, Verdict.TAXON, taxon)


def test_what_is_settled_shows_immediately_and_an_undo_reverts_it(workspace):
    specimen = workspace.ids[0]
    workspace.record("A", [_is(specimen, "Nova  species")])
    assert workspace.taxa()[0] == "Nova species"
    assert workspace.states()[0] == "settled"
    assert workspace.progress().settled == 1
    assert [undone.taxon for undone in workspace.undo("A")] == ["Nova species"]
    assert workspace.progress().settled == 0
    assert workspace.undo("A") == []


def test_the_same_decision_sent_twice_is_recorded_once(workspace):
    decision = [_is(workspace.ids[0], "Aa bb")]
    assert len(workspace.record("A", decision)) == 1
    assert workspace.record("A", decision) == []
    assert len(workspace.store.history()) == 1


def test_reviewers_who_differ_are_shown_and_a_third_settles(workspace):
    specimen = workspace.ids[3]
    workspace.record("A", [_is(specimen, "Aa bb")])
    workspace.record("B", [VerdictOn(specimen, Verdict.NOT_A_SPECIMEN)])
    assert workspace.states()[3] == "conflict"
    assert workspace.settled.verdicts[3] == ""
    workspace.record("C", [VerdictOn(specimen, Verdict.NOT_A_SPECIMEN)])
    assert workspace.settled.verdicts[3] == "not_a_specimen"
    assert workspace.taxa()[3] == ""


def test_decisions_of_another_program_on_the_same_store_are_read(workspace, folder):
    other = DecisionStore(folder / STORE)
    other.record([Decision(workspace.ids[5], "taxon", "Aa bb", "B")])
    other.record([Decision("not of this collection", "taxon", "Aa bb", "B")])
    workspace.refresh()
    assert workspace.taxa()[5] == "Aa bb"
    other.undo("B")
    other.undo("B")
    workspace.refresh()
    assert workspace.settled.verdicts[5] == ""


def test_a_workspace_opens_with_the_decisions_of_before(workspace, folder):
    workspace.record("A", [_is(workspace.ids[2], "Aa bb")])
    workspace.store.record([Decision("not of this collection", "taxon", "Aa bb", "B")])
    again = ReviewWorkspace(workspace.embedded, DecisionStore.open(folder / STORE))
    assert again.taxa()[2] == "Aa bb"
    assert again.answered("A")[2]
    assert "Aa bb" in again.identification.taxa


def test_decisions_record_the_fingerprint_of_the_model(workspace):
    workspace.record("A", [_is(workspace.ids[0], "Aa bb")])
    assert workspace.store.history()["model"].tolist() == [workspace.embedded.model.fingerprint]


def test_a_name_is_learnt_immediately_and_forgotten_with_an_undo(folder):
    embedded, rng = embed_project(Project.open(folder)), np.random.default_rng(0)
    vectors = embedded.embeddings.vectors.copy()
    # Eight specimens like each other and like nothing else.
    other = rng.normal(size=vectors.shape[1])
    other *= np.linalg.norm(vectors, axis=1).mean() / np.linalg.norm(other)
    vectors[:8] = other + rng.normal(0, 1e-3, (8, len(other)))
    planted = replace(embedded, embeddings=replace(embedded.embeddings, vectors=vectors))
    workspace = ReviewWorkspace(planted, DecisionStore(folder / STORE))
    morphotypes = ReviewMorphotypes(workspace)
    number = morphotypes.move("A", [str(i) for i in workspace.ids[:6]])
    morphotypes.name("A", number, "Nova species")
    assert workspace.needs_update(), "a name that the model does not know"
    workspace.update()
    assert not workspace.needs_update()
    assert workspace.identification.number == 2
    run = workspace.identification
    best = np.array(run.taxa)[run.probabilities.argmax(1)]
    assert (best[6:8] == "Nova species").all(), "similar specimens are recognised"
    assert (best[8:] != "Nova species").all()
    assert morphotypes.list()[-1].name == "Nova species"
    morphotypes.undo("A")
    assert workspace.progress().settled == 0
    assert workspace.needs_update()
    workspace.update()
    assert "Nova species" not in workspace.identification.taxa


def test_decisions_made_while_identifying_again_count_for_the_next_time(workspace, monkeypatch):
    run = type(workspace.identification)
    identify_again = run.update

    def slow(self, settled):
        workspace.record("B", [_is(workspace.ids[5], "Altera species")])
        return identify_again(self, settled)

    monkeypatch.setattr(run, "update", slow)
    workspace.record("A", [_is(workspace.ids[0], "Nova species")])
    workspace.update()
    assert "Altera species" not in workspace.identification.taxa
    assert workspace.needs_update()
    monkeypatch.undo()
    workspace.update()
    assert {"Nova species", "Altera species"} <= set(workspace.identification.taxa)
    assert not workspace.needs_update()


def test_identifying_again_step_by_step_gives_what_a_single_run_gives(workspace):
    names = [*workspace.identification.taxa, "Nova species", "Altera species"]
    rng = np.random.default_rng(0)
    for step in range(5):
        some = rng.choice(workspace.ids, 6, replace=False)
        workspace.record("A", [_is(i, str(rng.choice(names))) for i in some])
        workspace.specimen(workspace.ids[step])  # searches one vector in between
        if step == 3:
            workspace.undo("A")
        workspace.update()
        run = workspace.identification
        alone = identify_collection(workspace.embedded, workspace.samples, workspace.settled.copy())
        assert sorted(run.model.references.ids) == sorted(alone.model.references.ids)
        assert run.settled_references == alone.settled_references
        np.testing.assert_allclose(run.probabilities, alone.probabilities, atol=1e-5)
        columns = ["taxon", "decision", "best", "second"]
        assert run.table[columns].equals(alone.table[columns])
        assert (run.order == alone.order).all()


def test_decisions_count_when_identifying_again_fails(workspace, monkeypatch):
    workspace.record("A", [_is(workspace.ids[0], "Nova species")])

    def fail(self, settled):
        raise InputError("no")

    monkeypatch.setattr(type(workspace.identification), "update", fail)
    with pytest.raises(InputError):
        workspace.update()
    assert workspace.needs_update()


def test_a_second_reviewer_is_not_shown_the_first_ones_answer(workspace):
    before = workspace.specimen(workspace.ids[0])
    workspace.record("A", [_is(i, "Nova species") for i in workspace.ids[:4]])
    workspace.update()
    after = workspace.specimen(workspace.ids[0])
    assert after.taxon == "Nova species", "the page of the specimen tells; the queue does not"
    for name in ("decision", "suggested", "probability", "novelty"):
        assert getattr(after, name) == getattr(before, name), name
    # How likely it is of a known taxon depends on how novel the others are.
    first, second = (re.sub(r"known taxon with .*?;", "", s.explanation) for s in (before, after))
    assert first == second
    taxa = [candidate.taxon for candidate in before.candidates]
    assert [candidate.taxon for candidate in after.candidates] == [*taxa, "Nova species"]
    assert after.candidates[-1].probability == 0
    shown = {reference.id for c in after.candidates for reference in c.references}
    assert workspace.ids[0] not in shown
    workspace.record("B", [_is(workspace.ids[0], "Nova species")])
    assert workspace.store.history()["suggested"].iloc[-1] == before.suggested


def test_a_verdict_that_is_typed_as_a_name_is_a_verdict(workspace):
    workspace.record("A", [_is(workspace.ids[0], " None ")])
    assert workspace.settled.verdicts[0] == "not_a_specimen"
    assert workspace.settled.taxa[0] == ""
    with pytest.raises(InputError, match="contradict"):
        workspace.record("A", [_is(workspace.ids[1], " ")])


def test_identifications_are_those_of_the_model(workspace):
    plain = workspace.embedded.model.predict_proba(workspace.embeddings)
    assert np.array_equal(plain, workspace.identification.probabilities)


def test_a_specimen_is_shown_with_its_metadata_and_history(workspace):
    specimen = str(workspace.ids[6])
    workspace.record("A", [VerdictOn(specimen, Verdict.UNLISTED)])
    workspace.undo("A")
    shown = workspace.specimen(specimen)
    assert shown.verdict is None
    assert shown.metadata["sample"] == shown.sample == workspace.samples[6]
    assert "depth" in shown.metadata
    assert [row.verdict for row in shown.history] == ["unlisted", "undo"]
    assert shown.history[1].undoes == shown.history[0].number
    assert shown.history[1].previous_verdict == "unlisted"
    with pytest.raises(NotFoundError, match="no specimen nobody"):
        workspace.specimen("nobody")


def test_an_image_from_elsewhere_is_placed_among_its_neighbors(workspace):
    some = workspace.embeddings[4:5]
    found = workspace.identify(Embeddings.of_vectors(some.vectors, some.class_probabilities))
    assert found.similar[0].id == workspace.ids[4]
    assert found.decision == workspace.identification.table["decision"][4]


def test_two_workspaces_on_one_postgresql_see_each_others_decisions_and_steps(folder, postgresql):
    embedded = embed_project(Project.open(folder))
    one, other = (ReviewWorkspace(embedded, DecisionStore(postgresql), "depth") for _ in range(2))
    groups, other_groups = ReviewMorphotypes(one), ReviewMorphotypes(other)
    one.record("A", [_is(one.ids[0], "Aa bb")])
    other.refresh()
    assert other.taxa()[0] == "Aa bb"
    number = groups.move("A", [str(i) for i in one.ids[:3]])
    other_groups.name("B", number, "Nova species")
    one.refresh()
    assert groups.list()[0].name == "Nova species"
    assert one.conflict[0], "B calls it Nova species, A does not"
    assert other_groups.undo("B")["kind"] == "name"
    one.refresh()
    assert not one.conflict[0]

    def many(workspace, reviewer):
        for i in workspace.ids[10:30]:
            workspace.record(reviewer, [_is(i, "Aa bb")])

    threads = [threading.Thread(target=many, args=pair) for pair in ((one, "A"), (other, "B"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for workspace in (one, other):
        workspace.refresh()
        assert (workspace.settled.taxa[10:30] == "Aa bb").all()
        assert workspace.answered("A")[10:30].all()
        assert workspace.answered("B")[10:30].all(), "no row was passed over"
    # The tables are append-only there as well.
    with pytest.raises(Exception, match="append-only"), one.store.database.writing() as raw:
        raw.exec_driver_sql("DELETE FROM steps")
