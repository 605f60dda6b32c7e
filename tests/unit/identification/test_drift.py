"""Samples whose images differ from those of validation: false alarms and detection, by drawing."""

import numpy as np
import pandas as pd
import pytest

from forametric.identification.drift import (
    NEGLIGIBLE,
    compare_samples,
    described,
    drift_warnings,
    fit_drift,
    some_unlike,
)
from forametric.images.statistics import STATISTICS

K = len(STATISTICS)
SD, TAXON_SD = 10 * NEGLIGIBLE, 5 * NEGLIGIBLE
rng = np.random.default_rng(0)


def drawn(count: int, taxa: int, spread=TAXON_SD):
    """Differences of images of some taxa, each with its own mean."""
    of = rng.integers(0, taxa, count)
    values = rng.normal(0, 1, (taxa, K)) * spread
    values = values[of] + rng.normal(0, 1, (count, K)) * SD
    return values.astype(np.float32), np.array([f"taxon {n}" for n in of], object)


@pytest.fixture(scope="module")
def reference():
    values, taxa = drawn(600, 40)
    return fit_drift(values, 2 * values, taxa)


def test_the_spread_within_and_between_taxa_is_estimated(reference):
    assert reference.sd == pytest.approx(SD.tolist(), rel=0.1)
    assert reference.taxon_sd == pytest.approx(TAXON_SD.tolist(), rel=0.5)
    assert reference.unknown_sd == pytest.approx((2 * SD).tolist(), rel=0.1)
    assert reference.taxa == 40


@pytest.mark.parametrize("taxa", [2, 5, 30])
def test_few_samples_of_the_same_kind_are_called_different(reference, taxa):
    alarms = 0
    for _ in range(200):
        values, names = drawn(60, taxa)
        samples = np.full(60, "one", object)
        known = np.zeros(60, bool)
        alarms += bool(described(compare_samples(values, names, known, ~known, samples, reference)))
    assert alarms <= 20, "5 % are expected, over all statistics"


def test_an_unbalanced_validation_gives_no_more_alarms():
    """Most validation specimens are of one taxon, the samples are of all of them."""
    alarms = 0
    for _ in range(60):
        means = rng.normal(0, 1, (15, K)) * TAXON_SD

        def images(of, means=means):
            return (means[of] + rng.normal(0, 1, (len(of), K)) * SD).astype(np.float32)

        of = np.r_[np.zeros(210, int), np.repeat(np.arange(1, 15), 6)]
        values = images(of)
        reference = fit_drift(values, values, of.astype(str).astype(object))
        even = np.tile(np.arange(15), 10)
        samples, known = np.full(150, "one", object), np.zeros(150, bool)
        table = compare_samples(images(even), even.astype(str), known, ~known, samples, reference)
        alarms += bool(described(table))
    assert alarms <= 9


@pytest.mark.parametrize(("validation", "most"), [(50, 0.05), (100, 0.02), (400, 0.01)])
def test_few_like_samples_are_called_mixed(validation, most):
    mixed = 0
    for _ in range(200):
        values, taxa = drawn(validation, 20)
        reference = fit_drift(values, values, taxa)
        unlike = reference.unlike(drawn(400, 20)[0])
        mixed += bool(some_unlike(unlike, np.full(400, "one", object), reference))
    assert mixed <= 200 * most + 2


def test_single_images_are_not_told_by_few_validation_specimens():
    values, taxa = drawn(49, 10)
    reference = fit_drift(values, values, taxa)
    assert reference.limit is None
    assert (reference.unlike(values + 100 * NEGLIGIBLE) == "").all()
    samples = np.full(49, "one", object)
    shifted = (values + 30 * NEGLIGIBLE).astype(np.float32)
    table = compare_samples(
        shifted, taxa, np.zeros(49, bool), np.ones(49, bool), samples, reference
    )
    assert described(table), "whole samples are"


def test_words_that_others_imply_are_left_out(reference):
    values, names = drawn(60, 10)
    for statistic in ("noise", "detail", "sharpness"):
        values[:, STATISTICS.index(statistic)] += 20 * NEGLIGIBLE[STATISTICS.index(statistic)]
    samples = np.full(60, "one", object)
    table = compare_samples(
        values, names, np.zeros(60, bool), np.ones(60, bool), samples, reference
    )
    assert described(table) == {"one": "noisier"}


def test_a_changed_statistic_is_named_and_others_are_not(reference):
    values, names = drawn(60, 10)
    values[:, STATISTICS.index("noise")] += 20 * NEGLIGIBLE[0]
    values[:, STATISTICS.index("red")] -= 15 * NEGLIGIBLE[STATISTICS.index("red")]
    samples = np.array(["a"] * 30 + ["b"] * 30, object)
    table = compare_samples(
        values, names, np.zeros(60, bool), np.ones(60, bool), samples, reference
    )
    assert described(table) == {"a": "noisier and less red", "b": "noisier and less red"}
    assert len(table) == 2 * K
    unlike = np.full(60, "", object)
    (sentence,) = drift_warnings(table, unlike, samples, reference)
    assert "the images of 2 samples (a, b) are noisier and less red than those" in sentence


def test_images_of_another_microscope_in_a_sample_are_found(reference):
    values, names = drawn(100, 20)
    values[:15, STATISTICS.index("brightness")] += 80 * NEGLIGIBLE[3]
    unlike = reference.unlike(values)
    assert (unlike[:15] == "brighter").all()
    assert (unlike[15:] != "").mean() < 0.06
    samples = np.full(100, "core 3", object)
    table = compare_samples(
        values[15:], names[15:], np.zeros(85, bool), np.ones(85, bool), samples[15:], reference
    )
    (sentence,) = drift_warnings(table, unlike, samples, reference)
    assert " of the 100 images of sample core 3 differ" in sentence
    assert drift_warnings(table, np.full(85, "", object), samples[15:], reference) == []


def test_unknown_specimens_may_differ_more(reference):
    values, names = drawn(60, 10)
    values += 5 * NEGLIGIBLE
    samples = np.full(60, "", object)
    of_known = compare_samples(
        values, names, np.zeros(60, bool), np.ones(60, bool), samples, reference
    )
    of_unknown = compare_samples(
        values, names, np.ones(60, bool), np.ones(60, bool), samples, reference
    )
    assert of_known["unlike"].sum() > of_unknown["unlike"].sum()
    assert (of_known["usual"] < of_unknown["usual"]).all()


def test_specimens_of_new_taxa_are_not_taken_for_another_microscope(reference):
    values, names = drawn(60, 10)
    values[:20, STATISTICS.index("noise")] += 20 * NEGLIGIBLE[0]
    unknown, samples = np.arange(60) < 20, np.full(60, "one", object)
    table = compare_samples(values, names, unknown, ~unknown, samples, reference)
    assert described(table) == {}
    assert (table["specimens"] == 40).all()
    assert table["familiar"].all()


def test_a_sample_with_few_familiar_specimens_is_compared_as_a_whole(reference):
    values, names = drawn(60, 10)
    values[:, STATISTICS.index("noise")] += 20 * NEGLIGIBLE[0]
    unknown, samples = np.arange(60) < 40, np.full(60, "one", object)
    table = compare_samples(values, names, unknown, ~unknown, samples, reference)
    assert described(table) == {"one": "noisier"}
    assert (table["specimens"] == 60).all()
    (sentence,) = drift_warnings(table, np.full(60, "", object), samples, reference)
    assert "or most specimens are of taxa that it does not know" in sentence


def test_what_is_not_known_is_left_out(reference):
    values, names = drawn(60, 10)
    assert fit_drift(values[:, :0], values[:, :0], names) is None
    assert fit_drift(values[:10], values[:10], names[:10]) is None
    assert fit_drift(values, values, np.full(60, "one", object)) is None
    values[:57] = np.nan
    samples = np.full(60, "one", object)
    assert compare_samples(
        values, names, np.zeros(60, bool), np.ones(60, bool), samples, reference
    ).empty
    assert (reference.unlike(values)[:57] == "").all()
    assert described(pd.DataFrame(columns=["sample", "unlike"])) == {}
