"""The tables of a benchmark's runs for the results page, and the small files behind them.

python experiments/tables.py BENCH --recipe default -o experiments/results/pollen

BENCH is a folder of `forametric benchmark`, or its unfinished folder. FOLDER gets
`RECIPE/DRAW-SEED` with metrics.json, species.csv and corruptions.csv of each run, and
`RECIPE.md` with two tables: every measure for each draw (seeds averaged; the mean over the draws
with the half-width of its 95 % interval, Student's t), and the corrupted images.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from forametric.evaluation.statistics import mean_interval

FILES = ("metrics.json", "species.csv", "corruptions.csv")
ROWS = {
    "known.macro_f1": "known: macro F1",
    "known.accuracy": "known: accuracy",
    "calibration.ece": "expected calibration error",
    "calibration.ece_if_perfect": "the same, if the probabilities were perfect",
    "calibration.log_loss": "log loss of the names",
    "calibration.sets_95%.coverage": "coverage of 95 % sets",
    "calibration.sets_95%.mean_size": "mean size of these sets",
    "unseen.matched_accuracy": "unseen: matched accuracy, number given",
    "unseen.ami": "unseen: AMI, number given",
    "unseen.estimated.matched_accuracy": "unseen: matched accuracy, number estimated",
    "unseen.estimated.ami": "unseen: AMI, number estimated",
    "unseen.estimated.clusters": "number estimated",
    "unseen.recall_at_1": "unseen: recall at 1",
    "open_set.auroc": "unseen against known: AUROC",
    "open_set.fpr95": "unseen against known: FPR at 95 %",
    "open_set.oscr": "unseen against known: OSCR",
    "open_set.test_decisions.accepted": "known specimens that are accepted",
    "open_set.unseen_decisions.accepted": "unseen specimens accepted under a known name",
    "open_set.accepted_at_ccr90": "the same where 90 % of the known are accepted correctly",
    "open_set.distractor_auroc": "no taxon against known: AUROC",
    "open_set.distractor_decisions.accepted": "images of no taxon accepted under a known name",
    "open_set.wrong_of_accepted_known": "wrong among accepted names of known taxa",
    "open_set.wrong_of_accepted_all": "wrong among all accepted names of these images",
    "corruptions.relative_accuracy": "corrupted images: accuracy over that of clean ones",
    "corruptions.mean_ece": "corrupted images: calibration error",
    "corruptions.mean_wrong_of_accepted": "corrupted images: wrong among accepted names",
    "model.training_seconds": "training, s",
}


def collect(bench: Path, recipe: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The flattened metrics of each run, and its corrupted scores, with columns draw and seed."""
    runs, corrupted = [], []
    for folder in sorted((bench / "runs" / recipe).iterdir()):
        results = folder / "results"
        if not (results / "metrics.json").is_file():
            continue
        draw, seed = folder.name.rsplit("-", 1)
        metrics = json.loads((results / "metrics.json").read_text())
        flat = pd.json_normalize(metrics).iloc[0].to_dict()
        runs.append({"draw": draw, "seed": int(seed), **flat})
        if (results / "corruptions.csv").is_file():
            table = pd.read_csv(results / "corruptions.csv")
            corrupted.append(table.assign(draw=draw, seed=int(seed)))
    return pd.DataFrame(runs), pd.concat(corrupted) if corrupted else pd.DataFrame()


def measures_table(runs: pd.DataFrame) -> str:
    """Markdown: a row for each measure, a column for each draw, and the mean."""
    means = runs.groupby("draw")[[name for name in ROWS if name in runs]].mean()
    lines = ["| | " + " | ".join(means.index) + " | mean |", "|---" * (len(means) + 2) + "|"]
    for name in means:
        values = means[name].to_numpy(float)
        if not np.isfinite(values).any():
            continue
        digits = {"model.training_seconds": 0, "unseen.estimated.clusters": 1}.get(str(name), 3)
        mean, half = mean_interval(values)
        shown = [f"{value:.{digits}f}" if np.isfinite(value) else "" for value in values]
        together = f"**{mean:.{digits}f}**" + (
            f" ± {half:.3f}" if digits == 3 and half == half else ""
        )
        lines.append(f"| {ROWS[str(name)]} | " + " | ".join(shown) + f" | {together} |")
    return "\n".join(lines)


def corruptions_table(corrupted: pd.DataFrame) -> str:
    """Markdown: means over the draws for each corruption at three strengths."""
    means = corrupted.groupby(["draw", "corruption", "strength"]).mean(numeric_only=True)
    clean = means.xs("none", level="corruption").droplevel("strength")
    means = means.drop("none", level="corruption")
    means["relative"] = means["accuracy"] / clean["accuracy"].reindex(means.index, level="draw")
    over = means.groupby(["corruption", "strength"])
    found = over.mean().assign(least=over["relative"].min())
    lines = [
        "| | strengths | accuracy over that of clean images (least of the draws) | calibration "
        "error | accepted | wrong among accepted |",
        "|---|---|---|---|---|---|",
    ]
    for corruption in dict.fromkeys(corrupted["corruption"]):
        if corruption == "none":
            continue
        part = found.loc[corruption]

        def listed(column: str, digits: int = 3, part: pd.DataFrame = part) -> str:
            return " / ".join(f"{value:.{digits}f}" for value in part[column])

        values = " / ".join(f"{value:g}" for value in part["value"])
        relative = " / ".join(
            f"{mean:.3f} ({least:.2f})"
            for mean, least in zip(part["relative"], part["least"], strict=True)
        )
        lines.append(
            f"| {corruption} | {values} | {relative} | {listed('ece')} | {listed('accepted', 2)} | "
            f"{listed('wrong_of_accepted')} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench", type=Path)
    parser.add_argument("--recipe", default="default")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    runs, corrupted = collect(arguments.bench, arguments.recipe)
    for draw, seed in zip(runs["draw"], runs["seed"], strict=True):
        source = arguments.bench / "runs" / arguments.recipe / f"{draw}-{seed}" / "results"
        target = arguments.output / arguments.recipe / f"{draw}-{seed}"
        target.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, target / name)
    seeds = ", ".join(f"{draw}: {n}" for draw, n in runs["draw"].value_counts(sort=False).items())
    text = f"Seeds of each draw: {seeds}.\n\n{measures_table(runs)}\n"
    if len(corrupted):
        text += f"\n{corruptions_table(corrupted)}\n"
    (arguments.output / f"{arguments.recipe}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
