"""Splits: what they keep together, hold out and refuse; files that come back as they were."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forametric.data.collection import CORE_COLUMNS, Collection
from forametric.data.splits import SUBSETS, Split, make_split
from forametric.errors import InputError

SHARED_FOLDER = [HealthCheck.function_scoped_fixture]  # each example overwrites the last


def _collection(count, tmp_path, taxa="abc"):
    table = pd.DataFrame(dict.fromkeys(CORE_COLUMNS), index=range(count), dtype=object)
    table["id"] = [f"{i:016x}" for i in range(count)]
    table["image"] = [f"{i}.png" for i in range(count)]
    table["taxon"] = [taxa[i % len(taxa)] for i in range(count)]
    return Collection(table, tmp_path)


def _split(collection, subsets) -> Split:
    return Split(collection, pd.Series(subsets, index=collection.specimens["id"], name="subset"))


def test_splits_never_cut_a_group_and_hold_taxa_out_whole(shells, tmp_path):
    table = shells.specimens.assign(group=[f"g{i // 2}" for i in range(len(shells))])
    grouped = Collection(table, shells.images)
    split = make_split(grouped, seed=4, held_out_taxa=1)
    again = Split.load(grouped, split.to_csv(str(tmp_path / "s.csv")))
    assert again.hash == split.hash
    subsets = split.subsets
    assert (subsets.groupby(table["group"].to_numpy()).nunique() == 1).all()
    assert (subsets == "unseen").sum() == len(split.unseen) == 12
    assert set(subsets) == {"train", "val", "test", "unseen"}
    assert make_split(grouped, seed=5, held_out_taxa=1).hash != split.hash
    assert make_split(grouped, seed=4, held_out_taxa=1).hash == split.hash


def test_a_taxon_of_one_specimen_goes_to_train(shells):
    one = shells.select([0, *range(12, len(shells))])
    split = make_split(one)
    assert split.subsets.iloc[0] == "train"
    assert list(split.small_taxa) == [shells.taxa()[0]]


def test_an_unknown_split_or_subset_is_named(shells, tmp_path):
    with pytest.raises(InputError, match="neither a column"):
        Split.load(shells, "open_7")
    table = pd.DataFrame({"id": shells.specimens["id"], "subset": "trian"})
    table.to_csv(tmp_path / "s.csv", index=False)
    with pytest.raises(InputError, match="'trian'"):
        Split.load(shells, str(tmp_path / "s.csv"))


def test_a_split_of_another_collection_is_refused(shells, tmp_path):
    table = pd.DataFrame({"id": ["x", "y"], "subset": "train"})
    table.to_csv(tmp_path / "s.csv", index=False)
    with pytest.raises(InputError, match="none of this collection"):
        Split.load(shells, tmp_path / "s.csv")
    with pytest.raises(InputError, match="one subset for each specimen"):
        Split(shells, pd.Series(["train"], index=["x"]))


def test_shares_and_taxa_that_leave_nothing_to_learn_are_refused(shells):
    with pytest.raises(InputError, match="something to train on"):
        make_split(shells, test=0.6, val=0.4)
    with pytest.raises(InputError, match="fewer than two"):
        make_split(shells, held_out_taxa=3)
    with pytest.raises(InputError, match="fewer than two"):
        make_split(shells.select(shells.taxa() == "single sphere"))


def test_groups_of_held_out_taxa_are_not_learnt_on_request(tmp_path):
    collection = _collection(120, tmp_path, "abcdef")
    groups = [f"g{n // 12}" if n < 60 else None for n in range(120)]  # groups of all taxa
    mixed = Collection(collection.specimens.assign(group=groups), tmp_path)
    plain = make_split(mixed, held_out_taxa=2, seed=3)
    assert set(plain.train.specimens["group"].dropna()) & set(plain.unseen.specimens["group"])
    apart = make_split(mixed, held_out_taxa=2, separate_groups=True, seed=3)
    learnt = pd.concat([apart.train.specimens, apart.val.specimens])["group"].dropna()
    assert not set(learnt) & set(apart.unseen.specimens["group"].dropna())
    for subset in ("unseen", "test"):
        assert (apart.of(subset) == plain.of(subset)).all(), "only what is learnt changes"
    whole = Collection(collection.specimens.assign(group="one"), tmp_path)
    with pytest.raises(InputError, match="of 0 taxa"):
        make_split(whole, held_out_taxa=2, separate_groups=True)


def test_labels_that_are_no_specimens_are_learnt_and_never_held_out(tmp_path):
    collection = _collection(60, tmp_path, ["a", "b", "c", "not a specimen, dot"])
    for seed in range(8):
        made = make_split(collection, held_out_taxa=2, seed=seed)
        assert "not a specimen, dot" in made.train.taxa()
        assert len(made.unseen) == 30
    with pytest.raises(InputError, match="3 labelled taxa with 4 held out"):
        make_split(collection, held_out_taxa=4)


def test_published_splits_with_the_subset_unknown_are_read(tmp_path):
    """Images of no taxon are distractors; `unknown` is a decision of the model."""
    collection = _collection(3, tmp_path)
    given_ = ["train", "unknown", ""]
    column = Collection(collection.specimens.assign(old=given_), tmp_path)
    assert Split.load(column, "old").subsets.tolist() == ["train", "distractor", "unused"]
    table = pd.DataFrame({"id": collection.specimens["id"], "subset": given_})
    table.to_csv(tmp_path / "s.csv", index=False)
    found = Split.load(collection, tmp_path / "s.csv")
    assert found.subsets.tolist() == ["train", "distractor", "unused"]


@given(st.lists(st.sampled_from(SUBSETS), min_size=1, max_size=30), st.randoms())
@settings(max_examples=25, deadline=None, suppress_health_check=SHARED_FOLDER)
def test_a_split_comes_back_from_its_file_in_any_order(tmp_path, subsets, random):
    collection = _collection(len(subsets), tmp_path)
    split = _split(collection, subsets)
    path = split.to_csv(tmp_path / "s.csv", overwrite=True)
    again = Split.load(collection, path)
    assert again.subsets.tolist() == subsets
    assert again.hash == split.hash
    order = list(range(len(subsets)))
    random.shuffle(order)
    shuffled = Split.load(collection.select(np.array(order)), path)
    assert shuffled.hash == split.hash
    assert shuffled.counts == split.counts
    assert {s: n for s, n in split.counts.items() if n} == pd.Series(
        subsets
    ).value_counts().to_dict()
    with pytest.raises(InputError, match="exists already"):
        split.to_csv(path)


@given(
    st.lists(st.sampled_from("abcd"), min_size=12, max_size=60),
    st.integers(0, 2**32 - 1),
    st.integers(0, 1),
)
@settings(max_examples=40, deadline=None, suppress_health_check=SHARED_FOLDER)
def test_every_specimen_is_in_one_subset_and_every_taxon_can_be_learnt(
    tmp_path, taxa, seed, held_out
):
    if len(set(taxa)) < 2 + held_out:
        return
    collection = _collection(len(taxa), tmp_path, taxa)
    split = make_split(collection, held_out_taxa=held_out, seed=seed)
    subsets = split.subsets.to_numpy()
    unseen = set(np.array(taxa)[subsets == "unseen"])
    assert len(unseen) == held_out
    for taxon in set(taxa):
        of = set(subsets[np.array(taxa) == taxon])
        assert of == {"unseen"} if taxon in unseen else "train" in of and "unseen" not in of
