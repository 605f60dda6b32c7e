"""Draw the batches of each epoch, reproducibly for a seed and epoch."""

from __future__ import annotations

import numpy as np

from forametric._typing import IntArray
from forametric.embedding.recipe import Sampler


def epoch_batches(labels: IntArray, settings: Sampler, seed: int, epoch: int) -> list[IntArray]:
    """The batches of one epoch, as positions in `labels`.

    A species with fewer specimens than a batch needs contributes some of them more than once. Each
    copy is augmented differently, so a single specimen can be its own positive.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
        Species numbers 0 … k-1, each with at least one specimen.

    >>> batches = epoch_batches(np.array([0, 0, 0, 1]), Sampler(species=2, specimens=2), 0, 0)
    >>> [len(b) for b in batches]
    [4]
    """
    rng = np.random.default_rng([seed, epoch, 0])
    if settings.kind == "triplets":
        return _triplets(labels, settings.species, rng)
    size = settings.species * settings.specimens
    if settings.kind == "shuffle":
        order = rng.permutation(len(labels))
        # A last batch of one specimen cannot be batch-normalized.
        return [b for i in range(0, len(order), size) if len(b := order[i : i + size]) > 1]
    members = [np.flatnonzero(labels == k) for k in range(labels.max() + 1)]
    weights = np.array([len(m) for m in members], float) ** settings.power
    species = min(settings.species, len(members))
    return [
        np.concatenate(
            [
                _draw(members[k], size // species, rng)
                for k in rng.choice(len(members), species, replace=False, p=weights / weights.sum())
            ]
        )
        for _ in range(max(1, len(labels) // size))
    ]


def _draw(members: IntArray, count: int, rng: np.random.Generator) -> IntArray:
    rounds = [rng.permutation(members) for _ in range(-(-count // len(members)))]
    return np.concatenate(rounds)[:count]


def _triplets(labels: IntArray, anchors: int, rng: np.random.Generator) -> list[IntArray]:
    order = rng.permutation(len(labels))
    members = {k: np.flatnonzero(labels == k) for k in np.unique(labels)}
    classes = np.array(list(members))

    def positive(anchor: np.int64) -> np.int64:
        same = members[labels[anchor]]
        rest = same[same != anchor]
        return rng.choice(rest) if len(rest) else anchor

    def negative(anchor: np.int64) -> np.int64:
        others = classes[classes != labels[anchor]]
        # A species, then one of its specimens, as in the published code: rare ones are not rarer.
        return rng.choice(members[rng.choice(others)]) if len(others) else anchor

    batches = []
    for start in range(0, len(order), anchors):
        a = order[start : start + anchors]
        p = np.array([positive(i) for i in a])
        n = np.array([negative(i) for i in a])
        batches.append(np.concatenate([a, p, n]))
    return batches
