from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forametric.embedding.recipe import Recipe
from forametric.errors import InputError
from forametric.evaluation.benchmark import benchmark, summary
from forametric.evaluation.statistics import mean_interval, paired_difference
from forametric.simulation.plates import write_endless_forams
from tests.support.cli import forametric

SMALL = ["network.image_size=32", "tta_views=1", "epochs=0"]
RECIPES = [Recipe.load(name, SMALL) for name in ("frozen", "softmax+triplet")]


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


def test_a_benchmark_gives_a_row_for_each_run_and_does_none_twice(shells_folder, tmp_path) -> None:
    table = benchmark(shells_folder, tmp_path / "b", RECIPES, draws=2, unseen=1)
    assert table[["recipe", "draw", "seed"]].values.tolist() == [
        [r, d, 0] for d in ("draw_1", "draw_2") for r in ("frozen", "softmax+triplet")
    ]
    assert table["known.macro_f1"].between(0, 1).all()
    assert "unseen.ami" not in table, "one unseen species is nothing to cluster"
    files = sorted((tmp_path / "b" / "runs").rglob("metrics.json"))
    assert len(files) == 4
    times = [f.stat().st_mtime_ns for f in files]
    more = benchmark(shells_folder, tmp_path / "b", RECIPES, draws=3, unseen=1)
    assert len(more) == 6
    assert [f.stat().st_mtime_ns for f in files] == times
    found = summary(more, "frozen")
    assert (found["difference"][found["recipe"] == "frozen"] == 0).all()
    row = found[(found["recipe"] == "softmax+triplet") & (found["measure"] == "known.accuracy")]
    wanted = more[more["recipe"] == "softmax+triplet"]["known.accuracy"].mean()
    assert row["mean"].iloc[0] == pytest.approx(wanted)
    with pytest.raises(InputError, match="no runs of 'absent'"):
        summary(more, "absent")
    other = [Recipe.load("frozen", [*SMALL, "network.image_size=64"])]
    with pytest.raises(InputError, match="other settings"):
        benchmark(shells_folder, tmp_path / "b", other, draws=2, unseen=1)
    with pytest.raises(InputError, match="other taxa held out"):
        benchmark(shells_folder, tmp_path / "b", RECIPES, draws=2, unseen=2)
    with pytest.raises(InputError, match="same name"):
        benchmark(shells_folder, tmp_path / "c", [RECIPES[0]] * 2)


def test_a_recipe_that_fails_is_a_row_that_says_why_and_the_others_go_on(
    shells_folder, tmp_path
) -> None:
    (tmp_path / "wild.toml").write_text(
        'name = "wild"\nabout = ""\nextends = "default"\nepochs = 1\n'
        "[network]\nneck = 'hidden'\ncomponents = 0\n[optimiser]\nhead_rate = 1e30\nwarmup = 0\n"
    )
    asked = ["benchmark", shells_folder, "--recipes", f"frozen,{tmp_path / 'wild.toml'}"]
    asked += ["--draws", 1, "--unseen", 1, "--set", "network.image_size=32", "-o", tmp_path / "b"]
    done = forametric(*asked, "--json")
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    assert [Path(run["folder"]).parent.name for run in said["failed"]] == ["wild"]
    assert "diverged" in said["failed"][0]["failed"]
    assert {row["recipe"] for row in said["summary"]} == {"frozen"}
    assert "diverged" in (tmp_path / "b" / "benchmark.html").read_text()
    assert list(pd.read_csv(tmp_path / "b" / "runs.csv")["recipe"]) == ["frozen", "wild"]


def test_a_killed_benchmark_goes_on(shells_folder, tmp_path) -> None:
    script = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from forametric.evaluation import compare\n"
        "from forametric.embedding.recipe import Recipe\n"
        "real, seen = compare.evaluate, []\n"
        "def evaluate(*a, **k):\n"
        "    seen.append(1); print('evaluated', flush=True)\n"
        "    if sys.argv[3] == 'die' and len(seen) == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(*a, **k)\n"
        "compare.evaluate = evaluate\n"
        f"recipes = [Recipe.load(n, {SMALL!r}) for n in ('frozen', 'softmax')]\n"
        "t = compare.benchmark(Path(sys.argv[1]), Path(sys.argv[2]), recipes, draws=2, unseen=0)\n"
        "assert len(t) == 4\n"
    )
    asked = [sys.executable, "-c", script, str(shells_folder), str(tmp_path / "b")]
    killed = subprocess.run([*asked, "die"], capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    done = subprocess.run([*asked, "go on"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("evaluated") == 3


@pytest.mark.slow
def test_the_papers_protocol_runs_on_look_alikes_of_its_library(tmp_path) -> None:
    write_endless_forams(tmp_path / "portal", most=9)
    imported = forametric("import", tmp_path / "portal", "-o", tmp_path / "library")
    assert imported.returncode == 0, imported.stderr
    done = forametric(
        "benchmark", tmp_path / "library", "--endless-forams", "--recipes", "frozen,softmax",
        "--set", "network.image_size=32", "--set", "tta_views=1", "--set", "epochs=0", "-o", tmp_path / "b",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    runs = pd.read_csv(tmp_path / "b" / "runs.csv")
    draws = ["karaderi-closed", "karaderi-open", *(f"open_{n}" for n in range(1, 6))]
    assert runs["draw"].drop_duplicates().tolist() == draws
    without = runs["unseen_without.matched_accuracy"].notna()
    assert (without == (runs["draw"] == "karaderi-open")).all(), "no. 29 is left out of one set"
    page = (tmp_path / "b" / "benchmark.html").read_text()
    for words in ("as printed, Karaderi et al. 2022", "0.665", "It differs", "without no. 29"):
        assert words in page


def test_the_verb_writes_a_page_with_tables_and_figures(shells_folder, tmp_path) -> None:
    (tmp_path / "mine.toml").write_text('name = "mine"\nabout = ""\nextends = "frozen"')
    done = forametric(
        "benchmark", shells_folder, "--recipes", f"frozen,{tmp_path / 'mine.toml'}",
        "--draws", 2, "--unseen", 2, "--set", "network.image_size=32", "-o", tmp_path / "b", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {(r["recipe"], r["measure"]): r for r in json.loads(done.stdout)["summary"]}
    assert rows["mine", "known.macro_f1"]["difference"] == 0
    folder = tmp_path / "b"
    page = (folder / "benchmark.html").read_text()
    assert page.count("<img") == 5
    assert "http" not in page.replace("http://www.w3.org", "")
    assert len(pd.read_csv(folder / "runs.csv")) == 4
    assert (folder / "table.md").read_text().startswith("| recipe | backbone | known: macro F1")
    specimens = pd.read_csv(
        Path(pd.read_csv(folder / "runs.csv")["folder"][0]) / "results/specimens.csv"
    )
    assert specimens.columns.tolist() == [
        "id", "subset", "taxon", "named", "score", "novelty", "decision",
    ]  # fmt: skip
    wrong = forametric("benchmark", shells_folder, "--recipes", "froozen", "-o", tmp_path / "c")
    assert wrong.returncode == 2
    assert "froozen" in wrong.stderr
    column = forametric(
        "benchmark", shells_folder, "--recipes", "frozen", "--splits", "no", "-o", tmp_path / "d"
    )
    assert column.returncode == 2
    assert "'no'" in column.stderr
    assert not (tmp_path / "d").exists()
    foreign = forametric(
        "benchmark", shells_folder, "--against", "default", "--recipes", "frozen", "-o", folder
    )
    assert foreign.returncode == 2
