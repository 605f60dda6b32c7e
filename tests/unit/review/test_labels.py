"""Decisions become labels of a collection; tables that an expert has filled in become decisions."""

import re

import pandas as pd
import pytest

from forametric.data.collection import Collection
from forametric.errors import InputError
from forametric.review import DecisionStore, apply_decisions, read_decisions


@pytest.fixture
def store(tmp_path):
    return DecisionStore(tmp_path / "decisions.sqlite")


def _table(shells, *expert):
    table = pd.DataFrame(
        {
            "image": shells.specimens["image"],
            "best": "clavate radial",
            "best_probability": 0.5,
            "expert": "",
        }
    )
    table.loc[: len(expert) - 1, "expert"] = list(expert)
    return table


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_names_that_are_filled_in_become_labels(shells, store, tmp_path, suffix):
    path = tmp_path / f"names{suffix}"
    for reviewer, fourth in (("K. Lee", "clavate radial"), ("B. Roe", "single sphere")):
        table = _table(shells, "Nova  species", "unknown", "None", fourth, "Duplicate")
        table.to_csv(path, index=False) if suffix == ".csv" else table.to_excel(path, index=False)
        decisions = read_decisions(path, shells, reviewer)
        assert [str(d.verdict) for d in decisions] == [
            "taxon", "unlisted", "not_a_specimen", "taxon", "duplicate",
        ]  # fmt: skip
        assert decisions[0].suggested == "clavate radial"
        assert decisions[0].probability == 0.5
        assert len(store.record(decisions)) == 5
        assert store.record(decisions) == [], "a table read twice is recorded once"
    assert len(store.history()) == 10
    before, after = shells.specimens, apply_decisions(shells, store).specimens
    assert after["taxon"].iloc[0] == "Nova species"
    assert after["taxon"].iloc[[1, 2, 4]].isna().all()
    assert after["taxon"].iloc[3] == before["taxon"].iloc[3], "a conflict leaves the old name"
    assert after["verdict"].iloc[:5].fillna("").tolist() == [
        "taxon", "unlisted", "not_a_specimen", "", "duplicate",
    ]  # fmt: skip
    assert after["verdict_by"].iloc[0] == "B. Roe|K. Lee"
    assert after["verdict_time"].iloc[0].endswith("+00:00")
    assert (after["label"] == before["label"]).all()
    assert after["taxon"].iloc[5:].equals(before["taxon"].iloc[5:])


def test_a_table_that_cannot_be_recorded_is_refused(shells, store):
    ids = shells.specimens["id"]
    for table, message in (
        (pd.DataFrame({"id": ids}), "lacks the column expert"),
        (pd.DataFrame({"expert": ["x"]}), "a column `id` or `image`"),
        (pd.DataFrame({"id": ids, "expert": ""}), "empty"),
        (pd.DataFrame({"id": ["s"], "expert": ["Aa bb"]}), "has no specimen 's'"),
    ):
        with pytest.raises(InputError, match=message):
            read_decisions(table, shells, "A")
    with pytest.raises(InputError, match="settle no specimen"):
        apply_decisions(shells, store)


@pytest.mark.parametrize("word", ["undo", "NA", "n/a", "NaN", "null", "<unknown>", "?", "12"])
def test_words_that_are_not_names_are_refused(shells, word):
    with pytest.raises(
        InputError, match=rf"the table, row 3: .*{re.escape(word)}.* is not the name"
    ):
        read_decisions(_table(shells, "Aa bb", word), shells, "A")


def test_skip_is_a_verdict_and_not_a_name(shells):
    decisions = read_decisions(_table(shells, " Skip "), shells, "A")
    assert [(str(d.verdict), d.taxon) for d in decisions] == [("skip", "")]


def test_a_specimen_that_occurs_twice_needs_one_decision(shells):
    twice = pd.concat([_table(shells, "Aa bb")[:1]] * 2)
    assert len(read_decisions(twice, shells, "A")) == 1
    twice["expert"] = ["Aa bb", "Cc dd"]
    with pytest.raises(InputError, match=r"row 3: the specimen .* twice with different decisions"):
        read_decisions(twice, shells, "A")


def test_ids_that_a_spreadsheet_program_changed_are_found_by_image(shells, tmp_path):
    digits = [f"77771112345678{n:02}" for n in range(48)]
    collection = Collection(shells.specimens.assign(id=digits), shells.images)
    table = _table(collection, "Aa bb").assign(id="7.77711E+15")
    assert read_decisions(table, collection, "A")[0].specimen == digits[0]
    for spoiled in ("7.77711E+15", "7777111234567990"):
        alone = table[:1].drop(columns="image").assign(id=spoiled)
        with pytest.raises(InputError, match="has turned its digits into a rounded number"):
            read_decisions(alone, collection, "A")
    other = table[:1].assign(id=digits[5])
    with pytest.raises(InputError, match="are of different specimens"):
        read_decisions(other, collection, "A")


def test_probabilities_in_a_table_may_be_percentages(shells):
    table = _table(shells, "Aa bb", "Cc dd").astype({"best_probability": object})
    table.loc[:1, "best_probability"] = ["90 %", ""]
    assert [d.probability for d in read_decisions(table, shells, "A")] == [0.9, None]
    table.loc[1, "best_probability"] = "high"
    with pytest.raises(InputError, match="row 3, column best_probability: 'high'"):
        read_decisions(table, shells, "A")
