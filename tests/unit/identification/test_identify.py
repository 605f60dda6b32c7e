"""Probabilities, decisions and prediction sets: by hand on small arrays, then through the verbs."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forametric import metrics
from forametric.data.collection import Collection
from forametric.data.taxonomy import Taxonomy
from forametric.errors import InputError, ModelError
from forametric.identification.calibration import Calibration, CalibrationData, fit_calibration
from forametric.identification.identifier import decide
from forametric.identification.references import ReferenceSet
from forametric.model.model import Model
from tests.support.cli import forametric
from tests.support.samples import A, B, C, calibration_of


def _drawn(count: int, sharpness: float, seed: int = 0):
    """Scores whose true probabilities are softmax(logits); they claim `sharpness` times as much."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, 3))
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.array([rng.choice([A, B, C], p=p) for p in true])
    scores = np.exp(sharpness * logits)
    return (scores / scores.sum(1, keepdims=True)).astype(np.float32), truth


def _evidence(scores, centroid_distances, truth) -> CalibrationData:
    novelty = np.linspace(0, 1, len(truth), dtype=np.float32)
    return CalibrationData([A, B, C], scores, centroid_distances, truth, novelty, novelty + 2)


@pytest.mark.parametrize("sharpness", [0.5, 3.0])
def test_calibration_undoes_scores_that_are_too_sure_or_not_sure_enough(sharpness):
    scores, truth = _drawn(2000, sharpness)
    found = fit_calibration(_evidence(scores, 0 * scores, truth))
    assert found.temperature == pytest.approx(sharpness, rel=0.2)
    assert found.strange == pytest.approx(0.95, abs=0.01)
    assert min(found.novelty_leave_class_out) > max(found.novelty)
    fresh, names = _drawn(4000, sharpness, seed=1)
    better = found.probabilities(fresh, np.zeros_like(fresh), [A, B, C])
    assert better.sum(1) == pytest.approx(1, abs=1e-5)
    columns = np.array([A, B, C])

    def error(p):
        return metrics.calibration_error(p.max(1), columns[p.argmax(1)] == names)

    assert error(better) < 0.03 < error(fresh)
    for wrong in (0.05, 0.2):
        members = found.prediction_sets(better, wrong)
        covered = members[np.arange(4000), np.searchsorted(columns, names)].mean()
        assert covered == pytest.approx(1 - wrong, abs=0.03)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e5])
def test_what_lies_nearer_a_taxon_is_likelier_of_it_where_that_told_the_right_name(scale):
    far, truth = _drawn(2000, 1.0)
    centroid_distances = -np.log(far) / 3 * np.float32(scale)
    silent = np.full_like(far, 1 / 3)
    found = fit_calibration(_evidence(silent, centroid_distances, truth))
    assert found.distance_weight * scale == pytest.approx(3, rel=0.2)
    assert found.probabilities(silent, centroid_distances, [A, B, C]) == pytest.approx(
        far, abs=0.06
    )


def test_a_calibration_from_before_remoteness_was_heeded_reads_and_heeds_none(tmp_path):
    older = calibration_of(temperature=2.0).model_dump(mode="json")
    del older["distance_weight"]
    (tmp_path / "calibration.json").write_text(json.dumps(older))
    read = Calibration.load(tmp_path / "calibration.json")
    scores, far = np.float32([[0.8, 0.2]]), np.float32([[9.0, 0.0]])
    # (0.8 / 0.2) ** (1 / 2) = 2 to 1
    assert read.probabilities(scores, far, [A, B])[0] == pytest.approx([2 / 3, 1 / 3], abs=1e-3)


def test_a_species_with_few_specimens_keeps_to_the_common_temperature():
    scores = np.tile(np.float32([[0.8, 0.1, 0.1]]), (60, 1))
    often = np.array([A] * 30 + [B] * 30)
    rarely = np.array([A] * 59 + [B])
    shift = [
        fit_calibration(_evidence(scores, 0 * scores, truth)).shift[B] for truth in (often, rarely)
    ]
    assert shift[0] > 2 * abs(shift[1])


def test_too_few_specimens_are_not_calibrated_on():
    few = _evidence(np.ones((3, 3), np.float32), np.ones((3, 3), np.float32), np.array([A] * 3))
    with pytest.raises(InputError, match="at least 20"):
        fit_calibration(few)


def test_prediction_sets_by_hand():
    calibration = calibration_of()
    p = np.float32([[0.80, 0.15, 0.05], [0.04, 0.03, 0.93]])
    # The 90th of 99 nonconformities is 0.90: a taxon belongs with a probability of 0.10 or more.
    assert calibration.prediction_sets(p, 0.1).tolist() == [
        [True, True, False], [False, False, True],
    ]  # fmt: skip
    assert calibration.prediction_sets(np.float32([[0.3, 0.3, 0.4]]), 0.9).sum() == 1
    with pytest.raises(InputError, match=r"the least is 0\.010"):
        calibration.prediction_sets(p, 0.001)
    with pytest.raises(InputError, match="between 0 and 1"):
        calibration.prediction_sets(p, 0)


def test_a_part_without_a_readable_image_stops_no_run(
    calibrated_folder, more_shells, tmp_path, monkeypatch
):
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png", "d.png"):
        (tmp_path / "images" / name).write_bytes(b"broken")
    done = forametric("identify", calibrated_folder, tmp_path / "images", "-o", tmp_path / "n.csv")
    assert done.returncode == 2
    assert "none of the 3 images can be read" in done.stderr
    shutil.copy(Collection.open(more_shells).paths()[0], tmp_path / "images" / "c.png")
    monkeypatch.setattr("forametric.model.model.CHUNK", 1)
    found = Model.load(calibrated_folder).identify(tmp_path / "images")
    assert found.table["image"].tolist() == ["c.png"]
    assert found.skipped["image"].tolist() == ["a.png", "b.png", "d.png"]


def test_remoteness_by_hand():
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
    assert "species in doubt" in table["reason"][1]
    assert "as likely as 0.7" in table["reason"][2]
    assert "stranger than 95%" in table["reason"][3]


def test_names_without_a_genus_are_not_rolled_up():
    p = np.float32([[0.5, 0.5]])
    table = decide(
        p, np.float32([0]), ["single sphere", "single disc"], calibration_of(), min_probability=0.9,
        taxonomy=Taxonomy.load(),
    )  # fmt: skip
    assert table["decision"].tolist() == ["unknown"]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_open_set_figures_keep_within_their_bounds(values):
    usual, strange = np.array(values), np.array(values) + 0.5
    right = np.arange(len(values)) % 2 == 0
    auroc, found = metrics.auroc(strange, usual), metrics.oscr(strange, usual, right)
    assert 0 <= found <= right.mean() + 1e-12
    assert auroc >= 0.5
    assert metrics.fpr_at_tpr(strange + 1, usual) == 0


def test_calibration_files_are_checked(tmp_path):
    path = tmp_path / "calibration.json"
    calibration = calibration_of()
    calibration.save(path)
    assert Calibration.load(path) == calibration
    data = json.loads(path.read_text())
    for change, words in (({"format": 9}, "format 9"), ({"temperature": "hot"}, "damaged")):
        path.write_text(json.dumps(data | change))
        with pytest.raises(ModelError, match=words):
            Calibration.load(path)


def test_a_calibrated_model_decides_and_a_bare_one_refuses(
    calibrated_folder, model_folder, more_shells, tmp_path
):
    model = Model.load(calibrated_folder)
    table = model.identify(more_shells, conformal_alpha=0.1).table
    assert set(table["decision"]) <= {"accepted", "genus", "ambiguous", "unknown"}
    assert (table["taxon"].eq("") == table["decision"].isin(["ambiguous", "unknown"])).all()
    assert table["sample"].nunique() == 4
    named = table["conformal_set"].str.split("|")
    assert all(best in names for best, names in zip(table["best"], named, strict=True))
    with pytest.raises(InputError, match="between 0 and 1"):
        model.identify(more_shells, min_probability=7)
    bare = Model.load(model_folder)
    with pytest.raises(ModelError, match="forametric calibrate"):
        bare.identify(more_shells, conformal_alpha=0.1)
    done = forametric("identify", model_folder, more_shells, "-o", tmp_path / "n.csv")
    assert done.returncode == 0
    assert "not calibrated" in done.stderr
    assert "probability" not in pd.read_csv(tmp_path / "n.csv").columns


def test_the_very_same_model_can_not_be_calibrated_on_its_gallery(
    model_folder, shells_folder, shells, tmp_path
):
    pd.DataFrame({"id": shells.specimens["id"], "subset": "val"}).to_csv(tmp_path / "s.csv")
    done = forametric(
        "calibrate", model_folder, shells_folder, "--split", tmp_path / "s.csv", "-o",
        tmp_path / "m",
    )  # fmt: skip
    assert done.returncode == 2
    assert "stand in the model's references" in done.stderr
    assert not (tmp_path / "m").exists()


def test_a_damaged_calibration_is_refused(calibrated_folder, tmp_path):
    shutil.copytree(calibrated_folder, tmp_path / "m")
    with (tmp_path / "m" / "calibration.json").open("a") as file:
        file.write(" ")
    with pytest.raises(ModelError, match="its hash differs"):
        Model.load(tmp_path / "m")


def test_a_species_is_learnt_without_training(calibrated_folder, more_shells, tmp_path):
    model = Model.load(calibrated_folder)
    shells = Collection.open(more_shells)
    new = sorted(set(shells.taxa()) - set(model.references.classes_))
    done = forametric("add", calibrated_folder, more_shells, "-o", tmp_path / "m", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["new_taxa"] == new
    assert said["added"] == 64
    grown = Model.load(tmp_path / "m")
    named = identify(grown, more_shells).table["best"].to_numpy(dtype=object)
    held = np.isin(shells.taxa().astype(str), new)
    assert (named == shells.taxa())[held].mean() > 0.9, "they are their own references"
    again = forametric("add", tmp_path / "m", more_shells, "-o", tmp_path / "m2")
    assert again.returncode == 2
    assert "not in the references already" in again.stderr


def test_galleries_of_one_species_or_one_reference_still_answer():
    vectors = np.eye(3, dtype=np.float32)
    lone = ReferenceSet(["a"], np.array([A], object), vectors[:1])
    assert lone.predict(vectors).tolist() == [A] * 3
    assert lone.novelty(vectors).tolist() == pytest.approx([0, 2**0.5, 2**0.5])
    assert lone.novelty_leave_class_out(vectors, np.array([A] * 3, object)).tolist() == [0, 0, 0]
    two = ReferenceSet(["a", "b"], np.array([A, B], object), vectors[:2])
    assert two.novelty_leave_class_out(
        vectors[:1], np.array([A], object)
    ).tolist() == pytest.approx([2**0.5])
