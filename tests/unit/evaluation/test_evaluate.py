"""What an evaluation measures, saves and refuses."""

import json

import numpy as np
import pandas as pd
import pytest

from forametric import metrics
from forametric.data.splits import Split, make_split
from forametric.data.taxonomy import Taxonomy
from forametric.errors import InputError
from forametric.evaluation.evaluate import Evaluation, evaluate
from forametric.model.model import Model


@pytest.fixture
def few_draws(monkeypatch):
    """Intervals of twenty draws: most of the time of an evaluation of few specimens."""
    bootstrap = metrics.bootstrap

    def quick(score, *values, **settings):
        return bootstrap(score, *values, **settings | {"draws": 20})

    monkeypatch.setattr(metrics, "bootstrap", quick)


def test_every_figure_is_measured_and_saved(evaluation, tmp_path, shells):
    found = evaluation.metrics
    for part, names in {
        "known": ("accuracy", "macro_f1", "top3", "knn_accuracy", "head_accuracy"),
        "unseen": ("matched_accuracy", "matched_macro_f1", "ami", "ari", "recall_at_1"),
        "open_set": ("auroc", "fpr95", "oscr"),
    }.items():
        for name in names:
            assert -1 <= found[part][name] <= 1
    assert found["n"]["unseen"] == 24
    assert found["seconds"] > 0
    assert found["calibration"] == {}, "it was removed"
    assert not found["warnings"]
    assert "unknown" not in found
    evaluation.save(str(tmp_path / "r"))
    assert json.loads((tmp_path / "r" / "metrics.json").read_text()) == found
    page = (tmp_path / "r" / "report.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/") > 10
    assert len(pd.read_csv(tmp_path / "r" / "specimens.csv")) == len(evaluation)
    recipe, seed, split = Evaluation.load_run_settings(str(tmp_path / "r"), shells)
    assert (recipe, seed) == (evaluation.model.recipe, 0)
    assert split.hash == evaluation.split.hash
    with pytest.raises(InputError, match="other specimens"):
        Evaluation.load_run_settings(tmp_path / "r", shells.select(np.arange(20)))
    names = np.unique(split.train.taxa().astype(str))
    table = Taxonomy.load().table.head(2).assign(name=names, coiling=["dextral", ""])
    with pytest.raises(InputError, match=f"no taxa differ by coiling, here {names[0]} differ;"):
        Evaluation.load_run_settings(tmp_path / "r", shells, Taxonomy(table))
    with pytest.raises(InputError, match="was not written by this version's evaluate"):
        Evaluation.load_run_settings(tmp_path, shells)


def test_a_calibrated_model_is_measured_by_its_probabilities_too(
    calibrated_folder, shells, split_file, few_draws
):
    found = evaluate(Model.load(calibrated_folder), Split.load(shells, split_file)).metrics
    assert 0 <= found["calibration"]["ece"] <= 1
    assert set(found["calibration"]["accuracy_at_coverage"]) == {"0.5", "0.8", "0.9", "1.0"}
    shares = found["open_set"]["test_decisions"]
    assert set(shares) == {"accepted", "genus", "ambiguous", "unknown", "not_a_specimen"}
    assert sum(shares.values()) == pytest.approx(1)


def test_measuring_on_what_was_trained_on_is_refused(model_folder, shells, split_file):
    model = Model.load(model_folder)
    split = Split.load(shells, split_file)
    trained = split.of("train")
    subsets = split.subsets.where(~trained, "test")
    with pytest.raises(InputError, match="are references of the model"):
        evaluate(model, Split(shells, subsets))
    known = np.isin(shells.taxa().astype(str), model.taxa)
    with pytest.raises(InputError, match="no test specimens whose taxon the model knows"):
        evaluate(model, Split(shells, split.subsets.where(~known, "unused")))


def test_another_split_than_that_of_the_training_is_said(
    model_folder, shells, split_file, few_draws
):
    split = Split.load(shells, split_file)
    moved = split.subsets.mask(split.of("unseen"), "unused")
    found = evaluate(Model.load(model_folder), Split(shells, moved)).metrics
    assert found["warnings"] == ["the split is not the one the model was trained with"]
    assert found["unseen"] == {}
    assert make_split(shells, seed=3).hash != split.hash
