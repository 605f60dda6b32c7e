"""What an expert sees first, and the way from there to decisions, labels and counts."""

import numpy as np
import pandas as pd
import pytest

from forametric.analysis.assemblages import assemblages
from forametric.data.collection import Collection
from forametric.errors import InputError, ModelError
from forametric.identification.open_set import probability_known
from forametric.model.model import Model
from forametric.review import DecisionStore, apply_decisions, rank_for_review, read_decisions
from forametric.review.priority import diversify, priorities, similar_clusters
from tests.support.samples import A, calibration_of


def _names(rows):
    return pd.DataFrame(rows, columns=["decision", "probability", "novelty"]).assign(taxon=A)


def test_the_probability_of_being_known_falls_with_novelty():
    calibration = calibration_of()
    novelty = np.float32([0.3, 0.5, 0.7, 0.9, 1.1, 1.3])
    known = probability_known(novelty, calibration)
    assert ((known > 0) & (known < 1)).all()
    assert known[0] > 0.8 > 0.3 > known[-1]
    # Among many unknown specimens the same one is more likely to be unknown.
    among = probability_known(np.concatenate([novelty, np.full(200, 1.3, np.float32)]), calibration)
    assert (among[:6] <= known + 1e-9).all()


def test_likely_errors_come_first_and_small_samples_before_large():
    rows = [("accepted", 0.99, 0.4), ("accepted", 0.55, 0.4), ("unknown", 0.9, 0.6),
            ("unknown", 0.9, 1.4)] * 5  # fmt: skip
    ranks = priorities(_names(rows), np.full(20, "", object), calibration_of())
    confident, doubtful, probably_known, novel = ranks["priority"][:4]
    assert doubtful > confident
    assert probably_known > novel
    samples = np.array(["large"] * 16 + ["small"] * 4, object)
    ranks = priorities(_names(rows), samples, calibration_of())
    assert ranks["influence"].tolist() == [0.5] * 16 + [1.0] * 4
    assert ranks["priority"][17] == 2 * ranks["priority"][1]


def test_similar_specimens_alternate_with_others():
    rng = np.random.default_rng(0)
    centroids = np.eye(4, 8, dtype=np.float32) * 9
    vectors = centroids[np.arange(16) % 4] + rng.normal(0, 0.1, (16, 8)).astype(np.float32)
    priority = np.where(np.arange(16) % 4 == 0, 0.60, 0.55)
    order = diversify(priority, similar_clusters(vectors))
    assert sorted(order) == list(range(16))
    assert {int(i) % 4 for i in order[:4]} == {0, 1, 2, 3}, "one of each before a second"
    assert (order == diversify(priority, similar_clusters(vectors))).all()


def test_from_the_queue_to_decisions_to_counts_and_to_a_shorter_queue(
    calibrated_folder, more_shells, shells, tmp_path
):
    model, core = Model.load(calibrated_folder), Collection.open(more_shells)
    queue = rank_for_review(model, more_shells, reference_images=shells)
    assert len(queue) == 64
    assert repr(queue) == "ReviewQueue(64 specimens to review)"
    assert "<img" in queue._repr_html_()
    folder = queue.save(str(tmp_path / "q"))
    page = (folder / "queue.html").read_text()
    assert page.count("<section>") == 64
    assert "nearest reference of" in page
    assert "http" not in page.replace("http-equiv", ""), "the page asks nothing of the network"
    table = pd.read_csv(folder / "queue.csv")
    assert table["rank"].tolist() == list(range(1, 65))
    assert table["sample"].str.startswith("core").all()
    assert {"error_probability", "probability_known", "influence"} <= set(table)
    table["expert"] = table["expert"].astype(object)
    table.loc[:9, "expert"] = "Nova species"
    store = DecisionStore(tmp_path / "d.sqlite")
    store.record(read_decisions(table, core, "K. Lee"))
    history = store.history()
    assert history["suggested"].tolist() == table["best"][:10].tolist()
    assert set(history["model"]) == {model.fingerprint}
    rest = rank_for_review(model, core, store).table
    assert len(rest) == 54
    assert not set(rest["id"]) & set(table["id"][:10])
    reviewed = apply_decisions(core, store)
    counts = assemblages(model.identify(reviewed)).table
    assert counts.loc[counts["taxon"] == "Nova species", "count"].sum() == 10


def test_a_queue_needs_something_to_review(calibrated_folder, model_folder, more_shells, tmp_path):
    with pytest.raises(ModelError, match="not calibrated"):
        rank_for_review(Model.load(model_folder), more_shells)
    core, store = Collection.open(more_shells), DecisionStore(tmp_path / "d.sqlite")
    everything = core.specimens.assign(expert="Nova species")
    store.record(read_decisions(everything, core, "A"))
    with pytest.raises(InputError, match="every specimen"):
        rank_for_review(Model.load(calibrated_folder), core, store)
