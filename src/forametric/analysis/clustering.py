"""Cluster embeddings: Ward's method refined by k-means, the number of clusters, their stability."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from forametric._typing import Float64Array, FloatArray, IntArray

MAX_GROUPS = 100
GAP_WEIGHT = 0.3  # of a gap in the merge heights, next to the silhouette
RESAMPLED, DRAWS = 2000, 20
SEED = 0


def cluster(vectors: FloatArray, n_clusters: int) -> tuple[IntArray, IntArray]:
    """A given number of groups, numbered from 1: those of Ward's method, then refined.

    Ward's method cannot undo a merge. K-means, started from the centroids of its groups, moves
    what lies nearer to another. On species of pollen grains held out of training specimens that
    matched 1.2 points more of them.

    Returns
    -------
    refined, ward : ndarray of int64, shape (n,)
        The group of each vector, and the one that Ward's method gave it.
    """
    if len(vectors) == 1:
        return np.ones(1, np.int64), np.ones(1, np.int64)
    ward = _cut(linkage(vectors, "ward"), n_clusters)
    centroids = np.stack([vectors[ward == g].mean(0) for g in np.unique(ward)])
    refined = KMeans(len(centroids), init=centroids, n_init=1).fit_predict(vectors)
    return refined.astype(np.int64) + 1, ward


def estimate_clusters(vectors: FloatArray, most: int = MAX_GROUPS) -> int:
    """The number of groups: compact, well separated, and followed by a gap in the Ward tree.

    The k from 2 to `most` (at most half the specimens) with the highest mean silhouette
    (Rousseeuw 1987) plus 0.3 × gap, where the gap is the relative difference between the next
    merge height and the last one, at most 0.3. The silhouette alone often prefers a few groups more
    or fewer at almost the same value. Both numbers were chosen on species of pollen grains held out
    of training specimens.
    """
    tree = linkage(vectors, "ward")
    heights = tree[::-1, 2]
    scores = {}
    for k in range(2, min(most, len(vectors) // 2) + 1):
        groups = _cut(tree, k)
        if len(np.unique(groups)) < k:
            break  # only equal vectors are left to split
        silhouette = silhouette_score(
            vectors, groups, sample_size=min(len(vectors), 2000), random_state=SEED
        )
        gap = heights[k - 2] / max(heights[k - 1], 1e-12) - 1
        scores[k] = silhouette + GAP_WEIGHT * min(gap, 0.3)
    return max(scores, key=lambda k: scores[k], default=1)


def _cut(tree: Float64Array, clusters: int) -> IntArray:
    return np.asarray(fcluster(tree, clusters, "maxclust"), dtype=np.int64)


def subsample(count: int, most: int, rng: np.random.Generator) -> IntArray:
    """All positions, or `most` of them by chance, ascending."""
    if count <= most:
        return np.arange(count)
    return np.sort(rng.choice(count, most, replace=False))


def centroids_of(vectors: FloatArray, groups: IntArray) -> FloatArray:
    """The mean of each group, scaled to length 1, in the order of the groups' numbers."""
    return unit_length(np.stack([vectors[groups == g].sum(0) for g in np.unique(groups)]))


def unit_length(vectors: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def largest_first(groups: IntArray) -> IntArray:
    """The same groups, numbered 1, 2, … by size; noise stays 0."""
    sizes = pd.Series(groups[groups > 0]).value_counts(sort=False).sort_index()
    order = sizes.sort_values(ascending=False, kind="stable").index
    number = {old: new for new, old in enumerate(order, 1)} | {0: 0}
    return np.asarray([number[g] for g in groups.tolist()], dtype=np.int64)


def cluster_stability(
    vectors: FloatArray, groups: IntArray, rng: np.random.Generator
) -> dict[int, float]:
    """For each group how much of it comes back in clusterings of bootstrap samples."""
    count = int(groups.max(initial=0))
    overlaps: dict[int, list[float]] = {g: [] for g in range(1, count + 1)}
    grouped = np.flatnonzero(groups)
    if not len(grouped):
        return {}
    for _ in range(DRAWS):
        drawn = np.unique(rng.choice(grouped, min(len(grouped), RESAMPLED)))
        table = pd.crosstab(groups[drawn], cluster(vectors[drawn], count)[0])
        shared = table.to_numpy()
        union = shared.sum(1, keepdims=True) + shared.sum(0) - shared
        for group, jaccard in zip(table.index, (shared / union).max(1), strict=True):
            overlaps[int(group)].append(float(jaccard))
    return {g: float(np.mean(found)) if found else 0.0 for g, found in overlaps.items()}
