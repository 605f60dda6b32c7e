"""Current decisions and consensus follow from the history."""

import pytest

from forametric.data.verdicts import Verdict
from forametric.errors import InputError
from forametric.review import Decision, DecisionStore, consensus
from forametric.review.decisions import current_decisions, parse_verdict


@pytest.fixture
def store(tmp_path):
    return DecisionStore(tmp_path / "decisions.sqlite")


def _is(specimen, taxon, reviewer="A"):
    return Decision(specimen, Verdict.TAXON, taxon, reviewer)


def test_skipping_a_judged_specimen_does_not_change_the_judgement(store):
    store.record([_is("s1", "Aa bb")])
    store.record([Decision("s1", "skip", "", "A"), Decision("s2", "skip", "", "A")])
    current = current_decisions(store.history())
    assert current[["specimen", "verdict", "taxon"]].to_numpy().tolist() == [
        ["s1", "taxon", "Aa bb"]
    ]
    everything = current_decisions(store.history(), include_skipped=True)
    assert dict(zip(everything["specimen"], everything["verdict"], strict=True)) == {
        "s1": "taxon", "s2": "skip",
    }  # fmt: skip
    again = [_is("s1", "Aa bb"), *(Decision(s, "skip", "", "A") for s in ("s1", "s2"))]
    assert store.record(again) == [], "the same again is not another decision"


def test_conflicts_are_shown_and_a_majority_settles(store):
    for reviewer, taxon in (("A", "Aa bb"), ("B", "Aa bb"), ("C", "Cc dd")):
        store.record([_is("s1", taxon, reviewer)])
    store.record([_is("s2", "Aa bb", "A"), Decision("s2", "not_a_specimen", "", "B")])
    store.record([_is("s3", "Aa bb", "A"), Decision("s3", "skip", "", "B")])
    found = consensus(store.history()).set_index("specimen")
    assert found["taxon"].to_dict() == {"s1": "Aa bb", "s2": "", "s3": "Aa bb"}
    assert found["verdict"].to_dict() == {"s1": "taxon", "s2": "", "s3": "taxon"}
    assert found["conflict"].to_dict() == {"s1": True, "s2": True, "s3": False}
    assert found["reviewers"]["s3"] == "A"
    assert found["agreeing"].to_dict() == {"s1": "A|B", "s2": "", "s3": "A"}
    assert found["agreement"].to_dict() == {"s1": 0.667, "s2": 0.5, "s3": 1.0}


def test_a_taxon_and_a_verdict_of_the_same_text_are_different_answers(store):
    store.record([_is("s1", "unlisted", "A"), Decision("s1", "unlisted", "", "B")])
    assert consensus(store.history())["conflict"].tolist() == [True]


def test_an_empty_history_has_no_consensus(store):
    assert len(consensus(store.history())) == 0
    assert len(current_decisions(store.history(), include_skipped=True)) == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (("s", "maybe", "", "A"), "'maybe' is not a verdict"),
        (("s", "taxon", " ", "A"), "contradict"),
        (("s", "unlisted", "Aa bb", "A"), "contradict"),
        (("s", "unlisted", "", " "), "name of its reviewer"),
    ],
)
def test_a_decision_that_says_nothing_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        Decision(*fields)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("unknown", Verdict.UNLISTED),
        ("Unlisted", Verdict.UNLISTED),
        (" None ", Verdict.NOT_A_SPECIMEN),
        ("NO SHELL", Verdict.NOT_A_SPECIMEN),
        ("Not  a specimen", Verdict.NOT_A_SPECIMEN),
        ("not_a_specimen", Verdict.NOT_A_SPECIMEN),
        ("not a specimen, debris: 3", Verdict.NOT_A_SPECIMEN),
        ("duplicate", Verdict.DUPLICATE),
        ("skip", Verdict.SKIP),
    ],
)
def test_a_verdict_that_is_written_as_a_name_is_a_verdict(text, verdict):
    assert parse_verdict(text) == (verdict, "")
    if ":" not in text:
        assert parse_verdict(f"{text}a")[0] == Verdict.TAXON


def test_a_name_of_no_specimen_is_that_verdict():
    """The page accepts what the model suggests, which may be a label of debris."""
    given = Decision("s1", "taxon", "Not_a_specimen_debris", "A")
    assert (given.verdict, given.taxon) == (Verdict.NOT_A_SPECIMEN, "")
