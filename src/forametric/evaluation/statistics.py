"""Means, intervals and paired differences over repeated draws of a split."""

from __future__ import annotations

import numpy as np
from scipy import stats

from forametric._typing import AnyArray


def mean_interval(values: AnyArray) -> tuple[float, float]:
    """Mean and half-width of its 95 % Student interval; the half-width of one value is NaN.

    >>> mean, half = mean_interval(np.array([1.0, 2.0, 3.0]))
    >>> round(mean, 2), round(half, 2)
    (2.0, 2.48)
    """
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return (float(values.mean()) if len(values) else float("nan")), float("nan")
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(half)


def paired_difference(ours: AnyArray, theirs: AnyArray, test_share: float) -> tuple[float, float]:
    """Mean of the paired differences, and the p value of the corrected resampled t-test.

    Draws of one collection share most of their training specimens, so that their results are not
    independent, and a plain t-test finds differences that are not there. The correction widens the
    variance of the mean from s²/n to s² (1/n + test/train) (Nadeau & Bengio 2003, Mach. Learn. 52,
    239).

    Parameters
    ----------
    ours, theirs : ndarray of float, shape (n,)
        A value for each draw.
    test_share : float
        Test specimens over training specimens.

    >>> d, p = paired_difference(np.array([0.9, 0.92, 0.94]), np.array([0.8, 0.81, 0.85]), 0.25)
    >>> round(d, 3), round(p, 3)
    (0.1, 0.006)
    """
    difference = ours - theirs
    difference = difference[np.isfinite(difference)]
    n = len(difference)
    if not n:
        return float("nan"), float("nan")
    mean = float(difference.mean())
    spread = float(difference.std(ddof=1)) if n > 1 else float("nan")
    if n < 2 or spread == 0:
        return mean, float("nan")
    t = mean / (spread * np.sqrt(1 / n + test_share))
    return mean, float(2 * stats.t.sf(abs(t), n - 1))
