"""Training sets from decisions, and training in a process of its own."""

import multiprocessing
import tempfile

import pytest

from forametric.data.collection import Collection
from forametric.errors import InputError
from forametric.review import Decision, DecisionStore, Project, retrain, training_set
from forametric.review.retrain import TrainingProcess


def test_models_trained_one_after_the_other_are_tested_on_the_same_specimens(
    more_shells, shells, tmp_path
):
    core = Collection.open(more_shells)
    store = DecisionStore(tmp_path / "d.sqlite")
    truth = core.specimens["taxon"].tolist()
    unnamed = Collection(core.specimens.assign(taxon=None), core.images, core.info)
    ids = core.specimens["id"].tolist()

    def tested():
        split = training_set(unnamed, store, [shells])
        subsets = split.subsets
        assert set(subsets[shells.specimens["id"]]) <= {"train", "val", "unused"}
        assert subsets.index.tolist() == split.collection.specimens["id"].tolist()
        return set(subsets.index[subsets == "test"])

    store.record([Decision(i, "taxon", t, "A") for i, t in zip(ids[:40], truth, strict=False)])
    first = tested()
    store.record([Decision(i, "taxon", t, "A") for i, t in zip(ids[40:], truth[40:], strict=True)])
    second = tested()
    assert first
    assert second & set(ids[:40]) == first


def test_what_reviewers_reject_is_not_learnt_from_the_base_again(more_shells, tmp_path):
    core = Collection.open(more_shells)
    ids = core.specimens["id"].tolist()
    store = DecisionStore(tmp_path / "d.sqlite")
    verdicts = ["not_a_specimen", "duplicate", "unlisted"]
    store.record([Decision(i, v, "", "A") for i, v in zip(ids, verdicts, strict=False)])
    store.record([Decision(ids[3], "taxon", "single sphere", "A")])
    split = training_set(core, store, [core])
    assert set(ids[3:]) == set(split.collection.specimens["id"]) == set(split.subsets.index)


def test_an_error_in_the_training_process_arrives_as_its_message(folder):
    project = Project.open(folder)
    DecisionStore(folder / "empty.sqlite").record([Decision("elsewhere", "skip", "", "A")])
    process = TrainingProcess(project, str(folder / "empty.sqlite"), folder / "models" / "new")
    with pytest.raises(InputError, match=r"empty\.sqlite settle no specimen"):
        process.result()


def test_a_stopped_training_process_is_reported(folder):
    process = TrainingProcess(Project.open(folder), str(folder / "d.sqlite"), folder / "new")
    process.stop()
    with pytest.raises(InputError, match="interrupted"):
        process.result()


def test_an_unforeseen_error_in_the_training_process_has_a_log(folder, tmp_path, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(retrain, "train_from_decisions", fail)
    monkeypatch.setattr(retrain.signal, "signal", lambda *_: None)
    receiver, sender = multiprocessing.Pipe(duplex=False)
    retrain._train_and_send(sender, Project.open(folder), "", folder / "new", 0)
    message = receiver.recv()
    assert "ZeroDivisionError: unforeseen" in message
    (log,) = tmp_path.glob("forametric-error-*.log")
    assert message.endswith(str(log))
