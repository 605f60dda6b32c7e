"""Kappa of two and of more reviewers."""

import numpy as np
import pytest

from forametric.review import Decision, DecisionStore, agreement
from forametric.review.agreement import cohen_kappa, fleiss_kappa


def test_kappa_of_published_examples():
    """Cohen's from his definition by hand; Fleiss' from the table of 10 subjects, 14 raters."""
    answers = [["y", "y"]] * 20 + [["y", "n"]] * 5 + [["n", "y"]] * 10 + [["n", "n"]] * 15
    assert cohen_kappa(*np.array(answers).T) == pytest.approx(0.4)
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    subjects = np.array([np.repeat(list("abcde"), row) for row in counts])
    assert fleiss_kappa(subjects) == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa(np.array([["a", "a"]])) is None
    assert fleiss_kappa(np.empty((0, 2), object)) is None


def test_agreement_is_over_what_both_judged(tmp_path):
    store = DecisionStore(tmp_path / "d.sqlite")
    for n in range(4):
        store.record([Decision(f"s{n}", "taxon", "Aa bb" if n < 2 else "Cc dd", "A")])
        store.record([Decision(f"s{n}", "taxon", "Aa bb" if n < 3 else "Cc dd", "B")])
    store.record([Decision("s0", "taxon", "Aa bb", "C")])
    found = agreement(store.history())
    pairs = {tuple(p["reviewers"]): (p["specimens"], p["kappa"]) for p in found["cohen"]}
    assert pairs["A", "B"] == (4, 0.5)
    assert pairs["A", "C"] == (1, None)
    assert found["fleiss"]["specimens"] == 1
    report = store.summary()
    assert str(report).splitlines()[:2] == [
        "9 decisions of 3 reviewers on 4 specimens, 1 with conflicts",
        "A and B: Cohen's kappa 0.50 over 4 specimens",
    ]
    assert report.summary["conflicts"][0]["specimen"] == "s2"
