"""Calibrate class scores, and choose the novelty threshold for a given rejection rate.

Everything here is fitted on validation specimens, which the network never learnt from, and saved
with the model as `calibration.json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy.optimize import brentq, minimize
from scipy.special import logsumexp, softmax

from forametric._typing import AnyArray, FloatArray
from forametric.errors import InputError, ModelError
from forametric.utils.files import read_json, write_json

FORMAT = 1
FLOOR = 1e-4  # lower scores count as this one
SHIFT_SD = 0.25  # prior standard deviation of a taxon's own shift
REJECTION_RATE = 0.05  # share of known validation specimens above the novelty threshold
MAX_LOG_WEIGHT = 7.0  # no data weighs more than e^7 or less than e^-7
MIN_SPECIMENS = 20  # validation specimens that calibration needs
MAX_QUANTILES = 1000  # kept of each distribution over the validation specimens


@dataclass(frozen=True)
class CalibrationData:
    """Scores and true taxa of validation specimens, which the model never learnt from.

    Attributes
    ----------
    taxa : list of str
        The taxa of the columns.
    scores, centroid_distances : ndarray of float32, shape (n, taxa)
        From `Identifier.class_scores` and `ReferenceSet.centroid_distances`.
    truth : ndarray of str, shape (n,)
        The true taxa, all among `taxa`.
    novelty : ndarray of float32, shape (n,)
        How novelty_threshold each is, as `ReferenceSet.novelty` gives it.
    novelty_leave_class_out : ndarray of float32, shape (n,)
        How novelty_threshold each would be to the references without its own taxon.
    """

    taxa: list[str]
    scores: FloatArray
    centroid_distances: FloatArray
    truth: AnyArray
    novelty: FloatArray
    novelty_leave_class_out: FloatArray


class Calibration(BaseModel):
    """How a model's scores become probabilities, sets and decisions.

    Attributes
    ----------
    temperature : float
        Log scores are divided by it.
    distance_weight : float
        A taxon's squared centroid distance, times this, is subtracted from its log-odds.
    shift : dict of str to float
        What is added to a taxon's log-odds; shrunk to 0 where it has few validation specimens.
    novelty_threshold : float
        The novelty above which a specimen is unknown: `rejection_rate` of the known validation specimens
        lie above it.
    novelty, novelty_leave_class_out : list of float
        Of the validation specimens, ascending: as they are, and were their taxon not in the
        references. The network has learnt these taxa, so that truly new ones look less novelty_threshold.
    prior : dict of str to float
        How common each taxon was among the validation specimens: the probabilities suppose so.
    nonconformity : list of float
        One minus the probability of the right name on validation, ascending: for prediction sets.
    specimens : int
        On how many validation specimens all this was fitted.
    """

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    specimens: int
    temperature: float
    distance_weight: float
    shift: dict[str, float]
    novelty_threshold: float
    rejection_rate: float
    novelty: list[float]
    novelty_leave_class_out: list[float]
    prior: dict[str, float]
    nonconformity: list[float]

    def probabilities(
        self, scores: FloatArray, centroid_distances: FloatArray, taxa: Sequence[str]
    ) -> FloatArray:
        """Calibrated probabilities from scores and centroid_distances, each of shape (n, taxa).

        Each row sums to 1. They are the chances of each taxon *given that the specimen is of one of
        them*.
        """
        shift = np.array([self.shift.get(t, 0.0) for t in taxa], np.float32)
        logits = (
            np.log(scores + FLOOR) / self.temperature
            - self.distance_weight * centroid_distances
            + shift
        )
        return np.asarray(softmax(logits, axis=1), dtype=np.float32)

    def prediction_sets(self, probabilities: FloatArray, error: float) -> npt.NDArray[np.bool_]:
        """Which taxa belong to each specimen's set, shape (n, taxa).

        Over specimens like those of validation the set lacks the right name in at most `error` of
        cases (split conformal prediction, Vovk et al. 2005; the score of Sadinle et al. 2019). The
        likeliest taxon always belongs. `conformal_threshold` says which error rates can be promised.
        """
        kept = 1 - probabilities <= self.conformal_threshold(error)
        kept[np.arange(len(kept)), probabilities.argmax(1)] = True
        return np.asarray(kept)

    def conformal_threshold(self, error: float) -> float:
        """The largest 1 − probability of a taxon that belongs to a set, for this error rate.

        Raises
        ------
        InputError
            When `error` is not between 0 and 1, or too small for so few validation specimens.
        """
        if not 0 < error < 1:
            raise InputError(f"the error rate of a prediction set is between 0 and 1, not {error}.")
        share = np.ceil((self.specimens + 1) * (1 - error)) / self.specimens
        if share > 1:
            raise InputError(
                f"{self.specimens} validation specimens cannot promise an error rate of {error}; "
                f"the least is {1 / (self.specimens + 1):.3f}."
            )
        return float(np.quantile(self.nonconformity, share, method="higher"))

    def save(self, path: Path) -> None:
        """Write as JSON."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read what `save` wrote; `ModelError` when it is damaged or of another format."""
        try:
            data = read_json(path)
        except InputError as error:
            raise ModelError(str(error)) from None
        if data.get("format") != FORMAT:
            raise ModelError(f"{path} has calibration format {data.get('format')!r}, not {FORMAT}.")
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            raise ModelError(f"{path} is damaged: {first['loc']}: {first['msg']}.") from None


def fit_calibration(
    data: CalibrationData, *, rejection_rate: float = REJECTION_RATE
) -> Calibration:
    """Fit a calibration on specimens that the network never learnt from.

    How much the scores and the centroid_distances weigh, and the shifts, are those of the greatest
    posterior probability: cross-entropy of the specimens, with each shift normal around 0
    beforehand (standard deviation `SHIFT_SD`), so that a species with few specimens keeps to the
    common weights (Guo et al. 2017, with a prior on its vector scaling). Both weights are then
    made larger or smaller until the best names are on average as probable as they are right
    (Clarté et al. 2023, "Expectation consistency"): those of the least cross-entropy were too sure
    by two and a half points on validation specimens of plankton that they had not been fitted on.

    Parameters
    ----------
    rejection_rate : float
        Share of the specimens that may be called unknown.

    Raises
    ------
    InputError
        With fewer than `MIN_SPECIMENS` specimens.

    Examples
    --------
    >>> scores = np.tile(np.float32([[0.9, 0.1]]), (100, 1))
    >>> truth, far = np.array(["a"] * 70 + ["b"] * 30), np.zeros((100, 2), np.float32)
    >>> novelty = np.linspace(0, 1, 100, dtype=np.float32)
    >>> got = fit_calibration(CalibrationData(["a", "b"], scores, far, truth, novelty, novelty + 1))
    >>> got.probabilities(scores[:1], far[:1], ["a", "b"]).round(1).tolist()
    [[0.699999988079071, 0.30000001192092896]]
    """
    taxa, truth, scores = data.taxa, data.truth, data.scores
    if len(truth) < MIN_SPECIMENS:
        raise InputError(
            f"{len(truth)} validation specimens are too few to calibrate; at least {MIN_SPECIMENS} are "
            f"needed."
        )
    scale = float(data.centroid_distances.mean()) or 1.0  # vectors may be of any length
    speaks = np.stack([np.log(scores + FLOOR), -data.centroid_distances / scale]).astype(np.float64)
    right = np.searchsorted(np.asarray(taxa), truth.astype(str))
    each = np.arange(len(truth))
    hits = np.zeros(scores.shape)
    hits[each, right] = 1

    def loss(free: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        weights, shift = np.exp(free[:2]), free[2:]
        logits = np.tensordot(weights, speaks, 1) + shift
        value = (logsumexp(logits, axis=1) - logits[each, right]).sum()
        slope = softmax(logits, axis=1) - hits
        return (
            float(value + (shift**2).sum() / (2 * SHIFT_SD**2)),
            np.r_[(speaks * slope).sum((1, 2)) * weights, slope.sum(0) + shift / SHIFT_SD**2],
        )

    limits = [(-MAX_LOG_WEIGHT, MAX_LOG_WEIGHT)] * 2 + [(None, None)] * len(taxa)
    start = np.zeros(2 + len(taxa))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=limits).x
    novelty_threshold = float(np.quantile(data.novelty, 1 - rejection_rate, method="higher"))
    counts = np.bincount(right, minlength=len(taxa)) + 1  # a taxon may be missing by chance
    calibration = Calibration(
        specimens=len(truth),
        temperature=round(float(np.exp(-found[0])), 6),
        distance_weight=float(np.exp(found[1])) / scale,
        shift={t: round(float(s), 6) for t, s in zip(taxa, found[2:], strict=True)},
        novelty_threshold=round(novelty_threshold, 6),
        rejection_rate=rejection_rate,
        novelty=_quantiles(data.novelty),
        novelty_leave_class_out=_quantiles(data.novelty_leave_class_out),
        prior={t: round(float(c / counts.sum()), 6) for t, c in zip(taxa, counts, strict=True)},
        nonconformity=[],
    )
    calibration = _consistent(calibration, data, right)
    missed = 1 - calibration.probabilities(scores, data.centroid_distances, taxa)[each, right]
    calibration.nonconformity = _quantiles(missed)
    return calibration


def _consistent(
    calibration: Calibration, data: CalibrationData, right: npt.NDArray[np.int64]
) -> Calibration:
    """The same, made as sure of its best names on average as they are right.

    Unchanged where no factor from 0.1 to 10 achieves that: when all names are right, say.
    """
    given = data.scores, data.centroid_distances, data.taxa
    best = calibration.probabilities(*given).argmax(1)
    correct = float((best == right).mean())

    def softer(factor: float) -> Calibration:
        changed = {
            "temperature": round(calibration.temperature * factor, 6),
            "distance_weight": calibration.distance_weight / factor,
        }
        return calibration.model_copy(update=changed)

    def too_sure(factor: float) -> float:
        return float(softer(factor).probabilities(*given).max(1).mean()) - correct

    if too_sure(0.1) * too_sure(10.0) >= 0:
        return calibration
    return softer(float(brentq(too_sure, 0.1, 10.0, xtol=1e-6)))


def _quantiles(values: FloatArray) -> list[float]:
    """The values ascending, or so many of their quantiles as are worth keeping."""
    if len(values) > MAX_QUANTILES:
        values = np.quantile(values, np.linspace(0, 1, MAX_QUANTILES), method="higher")
    return [round(float(v), 6) for v in np.sort(values)]
