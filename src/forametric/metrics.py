"""Figures of merit as plain functions on arrays, with intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    confusion_matrix,
    f1_score,
    roc_auc_score,
)

Labels = npt.NDArray[Any]
Floats = npt.NDArray[np.floating[Any]]


def accuracy(truth: Labels, named: Labels) -> float:
    """Share of right names.

    >>> accuracy(np.array(["a", "b"]), np.array(["a", "a"]))
    0.5
    """
    return float(np.mean(truth == named))


def macro_f1(truth: Labels, named: Labels, taxa: Labels | None = None) -> float:
    """F1 averaged over taxa, each counting once: those that occur in `truth`, or those given."""
    taxa = np.unique(truth.astype(str)) if taxa is None else taxa
    return float(
        f1_score(
            truth.astype(str), named.astype(str), labels=taxa, average="macro", zero_division=0
        )
    )


def match_clusters(truth: Labels, clusters: Labels) -> Labels:
    """Name each cluster after one taxon, one to one, for the most right names (Hungarian method).

    A cluster left over is named "".

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


def clustering_scores(truth: Labels, clusters: Labels) -> dict[str, float]:
    """Matched accuracy and macro F1, adjusted mutual information, adjusted Rand index."""
    matched = match_clusters(truth, clusters)
    return {
        "matched_accuracy": accuracy(truth.astype(str), matched.astype(str)),
        "matched_macro_f1": macro_f1(truth, matched),
        "ami": float(adjusted_mutual_info_score(truth.astype(str), clusters)),
        "ari": float(adjusted_rand_score(truth.astype(str), clusters)),
    }


def auroc(strange: Floats, usual: Floats) -> float:
    """Chance that a strange specimen's score is above a usual one's.

    >>> auroc(np.array([3.0, 2.0]), np.array([1.0, 0.0]))
    1.0
    """
    truth = np.r_[np.ones(len(strange)), np.zeros(len(usual))]
    return float(roc_auc_score(truth, np.r_[strange, usual]))


def fpr_at_tpr(strange: Floats, usual: Floats, share: float = 0.95) -> float:
    """Share of the strange that pass as known where the limit lets `share` of the usual pass.

    >>> fpr_at_tpr(np.array([0.5, 3.0]), np.array([0.0, 1.0]), 1.0)
    0.5
    """
    return float(np.mean(strange <= np.quantile(usual, share, method="higher")))


def oscr(strange: Floats, usual: Floats, right: npt.NDArray[np.bool_]) -> float:
    """Area under the open-set classification rate curve (Dhamija et al. 2018).

    The chance that a known specimen is named right *and* is less strange than a specimen of an
    unseen species. Never above the accuracy, nor above the AUROC by much.

    >>> oscr(np.array([2.0]), np.array([1.0, 1.0]), np.array([True, False]))
    0.5
    """
    return auroc(strange, usual[right]) * float(right.mean()) if right.any() else 0.0


def reliability(
    confidence: Floats, right: npt.NDArray[np.bool_], bins: int = 15
) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Mean confidence, accuracy and number of specimens in equal bins of confidence.

    Empty bins are left out.
    """
    of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(of, minlength=bins)
    filled = counts > 0
    mean = np.bincount(of, confidence, bins)[filled] / counts[filled]
    hits = np.bincount(of, right, bins)[filled] / counts[filled]
    return mean, hits, counts[filled]


def calibration_error(confidence: Floats, right: npt.NDArray[np.bool_], bins: int = 15) -> float:
    """Expected calibration error: mean gap between confidence and accuracy (Naeini et al. 2015).

    Even perfect confidence has a gap in a finite sample (`calibration_error_by_chance`).

    >>> calibration_error(np.array([0.9, 0.9]), np.array([True, False])).__round__(3)
    0.4
    """
    mean, hits, counts = reliability(confidence, right, bins)
    return float((np.abs(mean - hits) * counts).sum() / counts.sum())


def calibration_error_by_chance(
    confidence: Floats, bins: int = 15, *, draws: int = 200, seed: int = 0
) -> float:
    """The calibration error that these confidences would show on average, were they perfect.

    >>> round(calibration_error_by_chance(np.full(100, 0.5)), 2)
    0.04
    """
    rng = np.random.default_rng(seed)
    each = [rng.random(len(confidence)) < confidence for _ in range(draws)]
    return float(np.mean([calibration_error(confidence, right, bins) for right in each]))


def bootstrap(
    measure: Callable[..., float], *arrays: npt.NDArray[Any], draws: int = 500, seed: int = 0
) -> list[float]:
    """95 % interval of `measure(*arrays)` by resampling the specimens (percentile bootstrap)."""
    rng = np.random.default_rng(seed)
    n = len(arrays[0])
    picks = (rng.integers(0, n, n) for _ in range(draws))
    values = [measure(*(a[pick] for a in arrays)) for pick in picks]
    low, high = np.percentile(values, [2.5, 97.5])
    return [float(low), float(high)]


def confusion(truth: Labels, named: Labels, taxa: list[str]) -> npt.NDArray[np.int64]:
    """Counts, truth in rows and given names in columns, in the order of `taxa`."""
    counts = confusion_matrix(truth.astype(str), named.astype(str), labels=taxa)
    return np.asarray(counts, dtype=np.int64)
