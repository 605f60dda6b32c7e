"""Intervals and paired differences: by hand, and by how often they are right."""

from __future__ import annotations

import numpy as np
import pytest

from forametric.evaluation.statistics import mean_interval, paired_difference


def test_a_paired_difference_by_hand() -> None:
    ours, theirs = np.array([0.8, 0.9, 0.85, 0.95]), np.array([0.7, 0.85, 0.8, 0.8])
    mean, p = paired_difference(ours, theirs, test_share=0.25)
    d = ours - theirs
    assert mean == pytest.approx(0.0875)
    t = 0.0875 / (d.std(ddof=1) * np.sqrt(1 / 4 + 0.25))
    assert t == pytest.approx(2.585, abs=0.001)
    x = t / np.sqrt(3)  # Student's distribution of three degrees of freedom has a closed form
    assert p == pytest.approx(1 - 2 / np.pi * (x / (1 + x * x) + np.arctan(x)))
    assert paired_difference(ours, ours, 0.25)[0] == 0
    assert np.isnan(paired_difference(ours[:1], theirs[:1], 0.25)[1])


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        mean, half = mean_interval(rng.normal(3, 2, 5))
        covered += abs(mean - 3) <= half
    assert covered / 2000 == pytest.approx(0.95, abs=0.015)


def test_the_corrected_test_rarely_finds_a_difference_between_equals() -> None:
    """Draws of one pool overlap: each draw's result holds a part that all of them share."""
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(1000):
        shared = rng.normal(0, 0.01 * np.sqrt(0.2))
        difference = shared + rng.normal(0, 0.01, 5)
        found += paired_difference(difference, np.zeros(5), 0.25)[1] < 0.05
    assert found / 1000 < 0.08
