"""The page of a benchmark: one table, and the figures that a table does not show."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from forametric.evaluation.compare import MEASURES, hardware, measured, summary
from forametric.evaluation.statistics import mean_interval
from forametric.page import data_url, write_page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Karaderi et al. 2022, abstract: withheld test, and unseen species.
PAPER = {
    "known.accuracy": 0.92,
    "known.macro_f1": 0.84,
    "unseen.matched_accuracy": 0.665,
    "unseen.matched_macro_f1": 0.70,
}
DIFFERS = (
    "The last column is what Karaderi et al. 2022 print, with ResNet50 at 224 px. It differs: "
    "their checkpoint was chosen by its accuracy on the test images, which were augmented; "
    "their unseen species are nine rare ones and no. 29, which alone is nine tenths of the "
    "images; how they matched clusters with species is not stated. So it is no "
    "part of this experiment."
)


def write_comparison(
    table: pd.DataFrame, folder: Path, against: str, *, with_paper: bool = False
) -> pd.DataFrame:
    """Write `summary.csv`, `table.md`, `benchmark.html` and its figures into the folder."""
    found = summary(table, against)
    found.to_csv(folder / "summary.csv", index=False)
    measures = measured(table)
    rows = [_row(str(r), part, against) for r, part in found.groupby("recipe", sort=False)]
    paper = {"recipe": "as printed, Karaderi et al. 2022", "backbone": "resnet50"}
    cells = [f"{PAPER[m]:.3f}" if m in PAPER else "" for m in measures]
    (folder / "table.md").write_text(_markdown(rows, measures), encoding="utf-8")
    figures = [
        {"title": title, "words": words, "picture": _saved(draw(table, against), folder / file)}
        for file, title, words, draw in FIGURES
    ]
    write_page(
        folder / "benchmark.html",
        "benchmark.html",
        title="Recipes compared",
        draws=table["draw"].nunique(),
        splits=", ".join(table["draw"].unique()),
        seeds=table["seed"].nunique(),
        hardware=hardware(),
        against=against,
        measures=[MEASURES[m] for m in measures],
        rows=rows,
        paper=[{**paper, "cells": cells}] if with_paper else [],
        differs=DIFFERS,
        figures=figures,
    )
    return found


def _row(recipe: str, part: pd.DataFrame, against: str) -> dict[str, Any]:
    cells = []
    for row in part.itertuples():
        seconds = not str(row.measure).startswith(("known", "unseen", "unknown"))
        digits = 0 if seconds else 3
        value, half, gain, p = (float(str(v)) for v in (row.mean, row.half, row.difference, row.p))
        cell = {"value": "" if np.isnan(value) else f"{value:.{digits}f}", "interval": ""}
        if not np.isnan(half):
            cell["interval"] = f"± {half:.{digits}f}"
        if recipe != against and not seconds and not np.isnan(gain):
            cell["difference"] = f"{gain:+.3f}" + ("" if np.isnan(p) else f" (p {_p(p)})")
            cell["colour"] = "quiet" if np.isnan(p) or p > 0.05 else ("good" if gain > 0 else "bad")
        cells.append(cell)
    return {"recipe": recipe, "backbone": part["backbone"].iloc[0], "cells": cells}


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _markdown(rows: list[dict[str, Any]], measures: list[str]) -> str:
    lines = [["recipe", "backbone", *(MEASURES[m] for m in measures)]]
    lines += [["---"] * len(lines[0])]
    for row in rows:
        written = [f"{c['value']} {c['interval']}".strip() for c in row["cells"]]
        lines.append([row["recipe"], row["backbone"], *written])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _against_time(table: pd.DataFrame, against: str) -> Figure:
    figure, axis = _axes()
    for colour, (recipe, part) in enumerate(table.groupby("recipe", sort=False)):
        mean, half = mean_interval(part["known.macro_f1"].to_numpy(float))
        minutes = part["training_seconds"].mean() / 60
        bar = None if np.isnan(half) else half
        axis.errorbar(minutes, mean, bar, fmt="o", color=f"C{colour}", capsize=3)
        axis.annotate(str(recipe), (minutes, mean), (6, 4), textcoords="offset points", fontsize=9)
    axis.set_xscale("symlog", linthresh=0.1)
    axis.set_xlim(left=0)
    axis.set_xlabel("training, minutes")
    axis.set_ylabel("known species: macro F1")
    return figure


def _tail(table: pd.DataFrame, against: str) -> Figure:
    """F1 of each species against its references, the recipes' means in bins of counts."""
    figure, axis = _axes()
    edges = np.array([4, 8, 16, 32, 64, 128, 512])
    for colour, (recipe, part) in enumerate(table.groupby("recipe", sort=False)):
        files = [Path(folder) / "results" / "species.csv" for folder in part["folder"]]
        species = pd.concat([pd.read_csv(file) for file in files])
        species = species[species["test"] > 0]
        bins = np.searchsorted(edges, species["gallery"])
        means = species.groupby(bins)[["gallery", "f1"]].mean()
        axis.plot(means["gallery"], means["f1"], "o-", color=f"C{colour}", label=str(recipe))
    axis.set_xscale("log")
    axis.set_xlabel("reference specimens of the species")
    axis.set_ylabel("F1, mean over species")
    axis.legend(fontsize=9)
    return figure


def _clusters(table: pd.DataFrame, against: str) -> Figure:
    figure, axis = _axes()
    wanted = ["unseen.matched_accuracy", "unseen.ami", "unseen.estimated.ami"]
    wanted = [m for m in wanted if m in table]
    recipes = list(table["recipe"].unique())
    for offset, measure in enumerate(wanted):
        values = [table[measure][table["recipe"] == r].to_numpy(float) for r in recipes]
        means, halves = np.array([mean_interval(v) for v in values]).T
        places = np.arange(len(recipes)) + 0.25 * (offset - 1)
        axis.bar(places, means, 0.24, yerr=np.nan_to_num(halves), label=MEASURES[measure])
    axis.set_xticks(range(len(recipes)), recipes, rotation=20, ha="right")
    axis.set_ylim(0, 1)
    if wanted:
        axis.legend(fontsize=9)
    return figure


def _roc(table: pd.DataFrame, against: str) -> Figure:
    figure, axis = _axes()
    grid = np.linspace(0, 1, 201)
    for colour, (recipe, part) in enumerate(table.groupby("recipe", sort=False)):
        curves = []
        for specimens in _specimens(part):
            judged = specimens[specimens["role"].isin(["test", "unseen"])]
            strange = judged["role"] == "unseen"
            if strange.any() and not strange.all():
                false, true, _ = roc_curve(strange, judged["novelty"])
                curves.append(np.interp(grid, false, true))
        if curves:
            axis.plot(grid, np.mean(curves, axis=0), color=f"C{colour}", label=str(recipe))
    axis.set_xlabel("known specimens called strange")
    axis.set_ylabel("unseen specimens called strange")
    if axis.lines:
        axis.legend(fontsize=9)
    return figure


def _coverage(table: pd.DataFrame, against: str) -> Figure:
    figure, axis = _axes()
    shares = np.linspace(0.2, 1, 81)
    for colour, (recipe, part) in enumerate(table.groupby("recipe", sort=False)):
        curves = []
        for specimens in _specimens(part):
            test = specimens[specimens["role"] == "test"].sort_values("score", ascending=False)
            right = (test["taxon"] == test["named"]).to_numpy(float)
            taken = np.maximum(1, np.round(shares * len(right)).astype(int))
            curves.append(np.cumsum(right)[taken - 1] / taken)
        axis.plot(shares, np.mean(curves, axis=0), color=f"C{colour}", label=str(recipe))
    axis.set_xlabel("share of specimens named, the surest first")
    axis.set_ylabel("accuracy of those")
    axis.legend(fontsize=9)
    return figure


def _specimens(part: pd.DataFrame) -> list[pd.DataFrame]:
    files = [Path(folder) / "results" / "specimens.csv" for folder in part["folder"]]
    return [pd.read_csv(file, keep_default_na=False) for file in files]


FIGURES = (
    (
        "time.png",
        "Accuracy against time",
        "Macro F1 of the known species and the time the training took, with 95 % intervals.",
        _against_time,
    ),
    (
        "tail.png",
        "Rare species",
        "Mean F1 of the species by how many references they have.",
        _tail,
    ),
    (
        "clusters.png",
        "Species never seen in training",
        "How well Ward clusters match them, with their true number given and with it estimated.",
        _clusters,
    ),
    (
        "roc.png",
        "Known or not",
        "How many specimens of unseen species the distance to the references tells as strange, for "
        "each share of known ones that it wrongly does; mean over the runs.",
        _roc,
    ),
    (
        "coverage.png",
        "Accuracy at coverage",
        "Accuracy when only the surest names are given and the others are left to an expert.",
        _coverage,
    ),
)


def _axes() -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.6), dpi=110, layout="constrained")
    axis = figure.add_subplot()
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    return figure, axis


def _saved(figure: Figure, path: Path) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    path.write_bytes(buffer.getvalue())
    return data_url(buffer.getvalue(), "png")
