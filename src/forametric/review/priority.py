"""Rank specimens for review: where the decision is likely to be wrong and matters most."""

from __future__ import annotations

import numpy as np
import pandas as pd

from forametric._typing import IntArray, NameArray
from forametric.data.verdicts import Verdict
from forametric.identification.calibration import Calibration
from forametric.identification.identifier import AMBIGUOUS, UNKNOWN
from forametric.identification.open_set import probability_known


def priorities(names: pd.DataFrame, samples: NameArray, calibration: Calibration) -> pd.DataFrame:
    """Decisions in the light of all specimens, and how much a review of each would improve them.

    The model decides on each specimen alone. How likely it is of a known taxon depends on how novel
    the others are, too (`probability_known`). A decision that this makes improbable becomes
    ambiguous: `unknown` where a known taxon is likelier, a name where it is likelier wrong.

    Parameters
    ----------
    names : DataFrame
        `Identifier.identify` of the specimens.
    samples : ndarray of str, shape (n,)
        The sample of each; "" where it is not known.

    Returns
    -------
    DataFrame
        `names`, and probability_known: that it is of a known taxon. suggestion: what a reviewer is
        offered, `unlisted` or the most probable taxon, whichever is likelier if the decision is
        ambiguous. suggestion_probability: that it is right. error_probability: that the decision
        is wrong, or the suggestion where no decision was made (ambiguous). influence: how much one
        specimen contributes to the standard error of its sample, 1 in the smallest sample.
        priority: the product of the last two.
    """
    known = probability_known(names["novelty"].to_numpy(np.float32), calibration)
    names, decision = names.copy(), names["decision"].to_numpy(dtype=object)
    named = known * names["probability"].to_numpy(float)
    is_unknown = decision == UNKNOWN
    error = np.where(is_unknown, known, 1 - named)
    improbable = (error > 0.5) & (decision != AMBIGUOUS)
    names.loc[improbable, "taxon"] = ""
    names.loc[improbable, "decision"] = AMBIGUOUS
    names.loc[improbable, "reason"] = [
        f"{reason}, but of a known taxon with a probability of {probability:.2f}"
        for reason, probability in zip(
            names["reason"][improbable], known[improbable].tolist(), strict=True
        )
    ]
    best = known * names["best_probability"].to_numpy(float)
    is_ambiguous = (names["decision"] == AMBIGUOUS).to_numpy()
    is_unlisted = np.where(is_ambiguous, 1 - known > best, is_unknown)
    suggested = np.where(is_unlisted, 1 - known, best)
    error[is_ambiguous] = 1 - suggested[is_ambiguous]
    size = pd.Series(samples).map(pd.Series(samples).value_counts()).to_numpy(dtype=float)
    influence = np.sqrt(size.min() / size)
    return names.assign(
        probability_known=known,
        suggestion=np.where(is_unlisted, str(Verdict.UNLISTED), names["best"]),
        suggestion_probability=suggested,
        error_probability=error,
        influence=influence,
        priority=error * influence,
    )


def review_order(names: pd.DataFrame) -> IntArray:
    """The positions of specimens in the order in which to review them: highest priority first.

    To let similar specimens alternate with others showed more taxa early, but found fewer of the
    wrong names: 31 in place of 37 %, and 39 in place of 51 %, of those of two draws of pollen in
    the first tenth.
    """
    return np.argsort(-names["priority"].to_numpy(float), kind="stable")
