"""Shares of known truth, by simulation and by hand; then the verb and its tables."""

import numpy as np
import pandas as pd
import pytest
from openpyxl import load_workbook

from forametric.analysis.abundance import estimate_shares
from forametric.analysis.assemblages import UNKNOWN, assemblage
from forametric.analysis.diversity import diversity, rarefied_richness
from tests.support.cli import forametric
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


def test_intervals_cover_and_the_estimate_beats_plain_counts_under_shift():
    calibration = calibration_of(prior=dict.fromkeys(TAXA, 1 / 3))
    rng = np.random.default_rng(0)
    covered, better, plain = [], [], []
    for _ in range(60):
        shares, unknown = rng.dirichlet([0.6, 0.6, 0.6]), rng.choice([0, 0.2])
        truth, p, novelty, seen = _sample(shares, unknown, 300, rng)
        found = estimate_shares(p, novelty, TAXA, calibration)
        true = np.append(shares * (1 - unknown), unknown)
        real = np.bincount(truth, minlength=4) / 300
        counted = np.bincount(np.where(novelty > 1, 3, seen), minlength=4) / 300
        covered.append((found.low <= true) & (true <= found.high))
        better.append(abs(found.share - real).mean())
        plain.append(abs(counted - real).mean())
        assert found.share.sum() == pytest.approx(1)
    assert 0.9 <= np.mean(covered) <= 0.99
    assert np.mean(better) < 0.6 * np.mean(plain)


def test_what_an_expert_has_decided_is_counted_without_doubt():
    rng = np.random.default_rng(1)
    truth, p, novelty, _ = _sample([0.5, 0.3, 0.2], 0.2, 200, rng)
    calibration = calibration_of(prior=dict.fromkeys(TAXA, 1 / 3))
    before = estimate_shares(p, novelty, TAXA, calibration)
    half = np.where(np.arange(200) % 2, truth, -1)
    after = estimate_shares(p, novelty, TAXA, calibration, decided=half)
    real = np.bincount(truth, minlength=4) / 200
    assert abs(after.share - real).mean() < abs(before.share - real).mean()
    whole = estimate_shares(p, novelty, TAXA, calibration, decided=truth)
    assert np.allclose(whole.share, real), "all decided: what is left is the chance of so few"
    names = pd.DataFrame({"taxon": A, "decision": "accepted", "novelty": novelty})
    said = np.where(np.arange(200) < 10, "Nova species", "").astype(object)
    said[10:15] = UNKNOWN
    shares, _ = assemblage(names, p, TAXA, calibration, np.full(200, "one", object), said)
    counts = shares.set_index("taxon")["count"]
    assert counts.to_dict() == {A: 185, B: 0, C: 0, "Nova species": 10, UNKNOWN: 5}
    new = shares.set_index("taxon").loc["Nova species"]
    assert new["low"] <= 0.05 <= new["high"]
    assert new["share"] == pytest.approx(0.05, abs=0.01)


def test_a_sample_of_strangers_is_unknown():
    p = np.full((40, 3), 1 / 3, np.float32)
    found = estimate_shares(p, np.full(40, 9, np.float32), TAXA, calibration_of())
    assert found.share[-1] > 0.9
    assert found.high[-1] == 1


def test_rarefaction_and_diversity_by_hand():
    # Of {a, a, b} two are drawn: 2/3 of the pairs hold both taxa.
    assert rarefied_richness(np.array([2, 1]), 2) == pytest.approx(1 + 2 / 3)
    assert rarefied_richness(np.array([2, 1]), 3) == pytest.approx(2)
    assert np.isnan(rarefied_richness(np.array([2, 1]), 4))
    found = diversity(np.array([0.25, 0.25, 0.5]))
    assert found["shannon"] == pytest.approx(1.5 * np.log(2))
    assert found["simpson"] == pytest.approx(0.625)
    assert found["pielou"] == pytest.approx(1.5 * np.log(2) / np.log(3))


def test_a_sample_with_nothing_accepted_still_has_its_row():
    names = pd.DataFrame(
        {
            "taxon": [A, "", ""],
            "decision": ["accepted", "unknown", "unknown"],
            "novelty": [0.1, 5.0, 5.0],
        }
    )
    p = np.float32([[0.9, 0.05, 0.05], [0.4, 0.3, 0.3], [0.4, 0.3, 0.3]])
    shares, samples = assemblage(
        names, p, TAXA, calibration_of(), np.array(["one", "two", "two"], object)
    )
    assert samples["accepted"].tolist() == [1, 0]
    assert samples["specimens"].tolist() == [1, 2]
    two = shares[(shares["sample"] == "two") & (shares["taxon"] == UNKNOWN)].iloc[0]
    assert two["count"] == 2
    assert two["plain"] == 1


def test_the_verb_writes_every_table_and_the_figure(calibrated_folder, more_shells, tmp_path):
    done = forametric(
        "assemblage", calibrated_folder, more_shells, "--depth", "depth", "-o", tmp_path / "a"
    )
    assert done.returncode == 0, done.stderr
    shares = pd.read_csv(tmp_path / "a" / "shares.csv")
    counts = pd.read_csv(tmp_path / "a" / "counts.csv").set_index("sample")
    fractions = pd.read_csv(tmp_path / "a" / "fractions.csv").set_index("sample")
    samples = pd.read_csv(tmp_path / "a" / "samples.csv")
    assert samples["sample"].tolist() == ["core 8", "core 9", "core 10", "core 11"]
    assert samples["depth"].tolist() == [0, 1, 2, 3]
    assert counts.to_numpy().sum() == 64
    assert fractions.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-3)
    assert UNKNOWN not in fractions
    assert ((shares["low"] <= shares["share"]) & (shares["share"] <= shares["high"])).all()
    assert (tmp_path / "a" / "downcore.png").stat().st_size > 10_000
    book = load_workbook(tmp_path / "a" / "assemblage.xlsx")
    assert book.sheetnames == ["shares", "counts", "fractions", "samples"]
    for column, words in (("nowhere", "nothing in the column"), ("image", "should hold numbers")):
        bad = forametric(
            "assemblage", calibrated_folder, more_shells, "--depth", column, "-o", tmp_path / "b"
        )
        assert bad.returncode == 2
        assert words in bad.stderr
        assert not (tmp_path / "b").exists()
