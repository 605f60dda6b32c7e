"""Scores become probabilities that hold, and "unknown" is said at a stated rate.

Everything here is fitted on validation specimens, which the network never learnt from, and is saved
beside the model as `calibration.json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy.optimize import brentq, minimize
from scipy.special import logsumexp, softmax

from forametric.errors import InputError, ModelError
from forametric.files import read_json, write_json

FORMAT = 1
FLOOR = 1e-4  # a score below it says no more than it does
SPREAD = 0.25  # standard deviation of a species' own correction before its specimens are seen
REJECTED = 0.05  # share of known validation specimens that the threshold calls unknown
WEIGHT = 7.0  # no evidence weighs more than e^7 or less than e^-7
LEAST = 20  # validation specimens, below which nothing is calibrated
QUANTILES = 1000  # of a figure of the validation specimens that are kept at most
Floats = npt.NDArray[np.float32]
Strings = npt.NDArray[Any]


@dataclass(frozen=True)
class Evidence:
    """What a model says of specimens that it never learnt from, and what they are.

    Attributes
    ----------
    taxa : list of str
        What the columns stand for.
    scores, remoteness : ndarray of float32, shape (n, taxa)
        As `Embedder.scores` and `Gallery.remoteness` give them.
    truth : ndarray of str, shape (n,)
        The right names, all among `taxa`.
    novelty : ndarray of float32, shape (n,)
        How strange each is, as `Gallery.novelty` gives it.
    novelty_if_new : ndarray of float32, shape (n,)
        How strange each would be to the gallery without its own taxon.
    """

    taxa: list[str]
    scores: Floats
    remoteness: Floats
    truth: Strings
    novelty: Floats
    novelty_if_new: Floats


class Calibration(BaseModel):
    """How a model's scores become probabilities, sets and decisions.

    Attributes
    ----------
    temperature : float
        Log scores are divided by it.
    closeness : float
        A taxon's remoteness (`Gallery.remoteness`), times this, is subtracted from its log-odds; 0
        in models calibrated before remoteness was heeded.
    shift : dict of str to float
        What is added to a taxon's log-odds; shrunk to 0 where it has few validation specimens.
    strange : float
        The novelty above which a specimen is unknown: `rejected` of the known validation specimens
        lie above it.
    novelty, novelty_if_new : list of float
        Of the validation specimens, ascending: as they are, and were their taxon not in the
        gallery. The network has learnt these taxa, so that truly new ones look less strange.
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
    closeness: float = 0.0
    shift: dict[str, float]
    strange: float
    rejected: float
    novelty: list[float]
    novelty_if_new: list[float]
    prior: dict[str, float]
    nonconformity: list[float]

    def probabilities(self, scores: Floats, remoteness: Floats, taxa: Sequence[str]) -> Floats:
        """Calibrated probabilities from scores and remoteness, each of shape (n, taxa).

        Each row sums to 1. They are the chances of each taxon *given that the specimen is of one of
        them*.
        """
        shift = np.array([self.shift.get(t, 0.0) for t in taxa], np.float32)
        logits = np.log(scores + FLOOR) / self.temperature - self.closeness * remoteness + shift
        return np.asarray(softmax(logits, axis=1), dtype=np.float32)

    def prediction_sets(self, probabilities: Floats, error: float) -> npt.NDArray[np.bool_]:
        """Which taxa belong to each specimen's set, shape (n, taxa).

        Over specimens like those of validation the set lacks the right name in at most `error` of
        cases (split conformal prediction, Vovk et al. 2005; the score of Sadinle et al. 2019). The
        likeliest taxon always belongs. `limit_of_sets` says which error rates can be promised.
        """
        kept = 1 - probabilities <= self.limit_of_sets(error)
        kept[np.arange(len(kept)), probabilities.argmax(1)] = True
        return np.asarray(kept)

    def limit_of_sets(self, error: float) -> float:
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


def fit_calibration(evidence: Evidence, *, rejected: float = REJECTED) -> Calibration:
    """Fit a calibration on specimens that the network never learnt from.

    How much the scores and the remoteness weigh, and the shifts, are those of the greatest
    posterior probability: cross-entropy of the specimens, with each shift normal around 0
    beforehand (standard deviation `SPREAD`), so that a species with few specimens keeps to the
    common weights (Guo et al. 2017, with a prior on its vector scaling). Both weights are then
    made larger or smaller until the best names are on average as probable as they are right
    (Clarté et al. 2023, "Expectation consistency"): those of the least cross-entropy were too sure
    by two and a half points on validation specimens of plankton that they had not been fitted on.

    Parameters
    ----------
    rejected : float
        Share of the specimens that may be called unknown.

    Raises
    ------
    InputError
        With fewer than `LEAST` specimens.

    Examples
    --------
    >>> scores = np.tile(np.float32([[0.9, 0.1]]), (100, 1))
    >>> truth, far = np.array(["a"] * 70 + ["b"] * 30), np.zeros((100, 2), np.float32)
    >>> novelty = np.linspace(0, 1, 100, dtype=np.float32)
    >>> got = fit_calibration(Evidence(["a", "b"], scores, far, truth, novelty, novelty + 1))
    >>> got.probabilities(scores[:1], far[:1], ["a", "b"]).round(1).tolist()
    [[0.699999988079071, 0.30000001192092896]]
    """
    taxa, truth, scores = evidence.taxa, evidence.truth, evidence.scores
    if len(truth) < LEAST:
        raise InputError(
            f"{len(truth)} validation specimens are too few to calibrate; at least {LEAST} are "
            f"needed."
        )
    scale = float(evidence.remoteness.mean()) or 1.0  # vectors may be of any length
    speaks = np.stack([np.log(scores + FLOOR), -evidence.remoteness / scale]).astype(np.float64)
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
            float(value + (shift**2).sum() / (2 * SPREAD**2)),
            np.r_[(speaks * slope).sum((1, 2)) * weights, slope.sum(0) + shift / SPREAD**2],
        )

    limits = [(-WEIGHT, WEIGHT)] * 2 + [(None, None)] * len(taxa)
    start = np.zeros(2 + len(taxa))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=limits).x
    strange = float(np.quantile(evidence.novelty, 1 - rejected, method="higher"))
    counts = np.bincount(right, minlength=len(taxa)) + 1  # a taxon may be missing by chance
    calibration = Calibration(
        specimens=len(truth),
        temperature=round(float(np.exp(-found[0])), 6),
        closeness=float(np.exp(found[1])) / scale,
        shift={t: round(float(s), 6) for t, s in zip(taxa, found[2:], strict=True)},
        strange=round(strange, 6),
        rejected=rejected,
        novelty=_quantiles(evidence.novelty),
        novelty_if_new=_quantiles(evidence.novelty_if_new),
        prior={t: round(float(c / counts.sum()), 6) for t, c in zip(taxa, counts, strict=True)},
        nonconformity=[],
    )
    calibration = _consistent(calibration, evidence, right)
    missed = 1 - calibration.probabilities(scores, evidence.remoteness, taxa)[each, right]
    calibration.nonconformity = _quantiles(missed)
    return calibration


def _consistent(
    calibration: Calibration, evidence: Evidence, right: npt.NDArray[np.int64]
) -> Calibration:
    """The same, made as sure of its best names on average as they are right.

    Unchanged where no factor from 0.1 to 10 achieves that: when all names are right, say.
    """
    given = evidence.scores, evidence.remoteness, evidence.taxa
    best = calibration.probabilities(*given).argmax(1)
    correct = float((best == right).mean())

    def softer(factor: float) -> Calibration:
        changed = {
            "temperature": round(calibration.temperature * factor, 6),
            "closeness": calibration.closeness / factor,
        }
        return calibration.model_copy(update=changed)

    def too_sure(factor: float) -> float:
        return float(softer(factor).probabilities(*given).max(1).mean()) - correct

    if too_sure(0.1) * too_sure(10.0) >= 0:
        return calibration
    return softer(float(brentq(too_sure, 0.1, 10.0, xtol=1e-6)))


def _quantiles(values: Floats) -> list[float]:
    """The values ascending, or so many of their quantiles as are worth keeping."""
    if len(values) > QUANTILES:
        values = np.quantile(values, np.linspace(0, 1, QUANTILES), method="higher")
    return [round(float(v), 6) for v in np.sort(values)]
