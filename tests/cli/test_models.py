"""Commands that train, evaluate, calibrate and extend models."""

import json

import numpy as np
import pandas as pd
import pytest

from forametric.data.collection import Collection
from forametric.model.model import Model
from tests.support.cli import forametric

# train: what does not go together is refused by a sentence, before any work


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "give one of --split, --reproduce and --decisions."),
        (["--split", "s", "--decisions", "d"], "not --split and --decisions"),
        (["--split", "s", "--reproduce", "r"], "not --split and --reproduce"),
        (["--split", "s", "--extra-collection", "c"], "--extra-collection only goes with"),
        (["--reproduce", "r", "--recipe", "frozen"], "--reproduce excludes --recipe"),
        (["--reproduce", "r", "--set", "epochs=1"], "--reproduce excludes --recipe, --set"),
        (["--reproduce", "r", "--seed", "0"], "--init-from and --seed"),
        (["--reproduce", "r", "--init-from", "m"], "--reproduce excludes"),
    ],
)
def test_train_refuses_options_that_exclude_each_other(shells_folder, tmp_path, options, sentence):
    """--split with --decisions once answered that neither was given; the others were ignored."""
    done = forametric("train", shells_folder, "-o", tmp_path / "m", *options)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("subset", "message"),
    [("test", "no labelled specimens"), ("train", "no specimens in val")],
)
def test_train_refuses_a_split_one_cannot_train_on(
    shells, shells_folder, tmp_path, subset, message
):
    table = pd.DataFrame({"id": shells.specimens["id"], "subset": subset})
    table.to_csv(tmp_path / "s.csv", index=False)
    done = forametric("train", shells_folder, "--split", tmp_path / "s.csv", "-o", tmp_path / "m")
    assert done.returncode == 2
    assert message in done.stderr


def test_train_names_a_wrong_recipe_and_setting(shells_folder, split_file, tmp_path):
    for options, words in (
        (["--recipe", "defualt"], "karaderi2022"),
        (["--set", "network.bone=1"], "network.bone"),
        (["--init-from", tmp_path / "none"], "is not a model"),
    ):
        asked = ["--split", split_file, "-o", tmp_path / "m", *options]
        done = forametric("train", shells_folder, *asked)
        assert done.returncode == 2
        assert words in done.stderr


def test_evaluate_writes_every_figure_and_one_page(
    model_folder, shells_folder, split_file, tmp_path
):
    asked = ["evaluate", model_folder, shells_folder, "--split", split_file, "-o", tmp_path / "r"]
    done = forametric(*asked)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert found["n"]["unseen"] == 24
    assert (tmp_path / "r" / "report.html").is_file()
    for words in ("known.macro_f1", "open_set.auroc", "report.html"):
        assert words in done.stdout
    again = forametric(*asked)
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_evaluate_names_corrupted_images_on_request(
    model_folder, shells_folder, split_file, tmp_path, monkeypatch
):
    monkeypatch.setattr("forametric.evaluation.robustness.MOST", {"test": 4, "unseen": 2})
    asked = ["--split", split_file, "--corruptions", "-o", tmp_path / "r"]
    done = forametric("evaluate", model_folder, shells_folder, *asked)
    assert done.returncode == 0, done.stderr
    assert "corruptions.relative_accuracy" in done.stdout
    found = json.loads((tmp_path / "r" / "metrics.json").read_text())["corruptions"]
    assert len(found["by_corruption"]["jpeg"]) == 3


def test_evaluate_warns_of_another_split_and_refuses_the_training_specimens(
    model_folder, shells_folder, shells, split_file, tmp_path
):
    split = pd.read_csv(split_file).set_index("id")["subset"]
    for name, changed in (
        ("seen", split.replace("train", "test")),
        ("other", split.replace("unseen", "unused")),
    ):
        changed.to_csv(tmp_path / f"{name}.csv")
        asked = ["--split", tmp_path / f"{name}.csv", "-o", tmp_path / name]
        done = forametric("evaluate", model_folder, shells_folder, *asked)
        if name == "seen":
            assert done.returncode == 2
            assert "are references of the model" in done.stderr
            assert not (tmp_path / name).exists()
        else:
            assert done.returncode == 0
            assert "warning: the split is not the one" in done.stderr


def test_calibrate_gives_probabilities_and_another_fingerprint(model_folder, more_shells, tmp_path):
    asked = ["calibrate", model_folder, more_shells, "--split", "check", "-o", tmp_path / "m"]
    done = forametric(*asked, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["calibration"]["specimens"] == 32, "the other shells are of taxa never learnt"
    before, after = Model.load(model_folder), Model.load(tmp_path / "m")
    assert said["fingerprint"] == after.fingerprint != before.fingerprint
    assert after.weights_sha256 == before.weights_sha256
    assert "on 32 validation specimens" in (tmp_path / "m" / "README.md").read_text()


def test_a_model_cannot_be_calibrated_on_its_references(
    model_folder, shells_folder, shells, tmp_path
):
    pd.DataFrame({"id": shells.specimens["id"], "subset": "val"}).to_csv(tmp_path / "s.csv")
    asked = ["--split", tmp_path / "s.csv", "-o", tmp_path / "m"]
    done = forametric("calibrate", model_folder, shells_folder, *asked)
    assert done.returncode == 2
    assert "are references of the model" in done.stderr
    assert not (tmp_path / "m").exists()


def test_a_species_is_learnt_without_training(calibrated_folder, more_shells, tmp_path):
    model = Model.load(calibrated_folder)
    shells = Collection.open(more_shells)
    new = sorted(set(shells.taxa()) - set(model.taxa))
    done = forametric("add", calibrated_folder, more_shells, "-o", tmp_path / "m", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["new_taxa"] == new
    assert said["added"] == 64
    grown = Model.load(tmp_path / "m")
    assert said["fingerprint"] == grown.fingerprint != model.fingerprint
    named = grown.identify(more_shells).table["best"].to_numpy(dtype=object)
    of_new = np.isin(shells.taxa().astype(str), new)
    assert (named == shells.taxa())[of_new].mean() > 0.9, "they are their own references"
    readme = (tmp_path / "m" / "README.md").read_text()
    assert f"Added after training: {', '.join(new)}" in readme
    again = forametric("add", tmp_path / "m", more_shells, "-o", tmp_path / "m2")
    assert again.returncode == 2
    assert "not a reference already" in again.stderr


def test_recipes_are_listed():
    shown = forametric("recipes")
    assert "karaderi2022" in shown.stdout
    listed = json.loads(forametric("recipes", "--json").stdout)
    assert listed["default"]["network"]["image_size"] > 0


def test_benchmark_refuses_before_it_runs(shells_folder, tmp_path):
    for options, words in (
        (["--recipes", "froozen"], "froozen"),
        (["--recipes", "frozen", "--splits", "no"], "'no'"),
        (["--recipes", "frozen", "--against", "default"], "default is not one of the recipes"),
    ):
        done = forametric("benchmark", shells_folder, *options, "-o", tmp_path / "b")
        assert done.returncode == 2
        assert words in done.stderr
        assert not (tmp_path / "b").exists()
