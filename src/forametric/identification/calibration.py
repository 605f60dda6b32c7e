"""Calibrate class scores, and choose the novelty threshold for a given rejection rate.

A calibration is fitted on validation specimens, which are not used to train the network, and saved
with the model as `calibration.json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.optimize import brentq, minimize
from scipy.special import logsumexp, softmax
from scipy.stats import beta

from forametric import metrics
from forametric._typing import AnyArray, BoolArray, Float64Array, FloatArray, IntArray
from forametric.errors import InputError, ModelError
from forametric.identification.drift import DriftReference
from forametric.utils.files import read_json, write_json
from forametric.utils.ranges import SHARE

FORMAT = 2
FLOOR = 1e-4  # added to scores before the logarithm
SHIFT_SD = 0.25  # prior standard deviation of a taxon's shift
# The prior of the weights of log scores and of centroid distances, the latter over their mean: the
# logarithm of each is normal. Without it, specimens that are all named correctly by one of the two
# would make the other count for nothing.
LOG_WEIGHTS = np.log([0.5, 8.0])
LOG_WEIGHT_SD = 1.0
REJECTION_RATE = 0.05  # share of known validation specimens above the novelty threshold
FEW_SPECIMENS = 50  # below this number the novelty of references, each left out, is used too
ROUNDING = 1e-9  # error of a product that should be whole
MAX_QUANTILES = 1000  # values saved of each distribution over the validation specimens
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class CalibrationData:
    """Scores and true taxa of validation specimens, which were not used in training.

    Attributes
    ----------
    taxa : list of str
        The taxa of the columns.
    scores, centroid_distances : ndarray of float32, shape (n, taxa)
        From `Identifier.class_scores` and `ReferenceSet.centroid_distances`.
    truth : ndarray of str, shape (n,)
        The true taxa, all among `taxa`.
    novelty : ndarray of float32, shape (m,)
        From `ReferenceSet.novelty`; m may be larger than n (`FEW_SPECIMENS`).
    novelty_leave_class_out : ndarray of float32, shape (m,)
        The novelty that each would have without the references of its own taxon.
    drift : DriftReference or None
        From `fit_drift`.
    """

    taxa: list[str]
    scores: FloatArray
    centroid_distances: FloatArray
    truth: AnyArray
    novelty: FloatArray
    novelty_leave_class_out: FloatArray
    drift: DriftReference | None = None


class Calibration(BaseModel):
    """How a model's scores become probabilities, sets and decisions.

    Attributes
    ----------
    temperature : float
        Log scores are divided by it.
    distance_weight : float
        A taxon's squared centroid distance, times this, is subtracted from its log-odds.
    shift : dict of str to float
        Added to a taxon's log-odds; close to 0 for a taxon with few validation specimens.
    novelty_threshold : float
        A specimen with a higher novelty is unknown.
    rejection_rate : float
        The share of the specimens of known taxa above the threshold.
    novelty, novelty_leave_class_out : list of float
        Of the validation specimens (and of references, each left out, where these are few),
        ascending: with all references, and without those of their own taxon. The network was
        trained on these taxa; truly new ones have a lower novelty.
    prior : dict of str to float
        The share of each taxon among the validation specimens, which the probabilities assume.
    nonconformity : list of float
        1 − probability of the correct taxon of the validation specimens, ascending; for prediction
        sets.
    specimens : int
        The number of validation specimens.
    drift : DriftReference or None
        What the images of validation are like; None where their statistics are not known.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    format: int = FORMAT
    specimens: Annotated[int, Field(ge=1)]
    temperature: Annotated[float, Field(gt=0)]
    distance_weight: Annotated[float, Field(ge=0)]
    shift: dict[str, float]
    novelty_threshold: float
    rejection_rate: Share
    novelty: Annotated[list[float], Field(min_length=1)]
    novelty_leave_class_out: Annotated[list[float], Field(min_length=1)]
    prior: dict[str, Share]
    nonconformity: list[Share]
    drift: DriftReference | None = None

    def probabilities(
        self, scores: FloatArray, centroid_distances: FloatArray, taxa: Sequence[str]
    ) -> FloatArray:
        """Calibrated probabilities from scores and centroid distances, all of shape (n, taxa).

        Each row sums to 1: the probabilities assume that the specimen belongs to one of the taxa.
        """
        shift = np.array([self.shift.get(t, 0.0) for t in taxa], np.float32)
        logits = (
            np.log(scores + FLOOR) / self.temperature
            - self.distance_weight * centroid_distances
            + shift
        )
        return np.asarray(softmax(logits, axis=1), dtype=np.float32)

    @property
    def caution(self) -> str:
        """A sentence on a calibration that rests on few specimens; "" for others."""
        if self.specimens >= FEW_SPECIMENS:
            return ""
        few = "only one specimen" if self.specimens == 1 else f"only {self.specimens} specimens"
        return (
            f"the model is calibrated on {few}, so its probabilities are rough and lower than with "
            f"more; calibrate it again when you have named {FEW_SPECIMENS} or more."
        )

    @property
    def rejection_rate_95(self) -> tuple[float, float]:
        """What share of known specimens the threshold may reject: its 95 % interval.

        By the number of validation specimens (`metrics.share_above_quantile`): references that
        count too, where these are few, were learnt by the network and prove nothing.
        """
        above = metrics.share_above_quantile(self.specimens, self.rejection_rate)
        low, high = beta.ppf([0.025, 0.975], *above)
        return float(low), float(high)

    def prediction_sets(self, probabilities: FloatArray, error: float) -> BoolArray:
        """The taxa in each specimen's conformal set, shape (n, taxa).

        For specimens like those of validation, the share of sets without the correct taxon is about
        `error` (split conformal prediction, Vovk et al. 2005, with the score of Sadinle et al.
        2019). This is not a guarantee: the same specimens served to calibrate the probabilities and
        to select the epoch, and specimens of one group resemble each other. A set always has the
        most probable taxon, so it may be right more frequently. Errors are those of
        `conformal_threshold`.
        """
        members = 1 - probabilities <= self.conformal_threshold(error)
        members[np.arange(len(members)), probabilities.argmax(1)] = True
        return np.asarray(members)

    def conformal_threshold(self, error: float) -> float:
        """The greatest 1 − probability of a taxon in a set, for this error rate.

        The ⌈(n + 1)(1 − error)⌉-th of the n nonconformity scores in ascending order.

        Raises
        ------
        InputError
            When `error` is not between 0 and 1, or too small for the number of specimens.
        """
        SHARE.check(error=error)
        rank = np.ceil((self.specimens + 1) * (1 - error) - ROUNDING)
        if rank > self.specimens:
            raise InputError(
                f"{self.specimens} validation specimens cannot guarantee an error rate of {error}; "
                f"the least is {1 / (self.specimens + 1):.3f}."
            )
        kept = len(self.nonconformity)  # all, or `MAX_QUANTILES` of them
        return self.nonconformity[int(np.ceil(rank * kept / self.specimens - ROUNDING)) - 1]

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
            calibration = cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ModelError(f"{path} is damaged: {where}: {first['msg']}.") from None
        if not calibration.nonconformity:
            raise ModelError(f"{path} is damaged: nonconformity is empty.")
        return calibration


def check_any(specimens: int) -> None:
    """Raise `InputError` if there are no specimens."""
    if not specimens:
        raise InputError("there are no validation specimens of known taxa to calibrate on.")


def fit_calibration(
    data: CalibrationData, *, rejection_rate: float = REJECTION_RATE
) -> Calibration:
    """Fit a calibration on validation specimens, which were not used in training.

    The weights of the scores and of the centroid distances, and the shifts, are a maximum a
    posteriori estimate: they minimize the cross-entropy of the specimens, with normal priors on the
    logarithms of both weights (`LOG_WEIGHTS`) and on each shift (mean 0, standard deviation
    `SHIFT_SD`), so that few specimens move them little (vector scaling of Guo et al. 2017, with a
    prior). Then both weights are scaled until the mean probability of the best taxa equals the
    share of them that is correct (expectation consistency, Clarté et al. 2023; the share is that
    of n + 2 specimens of which one more is correct and one more is wrong, Laplace's rule). Without
    this step the probabilities were too high by 2.5 percentage points on held-out validation
    specimens of plankton.

    Parameters
    ----------
    rejection_rate : float
        The share of the specimens to reject as unknown.

    Raises
    ------
    InputError
        Without a specimen.

    Examples
    --------
    >>> scores = np.tile(np.float32([[0.9, 0.1]]), (100, 1))
    >>> truth, far = np.array(["a"] * 70 + ["b"] * 30), np.zeros((100, 2), np.float32)
    >>> novelty = np.linspace(0, 1, 100, dtype=np.float32)
    >>> data = CalibrationData(["a", "b"], scores, far, truth, novelty, novelty + 1)
    >>> fit_calibration(data).probabilities(scores[:1], far[:1], ["a", "b"]).round(1).tolist()
    [[0.699999988079071, 0.30000001192092896]]
    """
    taxa, truth, scores = data.taxa, data.truth, data.scores
    check_any(len(truth))
    scale = float(data.centroid_distances.mean()) or 1.0  # vectors may have any length
    evidence = np.stack([np.log(scores + FLOOR), -data.centroid_distances / scale])
    evidence = evidence.astype(np.float64)
    correct = np.searchsorted(np.asarray(taxa), truth.astype(str))
    rows = np.arange(len(truth))
    target = np.zeros(scores.shape)
    target[rows, correct] = 1

    def loss(parameters: Float64Array) -> tuple[float, Float64Array]:
        weights, shift = np.exp(parameters[:2]), parameters[2:]
        logits = np.tensordot(weights, evidence, 1) + shift
        value = (logsumexp(logits, axis=1) - logits[rows, correct]).sum()
        slope = softmax(logits, axis=1) - target
        moved = (parameters - expected) / deviations
        return (
            float(value + (moved**2).sum() / 2),
            np.r_[(evidence * slope).sum((1, 2)) * weights, slope.sum(0)] + moved / deviations,
        )

    expected = np.r_[LOG_WEIGHTS, np.zeros(len(taxa))]
    deviations = np.r_[[LOG_WEIGHT_SD] * 2, [SHIFT_SD] * len(taxa)]
    fitted = minimize(loss, expected, jac=True, method="L-BFGS-B").x
    novelty_threshold = float(np.quantile(data.novelty, 1 - rejection_rate, method="higher"))
    counts = np.bincount(correct, minlength=len(taxa)) + 1  # a taxon may be missing by chance
    calibration = Calibration(
        specimens=len(truth),
        temperature=round(float(np.exp(-fitted[0])), 6),
        distance_weight=float(np.exp(fitted[1])) / scale,
        shift={t: round(float(s), 6) for t, s in zip(taxa, fitted[2:], strict=True)},
        novelty_threshold=round(novelty_threshold, 6),
        rejection_rate=rejection_rate,
        novelty=_quantiles(data.novelty),
        novelty_leave_class_out=_quantiles(data.novelty_leave_class_out),
        prior={t: round(float(c / counts.sum()), 6) for t, c in zip(taxa, counts, strict=True)},
        nonconformity=[],
        drift=data.drift,
    )
    calibration = _consistent(calibration, data, correct)
    probabilities = calibration.probabilities(scores, data.centroid_distances, taxa)
    calibration.nonconformity = _quantiles(1 - probabilities[rows, correct])
    return calibration


def _consistent(calibration: Calibration, data: CalibrationData, correct: IntArray) -> Calibration:
    """The calibration, scaled so that the mean best probability equals the accuracy.

    Unchanged if no factor from 0.1 to 10 achieves this.
    """
    inputs = data.scores, data.centroid_distances, data.taxa
    best = calibration.probabilities(*inputs).argmax(1)
    accuracy = float((np.sum(best == correct) + 1) / (len(correct) + 2))

    def scaled(factor: float) -> Calibration:
        changed = {
            "temperature": round(calibration.temperature * factor, 6),
            "distance_weight": calibration.distance_weight / factor,
        }
        return calibration.model_copy(update=changed)

    def overconfidence(factor: float) -> float:
        return float(scaled(factor).probabilities(*inputs).max(1).mean()) - accuracy

    if overconfidence(0.1) * overconfidence(10.0) >= 0:
        return calibration
    return scaled(float(brentq(overconfidence, 0.1, 10.0, xtol=1e-6)))


def _quantiles(values: FloatArray) -> list[float]:
    """The values in ascending order, or `MAX_QUANTILES` quantiles of more values."""
    if len(values) > MAX_QUANTILES:
        values = np.quantile(values, np.linspace(0, 1, MAX_QUANTILES), method="higher")
    return [round(float(v), 6) for v in np.sort(values)]
