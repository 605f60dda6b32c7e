"""How strange known and unknown specimens are, and so the chance that one is known.

Novelty alone says which of two specimens is stranger. What it means depends on how strange known
specimens are (the calibration's validation specimens say), how strange unknown ones are supposed to
be, and how many there are among the specimens at hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import gaussian_kde

from forametric.calibration import Calibration

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Strangers:
    """What is supposed of the novelty of unknown taxa before the sample is looked at.

    Stranger than known ones, but less so than the learnt taxa would be were they not in the
    gallery, and by unequal amounts: some species are the very image of a known one. How much less
    (0.7 of the way), how unequal (1.75 times the spread of learnt taxa) and the doubt about it were
    set on species of pollen grains held out of training specimens.
    """

    middle: float
    doubt: float
    spread: float

    @classmethod
    def expected(cls, calibration: Calibration) -> Strangers:
        """From a calibration's validation specimens."""
        known = float(np.mean(calibration.novelty))
        way = max(float(np.mean(calibration.novelty_if_new)) - known, 1e-3)
        spread = max(1.75 * float(np.std(calibration.novelty_if_new)), 1e-3)
        return cls(known + 0.7 * way, way / 8, spread)

    def drawn(self, novelty: npt.NDArray[np.float32], rng: np.random.Generator) -> float:
        """A mean novelty drawn from its posterior, given those now taken for unknown."""
        weight, more = self.doubt**-2, len(novelty) * self.spread**-2
        mean = (weight * self.middle + self.spread**-2 * float(novelty.sum())) / (weight + more)
        return float(rng.normal(mean, (weight + more) ** -0.5))


def chance_known(novelty: npt.NDArray[np.float32], calibration: Calibration) -> Floats:
    """The chance that each specimen is of a known taxon, by its novelty among all of these.

    From how often known specimens are about so strange and how often unknown ones are supposed to
    be; the share of the unknown is estimated from the specimens themselves (EM, Saerens et al.
    2002) and kept between 2 and 98 %.
    """
    novelty = np.minimum(novelty, np.float32(max(calibration.novelty_if_new)))
    strangers = Strangers.expected(calibration)
    common = usual(novelty, calibration) + 1e-9
    strange = normal(novelty, strangers.middle, strangers.spread) + 1e-9
    unknown, chance = 0.5, common
    for _ in range(50):
        chance = (1 - unknown) * common / ((1 - unknown) * common + unknown * strange)
        unknown = float(np.clip(1 - chance.mean(), 0.02, 0.98))
    return chance


def usual(novelty: npt.NDArray[np.float32], calibration: Calibration) -> Floats:
    """How often known specimens are about so strange: a kernel density."""
    known = np.asarray(calibration.novelty)
    if np.ptp(known) < 1e-9:
        return normal(novelty, float(known[0]), 1e-3)
    return np.asarray(gaussian_kde(known)(novelty))


def normal(values: npt.NDArray[np.float32], mean: float, deviation: float) -> Floats:
    """The normal density."""
    z = (values.astype(np.float64) - mean) / deviation
    return np.asarray(np.exp(-(z**2) / 2) / (deviation * np.sqrt(2 * np.pi)))
