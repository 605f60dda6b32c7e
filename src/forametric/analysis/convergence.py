"""Whether a Markov chain Monte Carlo sampler has run for long enough (Vehtari et al. 2021)."""

from __future__ import annotations

import numpy as np

from forametric._typing import AnyArray, Float64Array


def r_hat(chains: AnyArray) -> float:
    """The split R-hat of a quantity: close to 1 where all chains have the same distribution.

    Each chain is halved; the square root of the variance of all over the mean variance within
    (Gelman et al. 2013, eq. 11.4). 1 for a constant.

    Parameters
    ----------
    chains : ndarray, shape (chains, draws)

    >>> round(r_hat(np.random.default_rng(0).normal(size=(4, 1000))), 2)
    1.0
    """
    halves = _halved(chains)
    draws = halves.shape[1]
    within = halves.var(1, ddof=1).mean()
    between = halves.mean(1).var(ddof=1)  # over draws, the variance of the means
    if within + between < 1e-24:
        return 1.0
    return float(np.sqrt((draws - 1) / draws + between / max(within, 1e-24)))


def effective_draws(chains: AnyArray) -> float:
    """How many independent draws would tell the mean of a quantity as exactly.

    From the autocorrelations of all chains, summed in pairs while these are positive and do not
    rise (Geyer 1992; Vehtari et al. 2021, eq. 10). The number of draws for a constant.

    Parameters
    ----------
    chains : ndarray, shape (chains, draws)
    """
    halves = _halved(chains)
    count, draws = halves.shape
    within = halves.var(1, ddof=1).mean()
    variance = within * (draws - 1) / draws + halves.mean(1).var(ddof=1)
    if variance < 1e-24:
        return float(count * draws)
    mean = _autocovariance(halves).mean(0)
    correlation = 1 - (within - mean * draws / (draws - 1)) / variance
    pairs = correlation[: draws // 2 * 2].reshape(-1, 2).sum(1)
    positive = len(pairs) if (pairs > 0).all() else int(np.argmax(pairs <= 0))
    time = max(
        2 * np.minimum.accumulate(pairs[: max(positive, 1)]).sum() - 1, 1 / np.log10(count * draws)
    )
    return float(count * draws / time)


def _halved(chains: AnyArray) -> Float64Array:
    half = chains.shape[1] // 2
    return np.concatenate([chains[:, :half], chains[:, half : 2 * half]]).astype(np.float64)


def _autocovariance(chains: Float64Array) -> Float64Array:
    """The autocovariance of each chain at each lag, shape (chains, draws), divided by draws."""
    draws = chains.shape[1]
    spectrum = np.fft.rfft(chains - chains.mean(1, keepdims=True), 2 * draws)
    return np.asarray(np.fft.irfft(np.abs(spectrum) ** 2)[:, :draws] / draws)
