"""Rank specimens for review by expected information gain."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.cluster import MiniBatchKMeans

from forametric.identification.calibration import Calibration
from forametric.identification.identifier import NOT_NAMED
from forametric.identification.open_set import probability_known

Floats = npt.NDArray[np.float64]


def priorities(
    names: pd.DataFrame, samples: npt.NDArray[np.object_], calibration: Calibration
) -> pd.DataFrame:
    """How much an expert's word on each specimen is worth.

    Parameters
    ----------
    names : DataFrame
        `identify.identify_embeddings` of the specimens.
    samples : ndarray of str, shape (n,)
        Which sample each is of; "" where that is not known.

    Returns
    -------
    DataFrame
        known: the chance that it is of a known taxon; doubt: the chance that the decision is
        wrong; influence: how much of its sample's standard
        error one specimen makes, 1 in the smallest sample; priority: their product.
    """
    known = probability_known(names["novelty"].to_numpy(np.float32), calibration)
    right = known * names["probability"].to_numpy(float)
    doubt = np.where(names["decision"].isin(NOT_NAMED), known, 1 - right)
    size = pd.Series(samples).map(pd.Series(samples).value_counts()).to_numpy(dtype=float)
    influence = np.sqrt(size.min() / size)
    return pd.DataFrame(
        {"known": known, "doubt": doubt, "influence": influence, "priority": doubt * influence}
    )


def taking_turns(priority: Floats, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The order in which to ask: by priority, but specimens that look alike take turns.

    Of each of √n groups of like specimens the n-th counts 1/√√n: enough that half as many taxa
    more are among the first fifty, at the cost of a few of the likeliest errors. The same specimens
    always come in the same order.
    """
    groups = MiniBatchKMeans(max(1, round(len(vectors) ** 0.5)), random_state=0, n_init=1)
    of = pd.Series(groups.fit_predict(vectors))
    turn = pd.Series(-priority).groupby(of).rank(method="first").to_numpy()
    return np.argsort(-priority / turn**0.25, kind="stable")
