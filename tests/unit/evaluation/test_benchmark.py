"""What a benchmark runs, keeps and refuses. Its runs are stand-ins: see tests/integration."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from forametric.data.embeddings import skipped_table
from forametric.data.taxonomy import Taxonomy
from forametric.embedding.recipe import Recipe
from forametric.errors import InputError
from forametric.evaluation import benchmark as module
from forametric.evaluation.benchmark import benchmark
from forametric.evaluation.measures import summarise
from tests.support.cli import FORMS

RECIPES = [Recipe.load("frozen"), Recipe.load("softmax+triplet")]


@pytest.fixture
def runs(monkeypatch) -> list[Path]:
    """Stand-ins for training and evaluation; the list has the folder of every training."""
    made: list[Path] = []

    class Evaluated:
        def __init__(self, split):
            self.split, self.skipped = split, skipped_table([("b.png", "is damaged")])

        def save(self, folder, overwrite):
            folder.mkdir()
            accuracy = 0.5 + len(made) / 100
            metrics = {
                "known": {"accuracy": accuracy, "macro_f1": accuracy},
                "model": {"backbone": "none"},
                "n": {"test": 5, "references": 20},
                "data": {"split_name": self.split.name},
            }
            (folder / "metrics.json").write_text(json.dumps(metrics))
            specimens = "id,subset,taxon,named,score,novelty,decision\n1,test,a,a,0.9,0.1,\n"
            (folder / "specimens.csv").write_text(specimens)
            (folder / "species.csv").write_text("taxon,references,test,f1\na,9,1,1.0\n")

    def train(split, recipe, folder, seed, taxonomy):
        made.append(folder)
        if recipe.name == "wild":
            raise InputError("training has diverged")
        folder.mkdir()

    card = SimpleNamespace(training={"images": 100, "seconds": 2.0})
    unread = skipped_table([("a.png", "is empty"), ("b.png", "is damaged")])
    model = SimpleNamespace(card=card, skipped=unread)
    monkeypatch.setattr(module, "train", train)
    monkeypatch.setattr(module.Model, "load", lambda folder: model)
    monkeypatch.setattr(module, "evaluate", lambda model, split, corruptions: Evaluated(split))
    return made


def test_a_benchmark_gives_a_row_for_each_run_and_repeats_none(shells_folder, tmp_path, runs):
    bench = benchmark(shells_folder, RECIPES, output=tmp_path / "b", repeats=2, held_out_taxa=1)
    assert bench.runs[["recipe", "draw", "seed"]].values.tolist() == [
        [r, d, 0] for d in ("draw_1", "draw_2") for r in ("frozen", "softmax+triplet")
    ]
    assert len(runs) == 4
    more = benchmark(
        str(shells_folder), RECIPES, output=str(tmp_path / "b"), repeats=3, held_out_taxa=1
    )
    assert len(more) == len(runs) == 6
    assert more.runs["known.accuracy"].tolist() == [0.51, 0.52, 0.53, 0.54, 0.55, 0.56]
    found = more.table
    assert (found["difference"][found["recipe"] == "frozen"] == 0).all()
    row = found[(found["recipe"] == "softmax+triplet") & (found["measure"] == "known.accuracy")]
    assert row["mean"].iloc[0] == pytest.approx(0.54)
    assert row["difference"].iloc[0] == pytest.approx(0.01)
    with pytest.raises(InputError, match="no runs of 'absent'"):
        summarise(more.runs, "absent")


def test_images_that_a_run_cannot_read_are_listed_once(shells_folder, tmp_path, runs):
    settings = {"output": tmp_path / "b", "held_out_taxa": 1}
    bench = benchmark(shells_folder, RECIPES, repeats=2, **settings)
    assert bench.skipped.to_numpy().tolist() == [["a.png", "is empty"], ["b.png", "is damaged"]]
    for folder in (tmp_path / "b", tmp_path / "b" / "runs" / "frozen" / "draw_1-0"):
        assert len(pd.read_csv(folder / "skipped.csv")) == 2
    again = benchmark(shells_folder, RECIPES, repeats=2, **settings)
    assert again.skipped.equals(bench.skipped), "also of runs that were done before"


def test_a_benchmark_refuses_other_settings_than_its_own(shells_folder, tmp_path, runs):
    settings = {"output": tmp_path / "b", "repeats": 1, "held_out_taxa": 1}
    benchmark(shells_folder, RECIPES, **settings)
    other = [Recipe.load("frozen", ["network.image_size=64"])]
    with pytest.raises(InputError, match="other settings"):
        benchmark(shells_folder, other, **settings)
    with pytest.raises(InputError, match="other taxa held out"):
        benchmark(shells_folder, RECIPES, **settings | {"held_out_taxa": 2})
    coils = Taxonomy.load().table.head(len(FORMS)).assign(name=FORMS, coiling="dextral")
    with pytest.raises(InputError, match="other settings"):
        benchmark(shells_folder, RECIPES, taxonomy=Taxonomy(coils), **settings)
    for recipes, against, words in (
        ([RECIPES[0]] * 2, "", "same name"),
        (RECIPES, "default", "default is not one of the recipes"),
    ):
        with pytest.raises(InputError, match=words):
            benchmark(shells_folder, recipes, against=against, output=tmp_path / "c")
    with pytest.raises(InputError, match="'no'"):
        benchmark(shells_folder, RECIPES, splits=["no"], output=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_two_splits_of_one_file_name_are_refused(shells_folder, split_file, tmp_path, runs):
    """They once shared a folder, so that the second was never run."""
    again = tmp_path / "other" / split_file.name
    again.parent.mkdir()
    again.write_bytes(split_file.read_bytes())
    with pytest.raises(InputError, match="two splits have the same file name"):
        benchmark(shells_folder, RECIPES, splits=[split_file, again], output=tmp_path / "b")
    assert not runs


def test_a_recipe_that_fails_is_a_row_that_says_why_and_the_others_continue(
    shells_folder, tmp_path, runs
):
    wild = RECIPES[0].model_copy(update={"name": "wild"})
    settings = {"output": tmp_path / "b", "repeats": 1, "held_out_taxa": 1}
    bench = benchmark(shells_folder, [wild, *RECIPES], against="frozen", **settings)
    assert bench.failed["failed"].tolist() == ["training has diverged"]
    assert bench.runs["recipe"].tolist() == ["wild", "frozen", "softmax+triplet"]
    assert set(bench.table["recipe"]) == {"frozen", "softmax+triplet"}
    page = bench.to_html().read_text()
    assert "training has diverged" in page
    benchmark(shells_folder, [wild, *RECIPES], against="frozen", **settings)
    assert [folder.parent.parent.name for folder in runs[3:]] == ["wild"], "it is tried again"
    with pytest.raises(InputError, match="every run failed; the first: training has diverged"):
        benchmark(shells_folder, [wild], output=tmp_path / "c", repeats=1)


def test_seeds_are_averaged_within_a_draw(shells_folder, tmp_path, runs):
    bench = benchmark(
        shells_folder, RECIPES[:1], output=tmp_path / "b", repeats=2, seeds=2, held_out_taxa=1
    )
    assert bench.runs["seed"].tolist() == [0, 1, 0, 1]
    accuracy = bench.table[bench.table["measure"] == "known.accuracy"].iloc[0]
    assert accuracy["n"] == 2
    assert accuracy["mean"] == pytest.approx(0.525)


def test_a_benchmark_writes_its_tables_and_figures(shells_folder, tmp_path, runs):
    bench = benchmark(
        shells_folder, RECIPES, output=tmp_path / "b", repeats=2, held_out_taxa=1, paper=False
    )
    page = bench.to_html()
    assert page.read_text().count("<img") == 5
    assert "http" not in page.read_text().replace("http://www.w3.org", "")
    assert len(pd.read_csv(tmp_path / "b" / "runs.csv")) == 4
    table = (tmp_path / "b" / "table.md").read_text()
    assert table.startswith("| recipe | backbone | known: macro F1")
    assert len(pd.read_csv(tmp_path / "b" / "summary.csv")) == len(bench.table)


def test_finished_runs_stay_when_a_later_step_is_refused(
    shells_folder, tmp_path, runs, monkeypatch
):
    settings = {"output": tmp_path / "b", "repeats": 1, "held_out_taxa": 1}

    def refuse(*_):
        raise InputError("somebody has put files there")

    with monkeypatch.context() as patch:
        patch.setattr(module, "put_in_place", refuse)
        with pytest.raises(InputError, match="somebody"):
            benchmark(shells_folder, RECIPES, **settings)
    assert len(benchmark(shells_folder, RECIPES, **settings)) == 2
    assert len(runs) == 2, "no run is repeated"


def test_an_interrupted_replacement_keeps_the_runs_that_are_there(
    shells_folder, tmp_path, runs, monkeypatch
):
    """Repeated without --overwrite, a benchmark once lost the runs of the first one."""
    settings = {"output": tmp_path / "b", "repeats": 1, "held_out_taxa": 1}
    benchmark(shells_folder, RECIPES[:1], **settings)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "put_in_place", interrupt)
        with pytest.raises(KeyboardInterrupt):
            benchmark(shells_folder, RECIPES[1:], overwrite=True, **settings)
    benchmark(shells_folder, RECIPES[1:], **settings)
    assert {run.name for run in (tmp_path / "b" / "runs").iterdir()} == {r.name for r in RECIPES}
