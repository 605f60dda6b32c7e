"""Probabilities and prediction sets: by hand on small arrays, and on drawn ones."""

import json

import numpy as np
import pytest

from forametric import metrics
from forametric.errors import InputError, ModelError
from forametric.identification.calibration import Calibration, CalibrationData, fit_calibration
from tests.support.samples import A, B, C, calibration_of


def _drawn(count: int, sharpness: float, seed: int = 0):
    """Scores whose true probabilities are softmax(logits); they claim `sharpness` times as much."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, 3))
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.array([rng.choice([A, B, C], p=p) for p in true])
    scores = np.exp(sharpness * logits)
    return (scores / scores.sum(1, keepdims=True)).astype(np.float32), truth


def _data(scores, centroid_distances, truth) -> CalibrationData:
    novelty = np.linspace(0, 1, len(truth), dtype=np.float32)
    return CalibrationData([A, B, C], scores, centroid_distances, truth, novelty, novelty + 2)


@pytest.mark.parametrize("sharpness", [0.5, 3.0])
def test_calibration_undoes_scores_that_are_too_sure_or_not_sure_enough(sharpness):
    scores, truth = _drawn(2000, sharpness)
    found = fit_calibration(_data(scores, 0 * scores, truth))
    assert found.temperature == pytest.approx(sharpness, rel=0.2)
    assert found.novelty_threshold == pytest.approx(0.95, abs=0.01)
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
def test_distances_to_centroids_weigh_as_much_as_they_told_the_right_name(scale):
    far, truth = _drawn(2000, 1.0)
    centroid_distances = -np.log(far) / 3 * np.float32(scale)
    silent = np.full_like(far, 1 / 3)
    found = fit_calibration(_data(silent, centroid_distances, truth))
    assert found.distance_weight * scale == pytest.approx(3, rel=0.2)
    assert found.probabilities(silent, centroid_distances, [A, B, C]) == pytest.approx(
        far, abs=0.06
    )


def test_the_temperature_by_hand():
    cooled = calibration_of(temperature=2.0, distance_weight=0.0)
    scores, far = np.float32([[0.8, 0.2]]), np.float32([[9.0, 0.0]])
    # (0.8 / 0.2) ** (1 / 2) = 2 to 1, and the distances do not count
    found = cooled.probabilities(scores, far, [A, B])[0]
    assert found == pytest.approx([2 / 3, 1 / 3], abs=1e-3)


def test_a_species_with_few_specimens_keeps_to_the_common_temperature():
    scores = np.tile(np.float32([[0.8, 0.1, 0.1]]), (60, 1))
    often = np.array([A] * 30 + [B] * 30)
    rarely = np.array([A] * 59 + [B])
    shift = [
        fit_calibration(_data(scores, 0 * scores, truth)).shift[B] for truth in (often, rarely)
    ]
    assert shift[0] > 2 * abs(shift[1])


def test_both_kinds_of_evidence_count_where_every_name_is_correct():
    """Votes and centroids both name each specimen correctly: neither weight runs away."""
    truth = np.array([A, B, C] * 30)
    scores = np.float32(np.eye(3)[[0, 1, 2] * 30] * 0.94 + 0.02)
    found = fit_calibration(_data(scores, 1 - scores, truth))
    assert 0.1 < found.temperature < 10
    assert 1 < found.distance_weight * float((1 - scores).mean()) < 60
    agreed = found.probabilities(scores[:1], 1 - scores[:1], [A, B, C])[0]
    disputed = found.probabilities(scores[1:2], 1 - scores[:1], [A, B, C])[0]
    assert agreed[0] == pytest.approx(91 / 92, abs=1e-3)  # 90 of 90 are correct: Laplace's rule
    assert disputed[0] < agreed[0] - 0.02


def test_few_specimens_leave_the_weights_near_their_prior_and_promise_little():
    truth = np.array([A, B, C, A, B])
    scores = np.float32(np.eye(3)[[0, 1, 2, 0, 1]] * 0.94 + 0.02)
    found = fit_calibration(_data(scores, 1 - scores, truth))
    probabilities = found.probabilities(scores, 1 - scores, [A, B, C])
    assert probabilities.max(1) == pytest.approx(6 / 7, abs=0.01), "5 of 5 prove no certainty"
    assert found.specimens == 5
    with pytest.raises(InputError, match="cannot guarantee"):
        found.conformal_threshold(0.05)


def test_the_rejection_rate_has_a_sampling_error():
    """Of many thresholds from 60 specimens, 95 % reject a share within the interval."""
    rng = np.random.default_rng(0)
    truth = np.array([A, B, C] * 20)
    scores = np.full((60, 3), 1 / 3, np.float32)
    rejected = []
    for _ in range(400):
        novelty = rng.uniform(0, 1, 60).astype(np.float32)  # a threshold t rejects 1 - t
        data = CalibrationData([A, B, C], scores, scores, truth, novelty, novelty)
        found = fit_calibration(data)
        rejected.append(1 - found.novelty_threshold)
    low, high = found.rejection_rate_95
    within = (np.array(rejected) >= low) & (np.array(rejected) <= high)
    assert within.mean() == pytest.approx(0.95, abs=0.03)
    assert low < 0.05 < high


def test_one_specimen_leaves_the_prior_and_is_said_to_be_too_few():
    scores = np.float32([[0.96, 0.02, 0.02]])
    found = fit_calibration(_data(scores, 1 - scores, np.array([A])))
    assert found.probabilities(scores, 1 - scores, [A, B, C]).max() == pytest.approx(
        2 / 3, abs=0.01
    )
    assert found.caution.startswith("the model is calibrated on only one specimen, so its prob")
    low, high = found.rejection_rate_95
    assert low < 0.05 < 0.5 < high


def test_the_caution_ends_with_enough_specimens():
    for number, expected in ((49, True), (50, False)):
        scores = np.full((number, 3), 1 / 3, np.float32)
        found = fit_calibration(_data(scores, scores, np.array([A] * number)))
        assert bool(found.caution) == expected


def test_nothing_is_calibrated_on_no_specimen():
    none = np.zeros((0, 3), np.float32)
    with pytest.raises(InputError, match="no validation specimens"):
        fit_calibration(_data(none, none, np.array([], str)))


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
    with pytest.raises(InputError, match="above 0 and below 1"):
        calibration.prediction_sets(p, 0)


@pytest.mark.parametrize(
    ("specimens", "error", "rank"), [(100, 0.05, 96), (19, 0.05, 19), (99, 0.1, 90)]
)
def test_the_conformal_threshold_is_the_right_order_statistic(specimens, error, rank):
    scores = [round(n / 200, 6) for n in range(1, specimens + 1)]
    calibration = calibration_of(nonconformity=scores, specimens=specimens)
    assert calibration.conformal_threshold(error) == scores[rank - 1]


def test_conformal_sets_cover_as_many_as_they_say():
    """Of n + 1 exchangeable scores the last is within with a chance of rank / (n + 1)."""
    rng = np.random.default_rng(0)
    within = []
    for _ in range(4000):
        scores = rng.uniform(0, 1, 40)
        calibration = calibration_of(nonconformity=sorted(scores[:39].tolist()), specimens=39)
        within.append(scores[39] <= calibration.conformal_threshold(0.1))
    assert np.mean(within) == pytest.approx(36 / 40, abs=0.015)


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
    del data["distance_weight"]
    path.write_text(json.dumps(data))
    with pytest.raises(ModelError, match="distance_weight"):
        Calibration.load(path)
