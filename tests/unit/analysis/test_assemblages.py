"""Abundances of known truth, by simulation and by hand; then of identified shells."""

import numpy as np
import pandas as pd
import pytest
from openpyxl import load_workbook

from forametric.analysis.abundance import estimate_composition
from forametric.analysis.assemblages import (
    UNKNOWN,
    Assemblages,
    abundances_of_samples,
    assemblages,
    assemblages_of,
    coiling_ratios,
)
from forametric.analysis.diversity import diversity, rarefied_richness
from forametric.errors import InputError, ModelError
from forametric.model.model import Model
from tests.support.samples import A, B, C, calibration_of

TAXA = [A, B, C]
CONFUSION = np.array([[0.85, 0.15, 0.0], [0.25, 0.70, 0.05], [0.0, 0.1, 0.9]])


def _sample(shares, unknown, count, rng):
    """Specimens of a network that confuses, with the probabilities that follow from Bayes."""
    prior = np.full(3, 1 / 3)
    truth = rng.choice(4, count, p=[*(np.array(shares) * (1 - unknown)), unknown])
    looks = np.where(truth == 3, rng.integers(0, 3, count), truth)  # the unknown like anything
    seen = np.array([rng.choice(3, p=CONFUSION[t]) for t in looks])
    joint = CONFUSION[:, seen].T * prior
    probabilities = (joint / joint.sum(1, keepdims=True)).astype(np.float32)
    novelty = np.where(truth == 3, rng.normal(1.2, 0.12, count), rng.uniform(0.3, 0.9, count))
    return truth, probabilities, novelty.astype(np.float32), seen


@pytest.mark.parametrize("samples", [12, pytest.param(60, marks=pytest.mark.slow)])
def test_intervals_cover_and_the_estimate_beats_raw_counts_under_shift(samples):
    calibration = calibration_of(prior=dict.fromkeys(TAXA, 1 / 3))
    rng = np.random.default_rng(0)
    covered, better, raw = [], [], []
    for _ in range(samples):
        shares, unknown = rng.dirichlet([0.6, 0.6, 0.6]), rng.choice([0, 0.2])
        truth, p, novelty, seen = _sample(shares, unknown, 300, rng)
        found = estimate_composition(p, novelty, TAXA, calibration)
        true = np.append(shares * (1 - unknown), unknown)
        real = np.bincount(truth, minlength=4) / 300
        counted = np.bincount(np.where(novelty > 1, 3, seen), minlength=4) / 300
        covered.append((found.low <= true) & (true <= found.high))
        better.append(abs(found.abundance - real).mean())
        raw.append(abs(counted - real).mean())
        assert found.abundance.sum() == pytest.approx(1)
    assert 0.9 <= np.mean(covered) <= (0.99 if samples == 60 else 1)
    assert np.mean(better) < 0.6 * np.mean(raw)


def test_what_an_expert_has_decided_is_counted_as_certain():
    rng = np.random.default_rng(1)
    truth, p, novelty, _ = _sample([0.5, 0.3, 0.2], 0.2, 200, rng)
    calibration = calibration_of(prior=dict.fromkeys(TAXA, 1 / 3))
    before = estimate_composition(p, novelty, TAXA, calibration)
    half = np.where(np.arange(200) % 2, truth, -1)
    after = estimate_composition(p, novelty, TAXA, calibration, expert_labels=half)
    real = np.bincount(truth, minlength=4) / 200
    assert abs(after.abundance - real).mean() < abs(before.abundance - real).mean()
    whole = estimate_composition(p, novelty, TAXA, calibration, expert_labels=truth)
    assert np.allclose(whole.abundance, real), "all decided: what is left is the chance of so few"
    names = pd.DataFrame({"taxon": A, "decision": "accepted", "novelty": novelty})
    said = np.where(np.arange(200) < 10, "Nova species", "").astype(object)
    said[10:15] = UNKNOWN
    table, _ = abundances_of_samples(names, p, TAXA, calibration, np.full(200, "one", object), said)
    counts = table.set_index("taxon")["count"]
    assert counts.to_dict() == {A: 185, B: 0, C: 0, "Nova species": 10, UNKNOWN: 5}
    new = table.set_index("taxon").loc["Nova species"]
    assert new["low"] <= 0.05 <= new["high"]
    assert new["abundance"] == pytest.approx(0.05, abs=0.01)


def test_names_of_samples_and_taxa_are_text_in_the_excel_file(tmp_path):
    formula = '=HYPERLINK("http://x/?"&A1,"x")'
    table = pd.DataFrame({"sample": formula, "taxon": [formula, UNKNOWN], "count": [2, 0]})
    table = table.assign(raw=1.0, abundance=[0.9, 0.1], low=0.0, high=1.0)
    samples = pd.DataFrame({"sample": [formula], "specimens": [2]})
    Assemblages(table, samples).to_excel(tmp_path / "assemblage.xlsx")
    book = load_workbook(tmp_path / "assemblage.xlsx")
    cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row]
    assert sum(cell.value == formula for cell in cells) == 8
    assert {cell.data_type for cell in cells} == {"s", "n"}


def test_coiling_ratios_by_hand():
    specimens = pd.DataFrame(
        {
            "sample": ["one"] * 6 + ["two"] * 3,
            "coiling": ["dextral", "Dex.", "s", None, "trochospiral", "right", "l", "sin", "D"],
        }
    )
    names = pd.DataFrame({"taxon": [A] * 5 + [B] + [A] * 3, "decision": ["accepted"] * 9})
    names.loc[8, ["taxon", "decision"]] = ["Globigerina", "genus"]  # no species: not counted
    said = np.array([""] * 9, object)
    said[0], said[7] = B, UNKNOWN
    table = coiling_ratios(specimens, names, said)
    rows = table.set_index(["sample", "taxon"])[["sinistral", "dextral"]]
    assert rows.T.to_dict("list") == {
        ("one", A): [1, 1],
        ("one", B): [0, 2],
        ("two", A): [1, 0],
    }
    assert table["dextral_share"].tolist() == [0.5, 1, 0]
    # Wilson (1927) for 2 of 2: the lower limit is n / (n + z²).
    assert table["low"][1] == pytest.approx(2 / (2 + 1.959964**2), abs=1e-4)
    assert table["high"][1] == 1
    assert coiling_ratios(specimens.drop(columns="coiling"), names, said).empty
    natural = specimens.assign(sample=["core 10"] * 6 + ["core 9"] * 3)
    assert coiling_ratios(natural, names, said)["sample"].tolist() == ["core 9", *["core 10"] * 2]
    none = specimens.assign(coiling="trochospiral")
    assert coiling_ratios(none, names, said).empty


def test_a_sample_of_novel_specimens_is_unknown():
    p = np.full((40, 3), 1 / 3, np.float32)
    found = estimate_composition(p, np.full(40, 9, np.float32), TAXA, calibration_of())
    assert found.abundance[-1] > 0.9
    assert found.high[-1] == 1


def test_rarefaction_and_diversity_by_hand():
    # Of {a, a, b} two are drawn: 2/3 of the pairs hold both taxa.
    assert rarefied_richness(np.array([2, 1]), 2) == pytest.approx(1 + 2 / 3)
    assert rarefied_richness(np.array([2, 1]), 3) == pytest.approx(2)
    assert rarefied_richness(np.array([2, 1]), 4) == pytest.approx(2), "all that there are"
    assert np.isnan(rarefied_richness(np.array([0, 0]), 4))
    both = rarefied_richness(np.array([[2, 1, 0], [0, 0, 9]]), 2)
    assert both.tolist() == pytest.approx([1 + 2 / 3, 1])
    found = diversity(np.array([1, 0, 1, 2, 0]))
    assert found["richness"] == 3
    assert found["shannon"] == pytest.approx(1.5 * np.log(2))
    assert found["simpson"] == pytest.approx(0.625)
    assert found["pielou"] == pytest.approx(1.5 * np.log(2) / np.log(3))

    none = diversity(np.array([[0, 0], [3, 0]]))
    assert none["richness"].tolist() == [0, 1]
    assert np.isnan(none["pielou"]).all()
    assert none["shannon"][1] == 0


@pytest.mark.parametrize("present", [5, 12, 25])
def test_evenness_is_that_of_the_taxa_that_occur(present):
    """It was 0.36 to 0.68 for a true 0.80 to 0.98 where 5 of 35 taxa occurred."""
    rng = np.random.default_rng(present)
    taxa = [f"taxon {n}" for n in range(35)]
    calibration = calibration_of(prior=dict.fromkeys(taxa, 1 / 35))
    for _ in range(3):
        shares = rng.dirichlet(np.full(present, 2.0))
        truth = rng.choice(present, 300, p=shares)
        counts = np.bincount(truth, minlength=35)
        logits = rng.normal(0, 1, (300, 35))
        logits[np.arange(300), truth] += 12
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        novelty = rng.uniform(0.3, 0.9, 300).astype(np.float32)
        found = estimate_composition(p.astype(np.float32), novelty, taxa, calibration)
        indices, true = found.indices(100), diversity(counts)
        assert indices["pielou"] == pytest.approx(float(true["pielou"]), abs=0.06)
        assert indices["shannon"] == pytest.approx(float(true["shannon"]), abs=0.08)
        assert indices["richness_low"] - 1 <= true["richness"] <= indices["richness_high"] + 1
        assert indices["rarefied"] == pytest.approx(float(rarefied_richness(counts, 100)), abs=1.5)
        assert found.effective_draws >= 200
        assert found.r_hat <= 1.05


def test_the_sampler_draws_from_the_posterior():
    """All labels of four specimens, weighed by hand (Dirichlet-multinomial)."""
    p = np.float32([[0.9, 0.1], [0.6, 0.4], [0.5, 0.5], [0.2, 0.8]])
    calibration = calibration_of(prior={A: 0.5, B: 0.5}, novelty_leave_class_out=[50.0, 60.0])
    novelty = np.full(4, 0.5, np.float32)  # far from what an unknown taxon would have
    alpha, weights, shares = 1 / np.sqrt(3), [], []
    for labels in np.ndindex(2, 2, 2, 2):
        counts = np.bincount(labels, minlength=2)
        rising = [np.prod(alpha + np.arange(n)) for n in counts]
        weights.append(np.prod(rising) * np.prod(p[np.arange(4), list(labels)]))
        shares.append(counts[0] / 4)
    expected = np.average(shares, weights=weights)
    found = estimate_composition(p, novelty, [A, B], calibration)
    assert found.abundance[0] == pytest.approx(expected, abs=0.02)
    assert found.abundance[-1] < 0.001


def test_single_draws_are_kept_on_request(calibrated_folder, more_shells, tmp_path):
    model = Model.load(calibrated_folder)
    found = assemblages(model.identify(more_shells), draws=True)
    found.save(tmp_path / "counts")
    draws = pd.read_parquet(tmp_path / "counts" / "draws.parquet")
    assert draws.columns.tolist() == ["sample", "draw", *model.taxa, UNKNOWN]
    assert draws.groupby("sample").size().tolist() == [500] * 4
    assert (draws.drop(columns=["sample", "draw"]).sum(axis=1) == 16).all()
    means = draws.groupby("sample")[model.taxa].mean() / 16
    table = found.table.pivot(index="sample", columns="taxon", values="abundance")[model.taxa]
    assert np.abs(means - table).to_numpy().max() < 0.15
    assert not (tmp_path / "without").exists()
    assemblages(model.identify(more_shells)).save(tmp_path / "without")
    assert not (tmp_path / "without" / "draws.parquet").exists()


def test_a_sample_with_nothing_accepted_still_has_its_row():
    names = pd.DataFrame(
        {
            "taxon": [A, "", ""],
            "decision": ["accepted", "unknown", "unknown"],
            "novelty": [0.1, 5.0, 5.0],
        }
    )
    p = np.float32([[0.9, 0.05, 0.05], [0.4, 0.3, 0.3], [0.4, 0.3, 0.3]])
    table, samples = abundances_of_samples(
        names, p, TAXA, calibration_of(), np.array(["one", "two", "two"], object)
    )
    assert samples["accepted"].tolist() == [1, 0]
    assert samples["specimens"].tolist() == [1, 2]
    assert samples["unknown"].tolist() == [0, 2]
    two = table[(table["sample"] == "two") & (table["taxon"] == UNKNOWN)].iloc[0]
    assert two["count"] == 2
    assert two["raw"] == 1


def test_ambiguous_specimens_are_not_counted_as_unknown():
    names = pd.DataFrame(
        {
            "taxon": [A, "Globigerina", "", ""],
            "decision": ["accepted", "genus", "ambiguous", "unknown"],
            "novelty": [0.1, 0.1, 0.1, 5.0],
        }
    )
    p = np.float32([[0.9, 0.05, 0.05], [0.45, 0.45, 0.1], [0.4, 0.2, 0.4], [0.4, 0.3, 0.3]])
    one = np.full(4, "one", object)
    table, samples = abundances_of_samples(names, p, TAXA, calibration_of(), one)
    assert table.set_index("taxon")["count"].to_dict() == {A: 1, B: 0, C: 0, UNKNOWN: 1}
    row = samples.iloc[0]
    assert (row["accepted"], row["indeterminate"], row["unknown"]) == (1, 2, 1)
    said = np.array(["", B, "", UNKNOWN], object)  # experts settle two of them
    _, samples = abundances_of_samples(names, p, TAXA, calibration_of(), one, said)
    row = samples.iloc[0]
    assert (row["accepted"], row["indeterminate"], row["unknown"]) == (2, 1, 1)


def test_what_is_not_a_specimen_is_not_counted():
    taxa = [A, B, "not a specimen, debris"]
    p = np.float32([[0.99, 0.005, 0.005]] * 6 + [[0.005, 0.005, 0.99]] * 30)
    calibration = calibration_of(prior=dict.fromkeys(taxa, 1 / 3))
    names = pd.DataFrame(
        {
            "taxon": [A] * 6 + [""] * 30,
            "decision": ["accepted"] * 6 + ["not_a_specimen"] * 30,
            "novelty": [0.5] * 36,
        }
    )
    table, samples = abundances_of_samples(names, p, taxa, calibration, np.full(36, "one", object))
    assert table["taxon"].tolist() == [A, B, UNKNOWN]
    found = table.set_index("taxon")
    assert found["count"].to_dict() == {A: 6, B: 0, UNKNOWN: 0}
    assert found.loc[A, "raw"] == 1
    assert found["abundance"].sum() == pytest.approx(1, abs=1e-4)
    assert found.loc[A, "abundance"] > 0.9
    assert found.loc[A, "low"] < 0.8, "six specimens do not tell more"
    row = samples.iloc[0]
    assert (row["specimens"], row["accepted"], row["not_specimens"]) == (6, 6, 30)
    assert row["shannon"] < 0.3
    only, samples = abundances_of_samples(
        names[6:].reset_index(drop=True), p[6:], taxa, calibration, np.full(30, "two", object)
    )
    assert samples.iloc[0]["specimens"] == 0
    assert only["count"].sum() == 0
    assert (only["low"] == 0).all()
    assert (only["high"] > 0.5).any(), "nothing is known about a sample without specimens"


def test_identified_shells_are_counted_by_sample_and_depth(calibrated_folder, more_shells):
    model = Model.load(calibrated_folder)
    found = assemblages(model.identify(more_shells), depth="depth")
    samples = found.samples
    assert samples["sample"].tolist() == ["core 8", "core 9", "core 10", "core 11"]
    assert samples["depth"].tolist() == [0, 1, 2, 3]
    counted = found.counts.set_index("sample").to_numpy().sum()
    assert counted + samples["indeterminate"].sum() == 64
    fractions = found.fractions.set_index("sample")
    assert fractions.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-3)
    assert UNKNOWN not in fractions
    table = found.table
    assert (table["low"] <= table["abundance"]).all()
    assert (table["abundance"] <= table["high"]).all()
    again = assemblages_of(model, str(more_shells), depth="depth")
    pd.testing.assert_frame_equal(again.table, table)


def test_what_cannot_be_counted_is_refused_before_the_long_work(
    calibrated_folder, model_folder, more_shells, shells
):
    model = Model.load(calibrated_folder)
    for column, words in (("nowhere", "no values in the column"), ("image", "must be numeric")):
        with pytest.raises(InputError, match=words):
            assemblages_of(model, more_shells, depth=column)
    with pytest.raises(InputError, match="no values in the column 'sample'"):
        assemblages_of(model, shells.path(0).parent)
    with pytest.raises(ModelError, match="forametric calibrate"):
        assemblages_of(Model.load(model_folder), more_shells)
