"""Calibration on what sisters of a model did not learn."""

import shutil

import numpy as np
import pandas as pd
import pytest

from forametric.collection import Collection
from forametric.embedder import Embedder
from forametric.errors import InputError
from forametric.learning.crossfit import out_of_fold
from forametric.learning.train import train
from forametric.splits import deal, kept_together, load_split
from tests.conftest import forametric


def test_specimens_are_dealt_by_whole_groups_and_taxa_evenly(shells):
    table = shells.specimens.assign(group=[f"g{n // 2}" for n in range(len(shells))])
    paired = Collection(table, shells.images, shells.info)
    rows = np.arange(4, len(paired))
    parts = deal(paired, rows, 3, seed=0)
    assert sorted(np.concatenate(parts)) == rows.tolist()
    groups, names = kept_together(table).to_numpy(), sorted(set(paired.taxa()[rows]))
    homes = [set(groups[part]) for part in parts]
    assert len(set.union(*homes)) == sum(len(home) for home in homes)
    each = pd.DataFrame([pd.Series(paired.taxa()[part]).value_counts() for part in parts])
    each = each.reindex(columns=names).fillna(0)
    assert (each.max() - each.min()).max() <= 4
    assert all((a == b).all() for a, b in zip(parts, deal(paired, rows, 3, seed=0), strict=True))
    most = int(pd.Series(paired.taxa()[rows]).value_counts().max())
    for number in (1, most + 1):
        with pytest.raises(InputError, match="cannot be dealt"):
            deal(paired, rows, number, seed=0)


def test_a_model_is_calibrated_on_all_that_its_sisters_did_not_learn(
    model_folder, shells_folder, split_file, tmp_path, monkeypatch
):
    import forametric.learning.crossfit as room

    model, shells = Embedder.load(model_folder), Collection.open(shells_folder)
    roles = load_split(shells, str(split_file))
    trained = []

    def counted(collection, turn, *given, **known):
        trained.append(set(turn.index[turn == "train"]))
        return train(collection, turn, *given, **known)

    monkeypatch.setattr(room, "train", counted)
    found = out_of_fold(model, shells, roles, 2, tmp_path / "m.sisters")
    learnt = set(roles.index[roles == "train"])
    assert sum(len(part.truth) for part in found) == len(learnt), "each specimen is named once"
    assert trained[0] | trained[1] == learnt
    assert not trained[0] & trained[1]
    sister = Embedder.load(tmp_path / "m.sisters" / "sister-1")
    assert set(sister.gallery.ids) == trained[0]
    assert sister.card.recipe == model.card.recipe

    # What is there already is not trained again.
    out_of_fold(model, shells, roles, 2, tmp_path / "m.sisters")
    assert len(trained) == 2
    command = ["calibrate", model_folder, shells_folder, "--split", split_file, "-o"]
    done = forametric(*command, tmp_path / "m", "--folds", "2", "--json")
    assert done.returncode == 0, done.stderr
    checked = len(learnt) + (roles == "val").sum()
    assert Embedder.load(tmp_path / "m").calibrated.specimens == checked
    assert not (tmp_path / "m.sisters").exists()


def test_the_last_of_a_taxon_stay_with_a_sister(shells):
    from forametric.learning.crossfit import _without

    taxa = shells.taxa()
    one = np.flatnonzero(taxa == sorted(set(taxa))[0])
    others = np.setdiff1d(np.arange(len(shells)), one)
    table = shells.specimens.copy()
    table.loc[[one[0], others[0]], "group"] = "one slide"
    grouped = Collection(table, shells.images, shells.info)
    roles = pd.Series("train", index=table["id"])
    part = np.concatenate([one, others[:5]])
    turn, rows = _without(grouped, roles, np.arange(len(shells)), part)
    assert rows.tolist() == others[1:5].tolist(), "neither the taxon nor its group-mate is named"
    assert (turn == "unused").sum() == 4


def test_models_of_different_taxa_are_not_calibrated_together():
    from forametric.calibration import Evidence

    two, one = np.zeros((1, 2), np.float32), np.zeros(1, np.float32)
    parts = [
        Evidence(taxa, two, two, np.array(["a"]), one, one) for taxa in (["a", "b"], ["a", "c"])
    ]
    with pytest.raises(InputError, match="different taxa"):
        Evidence.joined(parts)


def test_sisters_are_refused_where_they_would_not_be_sisters(
    model_folder, shells_folder, split_file, tmp_path
):
    shells, model = Collection.open(shells_folder), Embedder.load(model_folder)
    roles = load_split(shells, str(split_file))
    with pytest.raises(InputError, match="another split"):
        out_of_fold(model, shells, roles.replace("test", "unused"), 2, tmp_path / "s")
    shutil.copytree(model_folder, tmp_path / "s" / "sister-1")
    with pytest.raises(InputError, match="another calibration"):
        out_of_fold(model, shells, roles, 2, tmp_path / "s")
    renamed = shells.specimens.assign(taxon=shells.taxa())
    renamed.loc[0, "taxon"] = "another"
    with pytest.raises(InputError, match="has changed"):
        out_of_fold(model, Collection(renamed, shells.images, shells.info), roles, 2, tmp_path)
    lone = shells.specimens.assign(group=shells.taxa())
    with pytest.raises(InputError, match="would name nothing"):
        out_of_fold(model, Collection(lone, shells.images, shells.info), roles, 2, tmp_path)
    loose = model.card.recipe.network.model_copy(update={"unit": False})
    card = model.card.model_copy(
        update={"recipe": model.card.recipe.model_copy(update={"network": loose})}
    )
    with pytest.raises(InputError, match="no fixed length"):
        out_of_fold(Embedder(model.runtime, card, model.gallery), shells, roles, 2, tmp_path)
    more = model.gallery.with_more(["x"], np.array(["new"], object), model.gallery.vectors[:1])
    with pytest.raises(InputError, match="before references are added"):
        out_of_fold(model.with_gallery(more), shells, roles, 2, tmp_path / "s")
    model.card.training["started_from"] = "another"
    with pytest.raises(InputError, match="begun from another"):
        out_of_fold(model, shells, roles, 2, tmp_path / "s")
