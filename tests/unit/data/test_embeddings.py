"""Embeddings in memory and in Parquet files: what goes in comes out."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from forametric.data.embeddings import (
    Embeddings,
    join_vectors,
    read_vectors,
    skipped_table,
    write_vectors,
)
from forametric.errors import InputError

SHARED_FOLDER = [HealthCheck.function_scoped_fixture]  # each example overwrites the last
FINITE = st.floats(-1e6, 1e6, width=32)


@st.composite
def some_embeddings(draw) -> Embeddings:
    count, width = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    classes = draw(st.integers(0, 3))
    vectors = draw(npst.arrays(np.float32, (count, width), elements=FINITE))
    probabilities = draw(npst.arrays(np.float32, (count, classes), elements=FINITE))
    text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
    taxa = draw(st.lists(st.none() | text, min_size=count, max_size=count))
    table = pd.DataFrame(
        {"id": [str(i) for i in range(count)], "image": [f"{i}.png" for i in range(count)]}
    )
    table["taxon"] = pd.Series(taxa, dtype=object)
    return Embeddings(table, vectors, probabilities, rows=np.arange(count))


@given(some_embeddings())
@settings(max_examples=30, deadline=None, suppress_health_check=SHARED_FOLDER)
def test_embeddings_come_back_from_their_file(tmp_path, some):
    again = Embeddings.load(some.save(str(tmp_path / "v.parquet")))
    np.testing.assert_array_equal(again.vectors, some.vectors)
    np.testing.assert_array_equal(again.class_probabilities, some.class_probabilities)
    assert again.taxa().tolist() == some.taxa().tolist()
    for column in ("id", "image"):
        assert again.table[column].tolist() == some.table[column].tolist()
    assert again.rows.tolist() == list(range(len(some)))


@given(some_embeddings(), st.data())
@settings(max_examples=30, deadline=None)
def test_rows_are_taken_by_mask_positions_or_slice(some, data):
    mask = data.draw(npst.arrays(bool, len(some)))
    positions = np.flatnonzero(mask)
    start = data.draw(st.integers(0, len(some)))
    for rows, wanted in (
        (mask, positions), (positions, positions), (positions.tolist(), positions),
        (slice(start, None), np.arange(start, len(some))),
    ):  # fmt: skip
        part = some[rows]
        assert len(part) == len(wanted)
        np.testing.assert_array_equal(part.vectors, some.vectors[wanted])
        assert part.rows.tolist() == some.rows[wanted].tolist()
        assert part.taxa().tolist() == some.taxa()[wanted].tolist()
        assert len(part.class_probabilities) == len(wanted)


def test_vectors_can_not_be_changed_in_place():
    some = Embeddings.of_vectors(np.eye(3))
    with pytest.raises(ValueError, match="read-only"):
        some.vectors[0, 0] = 9
    assert np.asarray(some).tolist() == np.eye(3).tolist()
    with pytest.raises(InputError, match=r"shape \(n, dimensions\)"):
        Embeddings.of_vectors(np.ones(3))


def test_the_two_parts_of_a_vector():
    some = Embeddings.of_vectors(np.arange(10).reshape(2, 5))
    assert some.projection.shape == some.features.shape == (2, 5), "vectors of one part"
    parts = Embeddings(some.table, some.vectors, some.class_probabilities, projection_dim=2)
    assert parts.projection.tolist() == [[0, 1], [5, 6]]
    assert parts.features.tolist() == [[2, 3, 4], [7, 8, 9]]


def test_a_short_text_says_what_they_are():
    some = Embeddings.of_vectors(np.eye(3))
    assert repr(some) == "Embeddings(3 specimens × 3)"
    skipped = skipped_table([("a.png", "broken")])
    more = Embeddings(some.table, some.vectors, some.class_probabilities, skipped)
    assert "1 images skipped" in repr(more)


def test_parts_are_joined_in_their_order_and_other_models_refused(tmp_path):
    for number in range(3):
        write_vectors(
            tmp_path / f"{number}.parquet", [str(number)], np.full((1, 2), number, np.float32),
            {"taxon": [None]}, {"model": "m", "made_by": "forametric, model x"},
        )  # fmt: skip
    parts = sorted(tmp_path.glob("*.parquet"))
    join_vectors(parts, tmp_path / "all" / "v.parquet")
    for place in (tmp_path / "all" / "v.parquet", tmp_path / "all"):
        table, vectors = read_vectors(place, "m")
        assert table["id"].tolist() == ["0", "1", "2"]
        assert vectors.tolist() == [[0, 0], [1, 1], [2, 2]]
    with pytest.raises(InputError, match=r"different model \(forametric, model x\)"):
        read_vectors(tmp_path / "all", "another")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="cannot be read"):
        read_vectors(tmp_path / "bad.parquet")
    with pytest.raises(InputError, match="does not exist"):
        read_vectors(tmp_path / "nowhere")
