"""Benchmarks of real runs: they train, evaluate and report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from forametric.embedding.recipe import Recipe
from forametric.errors import InputError
from forametric.evaluation.benchmark import benchmark
from forametric.simulation.plates import write_endless_forams
from tests.support.cli import forametric

pytestmark = pytest.mark.slow
SMALL = ["network.image_size=32", "tta_views=1", "epochs=0"]


def test_runs_are_measured_and_compared(shells_folder, tmp_path, without_onnx):
    recipes = [Recipe.load(name, SMALL) for name in ("frozen", "softmax+triplet")]
    asked = {"output": tmp_path / "b", "repeats": 2, "held_out_taxa": 1}
    bench = benchmark(shells_folder, recipes, **asked, corruptions=True)
    assert bench.runs["corruptions.relative_accuracy"].between(0, 2).all()
    with pytest.raises(InputError, match="other settings"):
        benchmark(shells_folder, recipes, **asked)
    assert bench.runs["known.macro_f1"].between(0, 1).all()
    assert "unseen.ami" not in bench.runs, "one unseen species is nothing to cluster"
    files = sorted((tmp_path / "b" / "runs").rglob("metrics.json"))
    assert len(files) == 4
    times = [f.stat().st_mtime_ns for f in files]
    again = benchmark(shells_folder, recipes, **asked, corruptions=True)
    assert [f.stat().st_mtime_ns for f in files] == times
    wanted = bench.runs[bench.runs["recipe"] == "softmax+triplet"]["known.accuracy"].mean()
    row = again.table.set_index(["recipe", "measure"]).loc[("softmax+triplet", "known.accuracy")]
    assert row["mean"] == pytest.approx(wanted)


def test_a_recipe_that_diverges_is_reported_and_the_others_continue(
    shells_folder, tmp_path, without_onnx
):
    (tmp_path / "wild.toml").write_text(
        'name = "wild"\nabout = ""\nextends = "default"\nepochs = 1\n'
        "[network]\nneck = 'hidden'\nwhitened_dim = 0\n[optimiser]\nhead_lr = 1e30\nwarmup = 0\n"
    )
    asked = ["benchmark", shells_folder, "--recipes", f"frozen,{tmp_path / 'wild.toml'}"]
    asked += ["--repeats", 1, "--held-out-taxa", 1, "--set", "network.image_size=32"]
    done = forametric(*asked, "-o", tmp_path / "b", "--json")
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    assert [Path(run["folder"]).parent.name for run in said["failed"]] == ["wild"]
    assert "diverged" in said["failed"][0]["failed"]
    assert {row["recipe"] for row in said["summary"]} == {"frozen"}
    assert "diverged" in (tmp_path / "b" / "benchmark.html").read_text()
    assert list(pd.read_csv(tmp_path / "b" / "runs.csv")["recipe"]) == ["frozen", "wild"]


@pytest.mark.process
def test_a_killed_benchmark_resumes(shells_folder, tmp_path):
    script = (
        "import os, signal, sys\n"
        "from forametric.evaluation import benchmark as b\n"
        "from forametric.embedding import network\n"
        "from forametric.embedding.recipe import Recipe\n"
        "def refuse(*a): raise NotImplementedError\n"
        "network.export_onnx = refuse\n"
        "real, seen = b.evaluate, []\n"
        "def evaluate(*a, **k):\n"
        "    seen.append(1); print('evaluated', flush=True)\n"
        "    if sys.argv[3] == 'die' and len(seen) == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(*a, **k)\n"
        "b.evaluate = evaluate\n"
        f"recipes = [Recipe.load(n, {SMALL!r}) for n in ('frozen', 'softmax')]\n"
        "t = b.benchmark(sys.argv[1], recipes, output=sys.argv[2], repeats=2, held_out_taxa=0)\n"
        "assert len(t) == 4\n"
    )
    asked = [sys.executable, "-c", script, str(shells_folder), str(tmp_path / "b")]
    killed = subprocess.run([*asked, "die"], capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    done = subprocess.run([*asked, "resume"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("evaluated") == 3


def test_the_papers_protocol_runs_on_look_alikes_of_its_library(tmp_path, without_onnx):
    """One recipe on all seven splits; comparing recipes is tested above."""
    write_endless_forams(tmp_path / "portal", most=5)
    imported = forametric("import", tmp_path / "portal", "-o", tmp_path / "library")
    assert imported.returncode == 0, imported.stderr
    done = forametric(
        "benchmark", tmp_path / "library", "--endless-forams", "--recipes", "frozen",
        *(word for setting in SMALL for word in ("--set", setting)), "-o", tmp_path / "b",
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


def test_the_verb_writes_a_page_with_tables_and_figures(shells_folder, tmp_path, without_onnx):
    (tmp_path / "mine.toml").write_text('name = "mine"\nabout = ""\nextends = "frozen"')
    done = forametric(
        "benchmark", shells_folder, "--recipes", f"frozen,{tmp_path / 'mine.toml'}",
        "--repeats", 2, "--held-out-taxa", 2, "--set", "network.image_size=32",
        "-o", tmp_path / "b", "--json",
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
