"""Nearest neighbours, exact and by cells; rows that come, go and are filtered."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forametric.errors import InputError
from forametric.identification import index as room
from forametric.identification.index import Index


def _vectors(count, seed=0, dimensions=24):
    """Embeddings in 20 groups, as those of species are."""
    rng = np.random.default_rng(seed)
    centroids = np.random.default_rng(7).normal(0, 1, (20, dimensions))
    noise = rng.normal(0, 0.4, (count, dimensions))
    return (centroids[rng.integers(20, size=count)] + noise).astype(np.float32)


def _true(vectors, queries, k):
    distances = np.linalg.norm(queries[:, None] - vectors[None], axis=2)
    rows = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, rows, 1), rows


@pytest.mark.parametrize("few", [10, 20_000])
def test_exact_search_gives_the_true_neighbours(few, monkeypatch):
    """By scikit-learn for few, by FAISS for more."""
    monkeypatch.setattr(room, "FEW", few)
    vectors, queries = _vectors(800), _vectors(50, seed=1)
    found, (distances, rows) = Index(vectors).nearest(queries, 5), _true(vectors, queries, 5)
    assert (found[1] == rows).all()
    assert np.allclose(found[0], distances, atol=1e-4)
    itself = Index(vectors).nearest(vectors[:9], 1)
    assert (itself[1][:, 0] == np.arange(9)).all()
    assert np.abs(itself[0]).max() < 1e-3


def test_cells_find_the_neighbours_that_they_promise():
    vectors, queries = _vectors(10_000), _vectors(300, seed=1)
    index = Index(vectors, exact=2500)
    assert index.recall >= 0.99
    found = index.nearest(queries, 10)[1]
    true = _true(vectors, queries, 10)[1]
    hits = [len(set(a) & set(b)) for a, b in zip(found.tolist(), true.tolist(), strict=True)]
    assert np.mean(hits) / 10 >= 0.97
    again = Index(vectors, exact=2500).nearest(queries, 10)[1]
    assert (again == found).all(), "the same seed gives the same cells"


def test_rows_come_and_go_without_a_rebuild():
    vectors, more = _vectors(6000), _vectors(500, seed=3) + 5
    index = Index(vectors, exact=2000)
    cells = index._cells
    rows = index.add(more)
    assert rows.tolist() == list(range(6000, 6500))
    assert (index.nearest(more, 1)[1][:, 0] == rows).all()
    index.remove(rows[:250])
    assert len(index) == 6250
    found = index.nearest(more, 3)[1]
    assert not np.isin(found, rows[:250]).any()
    assert (found[250:, 0] == rows[250:]).all()
    assert index._cells is cells


def test_an_index_that_grows_beyond_the_limit_gets_cells():
    vectors = _vectors(1500)
    index = Index(vectors[:900], exact=1000)
    index.remove(np.array([3]))
    for start in range(900, 1500, 100):
        index.add(vectors[start : start + 100])
    assert index._cells is not None
    assert 3 not in index.nearest(vectors[3:4], 5)[1]
    assert index.nearest(vectors[1400:1401], 1)[1].item() == 1400


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 3000), st.integers(1, 12), st.booleans())
def test_a_filter_lets_through_what_it_says(allowed, k, by_cells):
    vectors = _vectors(3000)
    index = Index(vectors, exact=100 if by_cells else 5000)
    among = np.zeros(3000, bool)
    among[np.random.default_rng(allowed).choice(3000, allowed, replace=False)] = True
    distances, rows = index.nearest(vectors[:20], k, among)
    assert rows.shape == (20, min(k, allowed))
    assert among[rows].all()
    assert np.isfinite(distances).all()
    assert (np.diff(distances, axis=1) >= 0).all()
    assert all(len(set(row)) == len(row) for row in rows.tolist())


def test_nothing_to_search_among_is_said():
    with pytest.raises(InputError, match="no vectors"):
        Index(_vectors(5)).nearest(_vectors(1), 1, np.zeros(5, bool))
