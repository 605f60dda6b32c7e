"""Rank specimens for review: where the decision is likely to be wrong and matters most."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.cluster import MiniBatchKMeans

from forametric._typing import Float64Array, FloatArray, IntArray, NameArray
from forametric.identification.calibration import Calibration
from forametric.identification.identifier import NOT_NAMED
from forametric.identification.open_set import probability_known


def priorities(names: pd.DataFrame, samples: NameArray, calibration: Calibration) -> pd.DataFrame:
    """How much a decision on each specimen would improve the result.

    Parameters
    ----------
    names : DataFrame
        `Identifier.identify` of the specimens.
    samples : ndarray of str, shape (n,)
        The sample of each; "" where it is not known.

    Returns
    -------
    DataFrame
        probability_known: that it is of a known taxon. error_probability: that the model's
        decision is wrong. influence: how much one specimen contributes to the standard error of
        its sample, 1 in the smallest sample. priority: the product of the last two.
    """
    known = probability_known(names["novelty"].to_numpy(np.float32), calibration)
    correct = known * names["probability"].to_numpy(float)
    error = np.where(names["decision"].isin(NOT_NAMED), known, 1 - correct)
    size = pd.Series(samples).map(pd.Series(samples).value_counts()).to_numpy(dtype=float)
    influence = np.sqrt(size.min() / size)
    return pd.DataFrame(
        {
            "probability_known": known,
            "error_probability": error,
            "influence": influence,
            "priority": error * influence,
        }
    )


def similar_clusters(vectors: FloatArray) -> IntArray:
    """The number of each specimen's cluster, of √n clusters of similar ones, shape (n,).

    The same vectors always give the same clusters.
    """
    clusters = MiniBatchKMeans(max(1, round(len(vectors) ** 0.5)), random_state=0, n_init=1)
    return np.asarray(clusters.fit_predict(vectors), dtype=np.int64)


def diversify(priority: Float64Array, clusters: IntArray) -> IntArray:
    """The order in which to review: by priority, but similar specimens alternate with others.

    The n-th specimen of each cluster (`similar_clusters`) has its priority divided by √√n. Among
    the first fifty this shows half as many taxa again, at the cost of a few of the likeliest
    errors.
    """
    nth = pd.Series(-priority).groupby(clusters).rank(method="first").to_numpy()
    return np.asarray(np.argsort(-priority / nth**0.25, kind="stable"), dtype=np.int64)
