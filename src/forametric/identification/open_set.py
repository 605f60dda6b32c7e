"""Estimate the probability that a specimen belongs to a known taxon.

Novelty alone only ranks specimens. What a value means depends on how novel known specimens are
(the calibration's validation specimens), how novel specimens of unknown taxa are expected to be,
and how many of those the sample holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import gaussian_kde, norm

from forametric._typing import Float64Array, FloatArray, IntArray
from forametric.identification.calibration import Calibration


@dataclass(frozen=True)
class NoveltyPrior:
    """The prior distribution of the novelty of unknown taxa.

    They are more novel than known taxa, but less so than the learnt taxa would be without their
    references, and by unequal amounts: some species closely resemble a known one. How much less
    (0.7 of the difference) and how unequal (1.75 times the standard deviation of learnt taxa) were
    set on species of pollen grains held out of training specimens.

    Attributes
    ----------
    mean, mean_sd : float
        The expected mean novelty, and the standard deviation of that expectation.
    sd : float
        The standard deviation of novelty around the mean.
    """

    mean: float
    mean_sd: float
    sd: float

    @classmethod
    def from_calibration(cls, calibration: Calibration) -> NoveltyPrior:
        """From a calibration's validation specimens."""
        known = float(np.mean(calibration.novelty))
        left_out = calibration.novelty_leave_class_out
        difference = max(float(np.mean(left_out)) - known, 1e-3)
        sd = max(1.75 * float(np.std(left_out)), 1e-3)
        return cls(known + 0.7 * difference, difference / 8, sd)

    def density(
        self, novelty: FloatArray, mean: float | Float64Array | None = None
    ) -> Float64Array:
        """The normal density of these values, around other means if they are given."""
        center = self.mean if mean is None else mean
        z = (novelty.astype(np.float64) - center) / self.sd
        return np.asarray(np.exp(-(z**2) / 2) / (self.sd * np.sqrt(2 * np.pi)))

    def sample_means(
        self, counts: IntArray, sums: Float64Array, rng: np.random.Generator
    ) -> Float64Array:
        """Mean novelties drawn from their posterior, shape (m,).

        Given the numbers of specimens assumed to be unknown, and the sums of their novelty.
        """
        weight, more = self.mean_sd**-2, counts * self.sd**-2
        mean = (weight * self.mean + self.sd**-2 * sums) / (weight + more)
        return np.asarray(rng.normal(mean, (weight + more) ** -0.5))


def probability_known(novelty: FloatArray, calibration: Calibration) -> Float64Array:
    """The probability that each specimen is of a known taxon, given the novelty of all of them.

    Compares how frequent its novelty is among known specimens and how frequent it is expected to
    be among unknown ones. The share of unknown specimens is estimated from the specimens
    themselves (EM, Saerens et al. 2002) and kept between 2 and 98 %.
    """
    novelty = np.minimum(novelty, np.float32(max(calibration.novelty_leave_class_out)))
    of_known = known_density(novelty, calibration) + 1e-9
    of_unknown = NoveltyPrior.from_calibration(calibration).density(novelty) + 1e-9
    share_unknown, probability = 0.5, of_known
    for _ in range(50):
        weighted = (1 - share_unknown) * of_known
        probability = weighted / (weighted + share_unknown * of_unknown)
        share_unknown = float(np.clip(1 - probability.mean(), 0.02, 0.98))
    return probability


def known_density(novelty: FloatArray, calibration: Calibration) -> Float64Array:
    """How frequent these values are among known specimens: a kernel density."""
    known = np.asarray(calibration.novelty)
    if np.ptp(known) < 1e-9:
        return np.asarray(norm.pdf(novelty.astype(np.float64), float(known[0]), 1e-3))
    return np.asarray(gaussian_kde(known)(novelty))
