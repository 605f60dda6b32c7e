"""What an expert sees first, and the way from there to decisions, labels and counts."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forametric.analysis.assemblages import assemblages
from forametric.data.collection import Collection
from forametric.errors import InputError, ModelError
from forametric.identification.open_set import probability_known
from forametric.model.model import Model
from forametric.review import DecisionStore, apply_decisions, rank_for_review, read_decisions
from forametric.review.priority import priorities, review_order
from tests.support.samples import A, calibration_of


def _names(rows):
    """Names of specimens: decision, probability of the best taxon, novelty."""
    names = pd.DataFrame(rows, columns=["decision", "probability", "novelty"])
    taxon = np.where(names["decision"].isin(["accepted", "genus"]), A, "")
    return names.assign(taxon=taxon, best=A, best_probability=names["probability"], reason="why")


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
    rows = [("accepted", 0.99, 0.4), ("accepted", 0.55, 0.4), ("ambiguous", 0.4, 0.4),
            ("unknown", 0.9, 1.4)] * 5  # fmt: skip
    ranks = priorities(_names(rows), np.full(20, "", object), calibration_of())
    confident, doubtful, ambiguous, novel = ranks["priority"][:4]
    assert ambiguous > doubtful > confident
    assert doubtful > novel
    samples = np.array(["large"] * 16 + ["small"] * 4, object)
    ranks = priorities(_names(rows), samples, calibration_of())
    assert ranks["influence"].tolist() == [0.5] * 16 + [1.0] * 4
    assert ranks["priority"][17] == 2 * ranks["priority"][1]


def test_suggestions_are_the_likelier_answer():
    rows = [("accepted", 0.9, 0.4), ("ambiguous", 0.4, 0.4), ("unknown", 0.9, 1.4)] * 5
    names = priorities(_names(rows), np.full(15, "", object), calibration_of())
    known = names["probability_known"][:3].to_numpy()
    assert known[0] > 0.9 > 0.1 > known[2]
    assert names["suggestion"][:3].tolist() == [A, A, "unlisted"]
    expected = [0.9 * known[0], 0.4 * known[1], 1 - known[2]]
    assert names["suggestion_probability"][:3].tolist() == pytest.approx(expected)
    # Of a decision, and of the suggestion where there is none.
    assert names["error_probability"][:3].tolist() == pytest.approx(1 - np.array(expected))


def test_what_the_whole_sample_makes_improbable_is_ambiguous():
    alone = [("unknown", 0.9, 0.5), ("accepted", 0.9, 1.4), ("genus", 0.8, 0.4)] * 5
    names = priorities(_names(alone), np.full(15, "", object), calibration_of())
    probably_known, probably_novel, genus = (names.iloc[i] for i in range(3))
    assert probably_known["decision"] == probably_novel["decision"] == "ambiguous"
    assert (probably_known["taxon"], probably_novel["taxon"]) == ("", "")
    assert probably_known["suggestion"] == A
    assert probably_novel["suggestion"] == "unlisted"
    known = f"{probably_known['probability_known']:.2f}"
    assert probably_known["reason"] == f"why, but of a known taxon with a probability of {known}"
    assert (genus["decision"], genus["taxon"], genus["suggestion"]) == ("genus", A, A)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["accepted", "genus", "ambiguous", "unknown"]),
            st.floats(0.01, 1),
            st.floats(0.1, 2),
        ),
        min_size=2,
        max_size=30,
    )
)
def test_no_decision_contradicts_its_own_probability(rows):
    names = priorities(_names(rows), np.full(len(rows), "", object), calibration_of())
    decided = names["decision"] != "ambiguous"
    assert (names["error_probability"][decided] <= 0.5 + 1e-9).all()
    unknown = names["decision"] == "unknown"
    assert (names["suggestion"][unknown] == "unlisted").all()
    assert (names["suggestion"][decided & ~unknown] == A).all()
    assert (names["taxon"][~decided] == "").all()
    assert names["suggestion_probability"].between(0, 1).all()


def test_the_highest_priority_comes_first_and_ties_keep_their_order():
    names = pd.DataFrame({"priority": [0.2, 0.9, 0.2, 0.5]})
    assert review_order(names).tolist() == [1, 3, 0, 2]


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
