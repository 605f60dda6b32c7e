"""Metrics of classification, clustering, calibration and open-set recognition."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import t
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    f1_score,
    roc_auc_score,
)

from forametric._typing import AnyArray, BoolArray, IntArray


def accuracy(truth: AnyArray, predicted: AnyArray) -> float:
    """The share of correct names.

    >>> accuracy(np.array(["a", "b"]), np.array(["a", "a"]))
    0.5
    """
    return float(np.mean(truth == predicted))


def macro_f1(truth: AnyArray, predicted: AnyArray, taxa: AnyArray | None = None) -> float:
    """The unweighted mean of the taxa's F1: of `taxa`, by default those that occur in `truth`."""
    taxa = np.unique(truth.astype(str)) if taxa is None else taxa
    return float(
        f1_score(
            truth.astype(str), predicted.astype(str), labels=taxa, average="macro", zero_division=0
        )
    )


def match_clusters(truth: AnyArray, clusters: AnyArray) -> AnyArray:
    """Name each cluster after a different taxon, with the most correct names (Hungarian method).

    If there are more clusters than taxa, the others get the name "".

    >>> match_clusters(np.array(["a", "a", "b"]), np.array([7, 7, 3])).tolist()
    ['a', 'a', 'b']
    """
    taxa, t = np.unique(truth.astype(str), return_inverse=True)
    names, c = np.unique(clusters, return_inverse=True)
    table = np.zeros((len(names), len(taxa)), int)
    np.add.at(table, (c, t), 1)
    rows, columns = linear_sum_assignment(-table)
    matched = np.full(len(names), "", dtype=object)
    matched[rows] = taxa[columns]
    return np.asarray(matched[c])


def clustering_scores(truth: AnyArray, clusters: AnyArray) -> dict[str, float]:
    """Matched accuracy and macro F1, adjusted mutual information, adjusted Rand index."""
    matched = match_clusters(truth, clusters)
    return {
        "matched_accuracy": accuracy(truth.astype(str), matched.astype(str)),
        "matched_macro_f1": macro_f1(truth, matched),
        "ami": float(adjusted_mutual_info_score(truth.astype(str), clusters)),
        "ari": float(adjusted_rand_score(truth.astype(str), clusters)),
    }


def auroc(novel: AnyArray, known: AnyArray) -> float:
    """The probability that a novel specimen's score is above that of a known one.

    >>> auroc(np.array([3.0, 2.0]), np.array([1.0, 0.0]))
    1.0
    """
    truth = np.r_[np.ones(len(novel)), np.zeros(len(known))]
    return float(roc_auc_score(truth, np.r_[novel, known]))


def fpr_at_tpr(novel: AnyArray, known: AnyArray, tpr: float = 0.95) -> float:
    """The share of novel specimens accepted at the threshold that accepts the share `tpr` of known.

    >>> fpr_at_tpr(np.array([0.5, 3.0]), np.array([0.0, 1.0]), 1.0)
    0.5
    """
    return float(np.mean(novel <= np.quantile(known, tpr, method="higher")))


def oscr(novel: AnyArray, known: AnyArray, correct: BoolArray) -> float:
    """Area under the open-set classification rate curve (Dhamija et al. 2018).

    The probability that a known specimen is named correctly *and* has a lower score than a novel
    one. It is never above the accuracy.

    Parameters
    ----------
    correct : ndarray of bool, shape (known,)
        Whether each known specimen is named correctly.

    >>> oscr(np.array([2.0]), np.array([1.0, 1.0]), np.array([True, False]))
    0.5
    """
    return auroc(novel, known[correct]) * float(correct.mean()) if correct.any() else 0.0


def fpr_at_ccr(
    novel: AnyArray, known: AnyArray, correct: BoolArray, ccr: float = 0.9
) -> float | None:
    """The false positive rate at a correct classification rate (Dhamija et al. 2018).

    The share of novel specimens that are accepted, at the threshold at which this share of the
    known ones is accepted and named correctly. None if no threshold reaches that rate.

    >>> known, correct = np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, True, False, True])
    >>> fpr_at_ccr(np.array([1.5, 2.5, 9.0]), known, correct, 0.5)
    0.3333333333333333
    >>> fpr_at_ccr(np.array([1.5, 2.5, 9.0]), known, correct, 0.9) is None
    True
    """
    needed = int(np.ceil(ccr * len(known)))
    accepted = np.sort(known[correct])
    if not 0 < needed <= len(accepted):
        return None
    return float((novel <= accepted[needed - 1]).mean())


def reliability(
    confidence: AnyArray, correct: BoolArray, bins: int = 15
) -> tuple[AnyArray, AnyArray, IntArray]:
    """Mean confidence, accuracy and number of specimens in bins of confidence of equal width.

    Empty bins are left out.
    """
    of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(of, minlength=bins)
    filled = counts > 0
    mean = np.bincount(of, confidence, bins)[filled] / counts[filled]
    hits = np.bincount(of, correct, bins)[filled] / counts[filled]
    return mean, hits, counts[filled]


def calibration_error(confidence: AnyArray, correct: BoolArray, bins: int = 15) -> float:
    """Expected calibration error: mean difference of confidence and accuracy (Naeini et al. 2015).

    It is above 0 in a finite sample even for perfect confidences (`calibration_error_by_chance`).

    >>> calibration_error(np.array([0.9, 0.9]), np.array([True, False])).__round__(3)
    0.4
    """
    mean, hits, counts = reliability(confidence, correct, bins)
    return float((np.abs(mean - hits) * counts).sum() / counts.sum())


def calibration_error_by_chance(
    confidence: AnyArray, bins: int = 15, *, draws: int = 200, seed: int = 0
) -> float:
    """The calibration error that these confidences would have on average if they were perfect.

    >>> round(calibration_error_by_chance(np.full(100, 0.5)), 2)
    0.04
    """
    rng = np.random.default_rng(seed)
    samples = [rng.random(len(confidence)) < confidence for _ in range(draws)]
    return float(np.mean([calibration_error(confidence, correct, bins) for correct in samples]))


def bootstrap(
    measure: Callable[..., float],
    *arrays: AnyArray,
    groups: AnyArray | None = None,
    draws: int = 500,
    seed: int = 0,
) -> list[float]:
    """95 % interval of `measure(*arrays)` by resampling (percentile bootstrap).

    Parameters
    ----------
    groups : ndarray, shape (n,), optional
        Groups of specimens, which are resampled as wholes: those of one net or slide resemble each
        other, so that they tell less than as many independent ones.
    """
    rng = np.random.default_rng(seed)
    members = _members(groups, len(arrays[0]))
    values = []
    for _ in range(draws):
        pick = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        values.append(measure(*(a[pick] for a in arrays)))
    low, high = np.percentile(values, [2.5, 97.5])
    return [float(low), float(high)]


def jackknife(
    measure: Callable[..., float],
    *arrays: AnyArray,
    groups: AnyArray | None = None,
    parts: int = 20,
    seed: int = 0,
) -> list[float]:
    """95 % interval of `measure(*arrays)` by leaving out parts of the specimens in turn.

    The delete-a-group jackknife with Student's t (Kott 2001). For scores of clusterings, which a
    bootstrap makes too high: the copies of a specimen share its cluster and its species.

    Parameters
    ----------
    groups : ndarray, shape (n,), optional
        Groups of specimens, which are left out as wholes.
    parts : int
        Into how many parts the groups are divided at random.
    """
    members = _members(groups, len(arrays[0]))
    order = np.random.default_rng(seed).permutation(len(members))
    chosen = [part for part in np.array_split(order, parts) if len(part)]
    value, count = measure(*arrays), len(chosen)
    without = []
    for part in chosen:
        kept = np.ones(len(arrays[0]), bool)
        kept[np.concatenate([members[i] for i in part])] = False
        without.append(measure(*(a[kept] for a in arrays)))
    variance = (count - 1) * float(np.var(without))
    half = float(t.ppf(0.975, count - 1)) * variance**0.5
    return [value - half, value + half]


def _members(groups: AnyArray | None, count: int) -> list[IntArray]:
    """The positions of the specimens of each group; of each alone where there are no two groups."""
    of = np.zeros(count, int) if groups is None else np.unique(groups, return_inverse=True)[1]
    if not of.any():
        return list(np.arange(count)[:, None])
    order = np.argsort(of, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(of[order])) + 1)


def confusion(truth: AnyArray, predicted: AnyArray, taxa: list[str]) -> IntArray:
    """The confusion matrix: true taxa in rows, predicted in columns, in the order of `taxa`."""
    places = {taxon: place for place, taxon in enumerate(taxa)}
    counts = np.zeros((len(taxa), len(taxa)), np.int64)
    for pair in zip(truth.astype(str), predicted.astype(str), strict=True):
        if pair[0] in places and pair[1] in places:
            counts[places[pair[0]], places[pair[1]]] += 1
    return counts


def share_above_quantile(number: int, share: float) -> tuple[int, int]:
    """What is known of the share above the quantile of a sample: its Beta distribution.

    The quantile at 1 − `share` is the k-th of n values in ascending order (`numpy.quantile`, method
    "higher"). The share of further values above it has the distribution Beta(n − k + 1, k).

    >>> from scipy.stats import beta
    >>> beta.ppf([0.025, 0.975], *share_above_quantile(189, 0.05)).round(3).tolist()
    [0.026, 0.088]
    """
    rank = int(np.ceil((number - 1) * (1 - share))) + 1
    return number - rank + 1, rank
