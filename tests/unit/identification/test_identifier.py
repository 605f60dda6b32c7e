"""Decisions and references by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forametric import metrics
from forametric.data.embeddings import Embeddings
from forametric.data.taxonomy import Taxonomy
from forametric.errors import InputError, ModelError
from forametric.identification.identifier import Identifier, decide
from forametric.identification.references import ReferenceSet
from tests.support.samples import A, B, C, calibration_of


def test_centroid_distances_by_hand():
    vectors = np.float32([[2, 0], [2, 0], [2, 0], [0, 2]])
    references = ReferenceSet(["1", "2", "3", "4"], np.array([A, A, A, B], object), vectors)
    # From the centroids (2, 0) and (0, 2).
    assert references.centroid_distances(np.float32([[1, 0]]))[0] == pytest.approx([1, 5])


def test_decisions_by_hand():
    p = np.float32([[0.9, 0.05, 0.05], [0.45, 0.45, 0.1], [0.4, 0.2, 0.4], [0.98, 0.01, 0.01]])
    novelty = np.float32([0.5, 0.5, 0.5, 1.5])
    table = decide(
        p, novelty, [A, B, C], calibration_of(), min_probability=0.7, taxonomy=Taxonomy.load()
    )
    assert table["decision"].tolist() == ["accepted", "genus", "ambiguous", "unknown"]
    assert table["taxon"].tolist() == [A, "Globigerina", "", ""]
    assert table["probability"].tolist() == pytest.approx([0.9, 0.9, 0.4, 0.98])
    assert "species uncertain" in table["reason"][1]
    assert "no taxon reaches a probability of 0.7" in table["reason"][2]
    assert "more novel than 95%" in table["reason"][3]


def test_labels_that_are_not_specimens_are_added_up():
    taxa = [A, "not a specimen, dot", "not a specimen, fibre"]
    p = np.float32([[0.4, 0.3, 0.3], [0.55, 0.25, 0.2], [0.2, 0.7, 0.1], [0.2, 0.7, 0.1]])
    novelty, found = np.float32([0.5, 0.5, 0.5, 1.5]), {}
    for least in (0.5, 0.0, 0.9):
        found[least] = decide(
            p, novelty, taxa, calibration_of(), min_probability=least, taxonomy=Taxonomy.load()
        )
    table = found[0.5]
    none, unknown = "not_a_specimen", "unknown"
    assert table["decision"].tolist() == [none, "accepted", none, unknown]
    assert table["taxon"].tolist() == ["", A, "", ""]
    assert table["probability"].tolist() == pytest.approx([0.6, 0.55, 0.8, 0.7])
    assert table["reason"][2] == "not a specimen, dot: probability 0.80"
    assert found[0.0]["decision"].tolist() == [none, "accepted", none, unknown]
    assert found[0.9]["decision"].tolist() == ["ambiguous"] * 3 + [unknown]


def test_the_reason_of_an_accepted_name_is_what_decided():
    vectors = np.float32([[4, 0], [6, 0], [0, 5], [0, 6], [0, 7]])
    references = ReferenceSet(list("12345"), np.array([A, A, B, B, B], object), vectors)
    identifier = Identifier(references, calibration_of(novelty_threshold=99.0, distance_weight=1.0))
    table = identifier.identify(Embeddings.of_vectors(np.float32([[5, 1]])), min_probability=0)
    assert table["taxon"].tolist() == [A]
    assert table["reason"][0].endswith(": 2 of 5 nearest references, nearest centroid")
    # Without the distances, the votes of three far references still lose to those of two near ones.
    votes_only = Identifier(references, calibration_of(novelty_threshold=99.0))
    far = votes_only.identify(Embeddings.of_vectors(np.float32([[4, 6]])), min_probability=0)
    assert far["reason"][0].endswith(": 3 of 5 nearest references, nearest centroid")


def test_names_without_a_genus_are_not_rolled_up():
    p = np.float32([[0.5, 0.5]])
    table = decide(
        p, np.float32([0]), ["single sphere", "single disc"], calibration_of(), min_probability=0.9,
        taxonomy=Taxonomy.load(),
    )  # fmt: skip
    assert table["decision"].tolist() == ["ambiguous"]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_open_set_figures_keep_within_their_bounds(values):
    known, novel = np.array(values), np.array(values) + 0.5
    right = np.arange(len(values)) % 2 == 0
    auroc, found = metrics.auroc(novel, known), metrics.oscr(novel, known, right)
    assert 0 <= found <= right.mean() + 1e-12
    assert auroc >= 0.5
    assert metrics.fpr_at_tpr(novel + 1, known) == 0


@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 8), st.booleans())
def test_references_that_are_added_are_found_as_by_a_search_of_all(seed, first, more, searched):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(first + more, 4)).astype(np.float32)
    queries = Embeddings.of_vectors(rng.normal(size=(7, 4))).vectors  # which do not change
    ids, taxa = [str(i) for i in range(first + more)], np.array([A] * (first + more), object)
    whole = ReferenceSet(ids, taxa, vectors)
    part = ReferenceSet(ids[:first], taxa[:first], vectors[:first])
    if searched:
        part.kneighbors(queries)
    grown = part.add(ids[first:], taxa[first:], vectors[first:])
    for found, expected in zip(grown.kneighbors(queries), whole.kneighbors(queries), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert grown.ids == whole.ids


def test_reference_sets_of_one_taxon_or_one_specimen_still_answer():
    vectors = np.eye(3, dtype=np.float32)
    lone = ReferenceSet(["a"], np.array([A], object), vectors[:1])
    assert lone.predict(vectors).tolist() == [A] * 3
    assert lone.novelty(vectors).tolist() == pytest.approx([0, 2**0.5, 2**0.5])
    assert lone.leave_class_out(vectors, np.array([A] * 3, object))[0].tolist() == [0, 0, 0]
    two = ReferenceSet(["a", "b"], np.array([A, B], object), vectors[:2])
    novelty, _ = two.leave_class_out(vectors[:1], np.array([A], object))
    assert novelty.tolist() == pytest.approx([2**0.5])


@given(st.integers(0, 2**32))
def test_references_left_out_have_the_novelty_of_a_set_without_them(seed):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(14, 6)).astype(np.float32)
    lone = ReferenceSet(["a", "b"], np.array([A, B], object), vectors[:2])
    assert len(lone.novelty_leave_one_out(np.arange(2))[0]) == 0
    taxa = np.array([A, A, B] * 4 + [A, C], object)
    references = ReferenceSet([str(i) for i in range(14)], taxa, vectors)
    novelty, rows = references.novelty_leave_one_out(np.arange(1, 14))
    assert rows.tolist() == list(range(1, 13)), "C would have no reference left"
    for found, row in zip(novelty, rows, strict=True):
        rest = np.delete(np.arange(14), row)
        without = ReferenceSet([str(i) for i in rest], taxa[rest], vectors[rest])
        assert found == pytest.approx(without.novelty(vectors[row : row + 1])[0], abs=1e-4)


def test_few_validation_specimens_or_references_are_refused_or_do():
    vectors = np.eye(2, 4, dtype=np.float32)
    identifier = Identifier(ReferenceSet(["1", "2"], np.array([A, B], object), vectors))
    some = Embeddings.of_vectors(np.tile(vectors, (5, 1)))
    with pytest.raises(InputError, match="no validation specimens"):
        identifier.calibrate(some, np.array([C] * 10, object))  # none of a known taxon
    found = identifier.calibrate(some, np.array([A, B] * 5, object))
    assert found.calibrated.specimens == 10, "with one reference of each taxon"


def test_names_weigh_the_head_by_what_it_knows():
    a, b = "alpha", "beta"
    x, y, z = np.eye(3, 8, dtype=np.float32)
    references = ReferenceSet(["1", "2", "3"], np.array([a, b, "new"], object), np.stack([x, y, z]))
    identifier = Identifier(references, head_taxa=[a, b])
    got = Embeddings.of_vectors(np.stack([x, z]), np.array([[0.0, 1.0], [0.0, 1.0]], np.float32))
    votes = references.votes(got.vectors)
    scores = identifier.class_scores(got)
    assert scores.sum(1) == pytest.approx(1)
    column = {t: references.classes_.index(t) for t in (a, b, "new")}
    known = votes[0, [column[a], column[b]]].sum()
    assert scores[0, column[b]] == pytest.approx(votes[0, column[b]] * (1 - known / 2) + known / 2)
    assert scores[1].argmax() == column["new"], "a taxon that the head never met can still win"


def test_an_identifier_is_immutable_and_keeps_to_the_protocol():
    references = ReferenceSet(["1", "2"], np.array([A, B], object), np.eye(2, dtype=np.float32))
    bare = Identifier(references)
    assert bare.predict(np.float32([[0.9, 0.1], [0, 1]])).tolist() == [A, B]
    assert bare.kneighbors(np.float32([[1, 0]]), 1)[1].tolist() == [[0]]
    assert bare.novelty(np.float32([[1, 0]])).shape == (1,)
    with pytest.raises(ModelError, match="forametric calibrate"):
        bare.predict_proba(np.float32([[1, 0]]))
    more = bare.add_references(["3"], np.array([C], object), np.float32([[1, 1]]))
    assert (more.taxa, bare.taxa) == ([A, B, C], [A, B])
    with pytest.raises(InputError, match="between 0 and 1"):
        bare.identify(Embeddings.of_vectors(np.eye(2)), min_probability=7)


def test_a_search_is_not_remembered_for_vectors_that_can_change():
    """A cache by identity once gave the neighbors of what the array held before."""
    references = ReferenceSet(["1", "2"], np.array([A, B], object), np.eye(2, dtype=np.float32))
    queries = np.float32([[1, 0]])
    assert references.predict(queries).tolist() == [A]
    queries[:] = [[0, 1]]
    assert references.predict(queries).tolist() == [B]
