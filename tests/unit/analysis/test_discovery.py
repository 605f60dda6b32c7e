"""Morphotypes of known truth: blobs on a sphere, then simulated shells."""

import numpy as np
import pandas as pd
import pytest

from forametric import metrics
from forametric.analysis.clustering import estimate_clusters
from forametric.analysis.discovery import (
    discover,
    discover_unknown,
    group_vectors,
    named_morphotypes,
)
from forametric.data.collection import Collection
from forametric.data.embeddings import Embeddings
from forametric.errors import InputError
from forametric.identification.identifier import Identifier
from forametric.identification.references import ReferenceSet
from forametric.model.model import Model
from tests.support.samples import A, B, calibration_of


def _blobs(groups: int, each: int, spread: float = 0.15, seed: int = 0):
    rng = np.random.default_rng(seed)
    centroids = np.eye(max(groups, 2), 24)[:groups]
    truth = np.repeat(np.arange(groups), each)
    vectors = centroids[truth] + rng.normal(0, spread / 24**0.5, (len(truth), 24))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), truth


def _identifier(calibration=None) -> Identifier:
    far = np.eye(24, dtype=np.float32)[[20, 20, 21, 21]]
    references = ReferenceSet(list("abcd"), np.array([A, A, B, B], object), far)
    return Identifier(references, calibration)


@pytest.mark.parametrize(("groups", "each"), [(2, 10), (5, 8), (12, 10)])
def test_clear_groups_are_found_in_number_and_in_substance(groups, each):
    vectors, truth = _blobs(groups, each)
    found = discover(vectors, _identifier(calibration_of()))
    assert len(found.groups) == groups
    assert metrics.clustering_scores(truth, found.labels_)["ari"] == pytest.approx(1)
    assert (found.groups["stability"] > 0.9).all()
    assert (found.groups["recognised"] == "").all()
    for group, members in found.exemplars.items():
        assert set(found.labels_[members]) == {group}
    again = discover(vectors, _identifier(calibration_of()))
    assert again.groups.equals(found.groups)


def test_a_known_taxon_among_the_unknown_is_recognised():
    vectors, _ = _blobs(3, 10)
    home = np.eye(24, dtype=np.float32)[[1, 1, 9]]
    references = ReferenceSet(list("abc"), np.array([A, A, B], object), home)
    found = discover(vectors, Identifier(references, calibration_of(novelty_threshold=0.6))).groups
    assert sorted(found["recognised"]) == ["", "", A]
    assert found.loc[found["recognised"] == A, "nearest_1"].tolist() == [A]


def test_specimens_of_no_group_are_noise():
    vectors, _ = _blobs(4, 12)
    lone = np.eye(24, dtype=np.float32)[[14, 16]]
    found = discover(np.concatenate([vectors, lone]), _identifier(), n_groups=6)
    assert found.labels_[-2:].tolist() == [0, 0]
    assert len(found.groups) == 4


def test_more_than_can_be_clustered_directly_join_the_nearest_group():
    vectors, truth = _blobs(6, 100)
    labels, _ = group_vectors(Embeddings.of_vectors(vectors), max_clustered=120)
    assert metrics.clustering_scores(truth, labels)["ari"] > 0.99


def test_equal_vectors_and_too_few_of_them():
    same = np.tile(np.eye(24, dtype=np.float32)[:1], (9, 1))
    assert estimate_clusters(same) == 1
    found = discover(same, _identifier())
    assert found.groups["specimens"].tolist() == [9]
    with pytest.raises(InputError, match="too few to group"):
        discover(same[:3], _identifier())
    with pytest.raises(InputError, match="cannot form 12 groups"):
        discover(same, _identifier(), n_groups=12)


def test_groups_are_saved_named_and_learnt(calibrated_folder, more_shells, tmp_path):
    model = Model.load(calibrated_folder)
    found = discover_unknown(model, more_shells, include_known=True)
    assert found.n_considered == len(found.table) == 64
    found.save(str(tmp_path / "d"))
    for name in ("discover.html", "morphotypes.csv", "specimens.csv", "collection.json"):
        assert (tmp_path / "d" / name).is_file()
    saved = Collection.open(tmp_path / "d").specimens
    assert saved["morphotype"].tolist() == found.labels_.tolist()
    with pytest.raises(InputError, match="no morphotype is named yet"):
        named_morphotypes(tmp_path / "d")
    table = pd.read_csv(tmp_path / "d" / "morphotypes.csv")
    table["name"] = table["name"].astype(object)
    table.loc[0, "name"] = "Newgenus novus"
    table.to_csv(tmp_path / "d" / "morphotypes.csv", index=False)
    named = named_morphotypes(str(tmp_path / "d"))
    assert len(named) == table["specimens"][0]
    grown = model.add_references(named)
    assert len(grown.references) == len(model.references) + len(named)
    assert "Newgenus novus" in grown.taxa
    with pytest.raises(InputError, match="can be saved"):
        discover(model.embed(Collection.open(more_shells).paths()), model).save(tmp_path / "e")


def test_what_cannot_be_grouped_says_why(model_folder, more_shells):
    with pytest.raises(InputError, match="no calibration"):
        discover_unknown(Model.load(model_folder), more_shells)
