"""Morphotypes of known truth: blobs on a sphere, then simulated shells through the verb."""

import json

import numpy as np
import pandas as pd
import pytest

from forametric import metrics
from forametric.analysis import discovery as room
from forametric.analysis.clustering import estimate_clusters
from forametric.analysis.discovery import discover, named_morphotypes
from forametric.data.collection import Collection
from forametric.errors import InputError
from forametric.identification.references import ReferenceSet
from forametric.model.model import Model
from tests.support.cli import forametric
from tests.support.samples import A, B, calibration_of


def _blobs(groups: int, each: int, spread: float = 0.15, seed: int = 0):
    rng = np.random.default_rng(seed)
    centroids = np.eye(max(groups, 2), 24)[:groups]
    truth = np.repeat(np.arange(groups), each)
    vectors = centroids[truth] + rng.normal(0, spread / 24**0.5, (len(truth), 24))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), truth


def _gallery() -> ReferenceSet:
    far = np.eye(24, dtype=np.float32)[[20, 20, 21, 21]]
    return ReferenceSet(list("abcd"), np.array([A, A, B, B], object), far)


@pytest.mark.parametrize(("groups", "each"), [(2, 10), (5, 8), (12, 20)])
def test_clear_groups_are_found_in_number_and_in_substance(groups, each):
    vectors, truth = _blobs(groups, each)
    found = discover(vectors, _gallery(), calibration_of())
    assert len(found.groups) == groups
    assert metrics.clustering_scores(truth, found.morphotype)["ari"] == pytest.approx(1)
    assert (found.groups["stability"] > 0.9).all()
    assert (found.groups["recognised"] == "").all()
    for group, members in found.exemplars.items():
        assert set(found.morphotype[members]) == {group}
    again = discover(vectors, _gallery(), calibration_of())
    assert again.groups.equals(found.groups)


def test_a_known_taxon_among_the_unknown_is_recognised():
    vectors, _ = _blobs(3, 10)
    home = np.eye(24, dtype=np.float32)[[1, 1, 9]]
    references = ReferenceSet(list("abc"), np.array([A, A, B], object), home)
    found = discover(vectors, references, calibration_of(strange=0.6)).groups
    assert sorted(found["recognised"]) == ["", "", A]
    assert found.loc[found["recognised"] == A, "nearest_1"].tolist() == [A]


def test_specimens_of_no_group_are_noise():
    vectors, _ = _blobs(4, 12)
    lone = np.eye(24, dtype=np.float32)[[14, 16]]
    found = discover(np.concatenate([vectors, lone]), _gallery(), number=6)
    assert found.morphotype[-2:].tolist() == [0, 0]
    assert len(found.groups) == 4


def test_more_than_can_be_clustered_directly_are_placed(monkeypatch):
    monkeypatch.setattr(room, "DIRECT", 120)
    vectors, truth = _blobs(6, 100)
    found = discover(vectors, _gallery())
    assert metrics.clustering_scores(truth, found.morphotype)["ari"] > 0.99


def test_equal_vectors_and_too_few_of_them():
    same = np.tile(np.eye(24, dtype=np.float32)[:1], (9, 1))
    assert estimate_clusters(same) == 1
    found = discover(same, _gallery())
    assert found.groups["specimens"].tolist() == [9]
    with pytest.raises(InputError, match="too few to group"):
        discover(same[:3], _gallery())
    with pytest.raises(InputError, match="cannot form 12 groups"):
        discover(same, _gallery(), number=12)


def test_discover_name_add_and_recognise(calibrated_folder, shells_folder, more_shells, tmp_path):
    bare = forametric("discover", calibrated_folder, more_shells, "--all", "-o", tmp_path / "d")
    assert bare.returncode == 0, bare.stderr
    for name in ("discover.html", "morphotypes.csv", "specimens.csv", "collection.json"):
        assert (tmp_path / "d" / name).is_file()
    with pytest.raises(InputError, match="no morphotype is named yet"):
        named_morphotypes(tmp_path / "d")
    table = pd.read_csv(tmp_path / "d" / "morphotypes.csv")
    table["name"] = table["name"].astype(object)
    table.loc[0, "name"] = "Newgenus novus"
    table.to_csv(tmp_path / "d" / "morphotypes.csv", index=False)
    done = forametric("add", calibrated_folder, tmp_path / "d", "-o", tmp_path / "m", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["added"] == table["specimens"][0]
    assert "Newgenus novus" in Model.load(tmp_path / "m").references.classes_


def test_discover_says_why_it_cannot(model_folder, more_shells, tmp_path):
    done = forametric("discover", model_folder, more_shells, "-o", tmp_path / "d")
    assert done.returncode == 2
    assert "no calibration" in done.stderr
    assert not (tmp_path / "d").exists()


def test_images_none_of_which_can_be_read_end_every_verb_with_a_sentence(
    calibrated_folder, more_shells, tmp_path
):
    shells = Collection.open(more_shells)
    table = shells.specimens.head(3).assign(image=["a.png", "b.png", "c.png"])
    (tmp_path / "images").mkdir()
    Collection(table, tmp_path / "images", {}).save(tmp_path / "c")
    for verb in (("discover",), ("add",), ("assemblage",), ("calibrate", "--split", "check")):
        done = forametric(
            verb[0], calibrated_folder, tmp_path / "c", *verb[1:], "-o", tmp_path / "o"
        )
        assert done.returncode == 2, done.stderr
        assert "none of the 3 images can be read; the first: a.png" in done.stderr
        assert not (tmp_path / "o").exists()
