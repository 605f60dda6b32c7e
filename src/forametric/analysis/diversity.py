"""Diversity of counted taxa: richness, Shannon, Simpson, Pielou."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln, xlogy

from forametric._typing import Float64Array, IntArray


def rarefied_richness(counts: IntArray, size: int) -> Float64Array:
    """Expected number of taxa among `size` specimens drawn without replacement (Hurlbert 1971).

    Where fewer than `size` were counted, the number of their taxa; NaN where none was.

    Parameters
    ----------
    counts : ndarray of int, shape (…, taxa)

    Returns
    -------
    ndarray of float64, shape (…)

    >>> rarefied_richness(np.array([[5, 5], [1, 0]]), 1).round(6).tolist()
    [1.0, 1.0]
    """
    total = counts.sum(-1, keepdims=True)
    size_of = np.minimum(size, total)
    without = total - counts
    possible = without >= size_of
    missing = np.exp(
        _log_choose(np.where(possible, without, size_of), size_of) - _log_choose(total, size_of)
    )
    richness = (1 - np.where(possible, missing, 0)).sum(-1)
    return np.asarray(np.where(size_of[..., 0] > 0, richness, np.nan))


def diversity(counts: IntArray) -> dict[str, Float64Array]:
    """Richness, Shannon's H′ (natural logarithm), Simpson's 1 − D and Pielou's J of counts.

    J is H′ over the logarithm of the richness: NaN for fewer than two taxa.

    Parameters
    ----------
    counts : ndarray of int, shape (…, taxa)

    Returns
    -------
    dict of str to ndarray of float64, shape (…)
        NaN where nothing was counted; the richness is 0 there.

    >>> {k: round(float(v), 3) for k, v in diversity(np.array([4, 4, 0])).items()}
    {'richness': 2.0, 'shannon': 0.693, 'simpson': 0.5, 'pielou': 1.0}
    """
    total = counts.sum(-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = counts / total
        richness = (counts > 0).sum(-1).astype(np.float64)
        shannon = -xlogy(shares, shares).sum(-1)
        pielou = np.where(richness > 1, shannon / np.log(richness), np.nan)
    return {
        "richness": richness,
        "shannon": np.asarray(shannon),
        "simpson": np.asarray(1 - (shares**2).sum(-1)),
        "pielou": np.asarray(pielou),
    }


def _log_choose(n: IntArray, k: IntArray) -> Float64Array:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
