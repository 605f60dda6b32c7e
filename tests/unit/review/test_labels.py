"""Decisions become labels of a collection; tables that an expert has filled in become decisions."""

import pandas as pd
import pytest

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
        (pd.DataFrame({"id": ids}), "column `expert`"),
        (pd.DataFrame({"expert": ["x"]}), "column `expert`"),
        (pd.DataFrame({"id": ids, "expert": ""}), "empty"),
        (pd.DataFrame({"id": ["s"], "expert": ["Aa bb"]}), "has no specimen s"),
    ):
        with pytest.raises(InputError, match=message):
            read_decisions(table, shells, "A")
    with pytest.raises(InputError, match="settle no specimen"):
        apply_decisions(shells, store)
