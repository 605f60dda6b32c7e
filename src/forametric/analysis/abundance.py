"""Relative abundances of taxa in one sample, with intervals, by Gibbs sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forametric._typing import Float64Array, FloatArray, IntArray
from forametric.data.verdicts import name_no_specimens
from forametric.identification.calibration import Calibration
from forametric.identification.open_set import NoveltyPrior, known_density

DRAWS, BURN_IN = 500, 100
# The standard deviation of the error in the log-odds of a taxon, and of unknown, that a whole
# sample may share, and the number of rounds for which one drawn error is kept. Set on species of
# pollen grains held out of training specimens.
LOGIT_SD, LOGIT_SD_UNKNOWN, ROUNDS_PER_ERROR = 0.5, 0.2, 10


@dataclass(frozen=True, eq=False)
class Composition:
    """The estimated composition of one sample.

    Attributes
    ----------
    abundance, low, high : ndarray of float64, shape (taxa + 1,)
        Relative abundances among all specimens and their 95 % intervals; the last is unknown.
        Zero for labels that are not specimens.
    """

    abundance: Float64Array
    low: Float64Array
    high: Float64Array


def estimate_composition(
    probabilities: FloatArray,
    novelty: FloatArray,
    taxa: Sequence[str],
    calibration: Calibration,
    *,
    expert_labels: IntArray | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Composition:
    """Estimate one sample's composition from its specimens' probabilities and novelty.

    Each round draws a taxon (or unknown) for each specimen. Its chance is the specimen's
    probability of the taxon, times how much more common the taxon is here than it was in
    calibration, and depends on novelty. The round then draws new abundances from these counts
    (Dirichlet, with 1/√taxa prior specimens for each taxon) and a new mean novelty of the unknown.
    With few validation specimens the probabilities themselves are uncertain, and a large sample
    does not average that out. So the rounds for the interval add an error to each taxon's log-odds
    and draw another error every ten rounds. The interval is Jeffreys' for a binomial proportion,
    over the drawn counts. What is not a specimen (`name_no_specimens`) is drawn too, but not
    counted.

    Parameters
    ----------
    probabilities : ndarray of float32, shape (n, taxa)
        Calibrated; from `Identifier.predict_proba`.
    novelty : ndarray of float32, shape (n,)
        From `ReferenceSet.novelty`.
    expert_labels : ndarray of int64, shape (n,), optional
        What an expert says each specimen is: the number of its taxon, `len(taxa)` for a taxon
        that is not listed, −1 where no expert has said anything. These are taken as certain.
    """
    count, width = probabilities.shape
    if expert_labels is None:
        expert_labels = np.full(count, -1)
    rng = np.random.default_rng(seed)
    least = min(calibration.prior.values())  # a taxon added later was not in the calibration
    prior = np.array([calibration.prior.get(t, least) for t in taxa])
    # Above the most novel learnt taxon without its references, novelty says nothing more.
    novelty = np.minimum(novelty, np.float32(max(calibration.novelty_leave_class_out)))
    known = probabilities / prior * known_density(novelty, calibration)[:, None]
    of_unknown = NoveltyPrior.from_calibration(calibration)
    error_sd = np.array([LOGIT_SD] * width + [LOGIT_SD_UNKNOWN])
    exact = _draw_counts(known, novelty, expert_labels, of_unknown, 0 * error_sd, draws, rng)
    counts = _draw_counts(known, novelty, expert_labels, of_unknown, error_sd, draws, rng)
    none = np.r_[name_no_specimens(taxa), False]
    exact[:, none] = counts[:, none] = 0
    specimens = counts.sum(1, keepdims=True)
    possible = rng.beta(counts + 0.5, specimens - counts + 0.5)
    low, high = np.quantile(possible, [0.025, 0.975], axis=0)
    # A taxon that may well be absent has no lower bound, one that may be all no upper bound.
    low[(counts == 0).mean(0) > 0.025] = 0
    high[((counts == specimens) & (specimens > 0)).mean(0) > 0.025] = 1
    high[none] = 0
    abundance = exact / np.maximum(exact.sum(1, keepdims=True), 1)
    return Composition(abundance.mean(0), low, high)


def _draw_counts(
    known: Float64Array,
    novelty: FloatArray,
    expert_labels: IntArray,
    of_unknown: NoveltyPrior,
    error_sd: Float64Array,
    draws: int,
    rng: np.random.Generator,
) -> Float64Array:
    """The number of specimens of each taxon, and of unknown, in each round: (draws, taxa + 1).

    `known` is the likelihood of each known taxon, shape (n, taxa); `error_sd` the standard
    deviation of the error in each taxon's log-odds.
    """
    width = known.shape[1]
    likelihood = np.column_stack([known, np.zeros(len(known))])
    mean, abundance, error = of_unknown.mean, np.full(width + 1, 1 / (width + 1)), error_sd
    drawn_counts = np.empty((draws, width + 1))
    for step in range(BURN_IN + draws):
        if step % ROUNDS_PER_ERROR == 0:
            error = np.exp(rng.normal(0, error_sd))
        likelihood[:, -1] = of_unknown.density(novelty, mean)
        weights = np.cumsum((likelihood + 1e-9) * (abundance * error), axis=1)
        labels = (weights < rng.random((len(known), 1)) * weights[:, -1:]).sum(1)
        labels = np.where(expert_labels >= 0, expert_labels, labels)
        counts = np.bincount(labels, minlength=width + 1)
        abundance = rng.dirichlet(counts + 1 / np.sqrt(width + 1))
        mean = of_unknown.sample_mean(novelty[labels == width], rng)
        if step >= BURN_IN:
            drawn_counts[step - BURN_IN] = counts
    return drawn_counts
