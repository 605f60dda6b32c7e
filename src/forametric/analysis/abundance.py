"""Relative abundances of taxa in one sample, with intervals, by Gibbs sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forametric._typing import Float64Array, FloatArray, IntArray
from forametric.analysis.convergence import effective_draws, r_hat
from forametric.analysis.diversity import diversity, rarefied_richness
from forametric.data.verdicts import name_no_specimens
from forametric.identification.calibration import Calibration
from forametric.identification.open_set import NoveltyPrior, known_density

# Chains of the sampler without and with an error in the log-odds. They run in rounds until enough
# draws are effective.
CHAINS, CHAINS_WITH_ERROR, BURN_IN, SWEEPS, MAX_ROUNDS = 4, 8, 100, 500, 6
EFFECTIVE_DRAWS, R_HAT = 200, 1.05
KEPT = 500  # draws that a `Composition` keeps of both
# The standard deviation of the error in the log-odds of a taxon, and of unknown, that a whole
# sample may share, and the number of sweeps for which one drawn error is kept. Set on species of
# pollen grains held out of training specimens.
LOGIT_SD, LOGIT_SD_UNKNOWN, SWEEPS_PER_ERROR = 0.5, 0.2, 10
LEAST_ABUNDANCE = 0.01  # of the taxa whose convergence is reported
INDICES = ("richness", "rarefied", "shannon", "simpson", "pielou")
BLOCK = 4096  # specimens that are drawn at once


@dataclass(frozen=True, eq=False)
class Composition:
    """The estimated composition of one sample.

    Attributes
    ----------
    abundance, low, high : ndarray of float64, shape (taxa + 1,)
        Relative abundances among all specimens and their 95 % intervals; the last is unknown.
        Zero for labels that are not specimens.
    draws, draws_with_error : ndarray of int64, shape (500, taxa + 1)
        Numbers of specimens in single draws: those of the estimate, and those of the interval.
    effective_draws, r_hat : float
        The least `effective_draws` and the greatest `r_hat` of the abundances of at least 1 %.
    """

    abundance: Float64Array
    low: Float64Array
    high: Float64Array
    draws: IntArray
    draws_with_error: IntArray
    effective_draws: float
    r_hat: float

    def indices(self, rarefied_to: int) -> dict[str, float]:
        """Diversity indices of the known taxa, each with the limits of its 95 % interval.

        They are computed from single draws, and not from mean abundances, in which nearly every
        taxon of the model has a share. The intervals are those of the names of the counted
        specimens.

        Returns
        -------
        dict of str to float
            richness, richness_low, richness_high; the same for rarefied (`rarefied_richness` of
            this number of specimens), shannon, simpson and pielou. NaN where no draw has enough
            taxa.
        """
        drawn, with_error = (
            {**diversity(counts), "rarefied": rarefied_richness(counts, rarefied_to)}
            for counts in (self.draws[:, :-1], self.draws_with_error[:, :-1])
        )
        found: dict[str, float] = {}
        for name in INDICES:
            values = drawn[name][np.isfinite(drawn[name])]
            others = with_error[name][np.isfinite(with_error[name])]
            if not len(values) or not len(others):
                found |= dict.fromkeys((name, f"{name}_low", f"{name}_high"), float("nan"))
                continue
            mean, (low, high) = float(values.mean()), np.quantile(others, [0.025, 0.975]).tolist()
            limits = {f"{name}_low": min(low, mean), f"{name}_high": max(high, mean)}
            found |= {name: mean, **limits}
        return found


def estimate_composition(
    probabilities: FloatArray,
    novelty: FloatArray,
    taxa: Sequence[str],
    calibration: Calibration,
    *,
    expert_labels: IntArray | None = None,
    seed: int = 0,
) -> Composition:
    """Estimate one sample's composition from its specimens' probabilities and novelty.

    Each sweep draws a taxon (or unknown) for each specimen. Its chance is the specimen's
    probability of the taxon, times how much more common the taxon is here than it was in
    calibration, and depends on novelty. The sweep then draws new abundances from these counts
    (Dirichlet, with 1/√taxa prior specimens for each taxon) and a new mean novelty of the unknown.
    With few validation specimens the probabilities themselves are uncertain, and a large sample
    does not average that out. So the chains for the interval add an error to each taxon's log-odds
    and draw another error every ten sweeps. The interval is Jeffreys' for a binomial proportion,
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
    error_sd = np.zeros((CHAINS + CHAINS_WITH_ERROR, width + 1))
    error_sd[CHAINS:] = [*[LOGIT_SD] * width, LOGIT_SD_UNKNOWN]
    sampler = _Sampler(known, novelty, expert_labels, of_unknown, error_sd, rng)
    sampler.run(BURN_IN)
    none = np.r_[name_no_specimens(taxa), False]
    drawn: IntArray = np.empty((len(error_sd), 0, width + 1), np.int64)
    for _ in range(MAX_ROUNDS):
        drawn = np.concatenate([drawn, sampler.run(SWEEPS)], axis=1)
        drawn[..., none] = 0
        found, worst = _convergence(drawn)
        if found >= EFFECTIVE_DRAWS and worst <= R_HAT:
            break
    exact, counts = drawn[:CHAINS], drawn[CHAINS:].reshape(-1, width + 1)
    specimens = counts.sum(1, keepdims=True)
    possible = rng.beta(counts + 0.5, specimens - counts + 0.5)
    low, high = np.quantile(possible, [0.025, 0.975], axis=0)
    # A taxon that may well be absent has no lower bound, one that may be all no upper bound.
    low[(counts == 0).mean(0) > 0.025] = 0
    high[((counts == specimens) & (specimens > 0)).mean(0) > 0.025] = 1
    high[none] = 0
    shares = exact / np.maximum(exact.sum(-1, keepdims=True), 1)
    return Composition(
        shares.mean((0, 1)),
        low,
        high,
        _kept(exact.reshape(-1, width + 1)),
        _kept(counts),
        found,
        worst,
    )


def _convergence(drawn: IntArray) -> tuple[float, float]:
    """The least effective draws and the greatest R-hat of the abundances that matter."""
    shares = drawn / np.maximum(drawn.sum(-1, keepdims=True), 1)
    told = np.flatnonzero(shares[:CHAINS].mean((0, 1)) >= LEAST_ABUNDANCE)
    parts = [shares[c][..., t] for t in told for c in (slice(CHAINS), slice(CHAINS, None))]
    least = min((effective_draws(part) for part in parts), default=float(shares[..., 0].size))
    return least, max((r_hat(part) for part in parts), default=1.0)


def _kept(draws: IntArray) -> IntArray:
    """At most `KEPT` of the draws, evenly spaced."""
    chosen = np.linspace(0, len(draws) - 1, min(KEPT, len(draws))).round().astype(np.int64)
    return draws[chosen]


class _Sampler:
    """Chains that draw the number of specimens of each taxon, and of unknown.

    `known` is the likelihood of each known taxon, shape (n, taxa); `error_sd` the standard
    deviation of the error in each taxon's log-odds, shape (chains, taxa + 1).
    """

    def __init__(
        self,
        known: Float64Array,
        novelty: FloatArray,
        expert_labels: IntArray,
        of_unknown: NoveltyPrior,
        error_sd: Float64Array,
        rng: np.random.Generator,
    ) -> None:
        self.likelihood = known.astype(np.float32) + np.float32(1e-9)
        self.novelty, self.expert_labels = novelty, expert_labels
        self.of_unknown, self.error_sd, self.rng = of_unknown, error_sd, rng
        self.mean = np.full(len(error_sd), of_unknown.mean)
        self.abundance = np.full(error_sd.shape, 1 / error_sd.shape[1])

    def run(self, sweeps: int) -> IntArray:
        """The counts after each of further sweeps, shape (chains, sweeps, taxa + 1)."""
        chains, width = self.error_sd.shape
        drawn: IntArray = np.empty((chains, sweeps, width), np.int64)
        error = np.ones_like(self.abundance)
        for step in range(sweeps):
            if step % SWEEPS_PER_ERROR == 0:
                error = np.exp(self.rng.normal(0, self.error_sd))
            weights = (self.abundance * error).astype(np.float32)
            counts, sums = self._counts(weights)
            gammas = self.rng.standard_gamma(counts + 1 / np.sqrt(width))
            self.abundance = gammas / gammas.sum(1, keepdims=True)
            self.mean = self.of_unknown.sample_means(counts[:, -1], sums, self.rng)
            drawn[:, step] = counts
        return drawn

    def _counts(self, weights: FloatArray) -> tuple[IntArray, Float64Array]:
        """Draw a label for each specimen in each chain; their counts, and the unknown's novelty."""
        chains, width = weights.shape
        counts, sums = np.zeros((chains, width), np.int64), np.zeros(chains)
        first = (np.arange(chains) * width)[:, None]
        for start in range(0, len(self.novelty), BLOCK):
            block = slice(start, start + BLOCK)
            novelty, said = self.novelty[block], self.expert_labels[block]
            cumulative = np.cumsum(self.likelihood[block] * weights[:, None, :-1], axis=2)
            density = self.of_unknown.density(novelty, self.mean[:, None]) + 1e-9
            total = cumulative[..., -1] + density * weights[:, -1:]
            drawn = self.rng.random(total.shape, dtype=np.float32) * total
            labels = np.where(said >= 0, said, (cumulative < drawn[..., None]).sum(2))
            of_block = np.bincount((labels + first).ravel(), minlength=chains * width)
            counts += of_block.reshape(chains, width)
            sums += ((labels == width - 1) * novelty).sum(1)
        return counts, sums
