"""Diversity of an assemblage: Shannon, Simpson, Pielou, rarefied richness."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from forametric._typing import Float64Array, IntArray


def rarefied_richness(counts: IntArray, size: int) -> float:
    """Expected number of taxa among `size` specimens drawn without replacement (Hurlbert 1971).

    >>> round(rarefied_richness(np.array([5, 5]), 1), 6)
    1.0
    """
    counts = counts[counts > 0]
    total = counts.sum()
    if not 0 < size <= total:
        return float("nan")
    without = total - counts
    possible = without >= size
    missing = np.zeros(len(counts))
    missing[possible] = np.exp(
        _log_choose(without[possible], size) - _log_choose(np.array(total), size)
    )
    return float((1 - missing).sum())


def diversity(abundance: Float64Array) -> dict[str, float]:
    """Shannon's H′ (natural logarithm), Simpson's 1 − D and Pielou's J of values that sum to 1.

    >>> {k: round(v, 3) for k, v in diversity(np.array([0.5, 0.5])).items()}
    {'shannon': 0.693, 'simpson': 0.5, 'pielou': 1.0}
    """
    abundance = abundance[abundance > 0]
    shannon = float(-(abundance * np.log(abundance)).sum())
    pielou = shannon / np.log(len(abundance)) if len(abundance) > 1 else float("nan")
    return {"shannon": shannon, "simpson": float(1 - (abundance**2).sum()), "pielou": float(pielou)}


def _log_choose(n: IntArray, k: int) -> Float64Array:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
