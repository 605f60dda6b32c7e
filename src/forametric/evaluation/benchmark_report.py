"""The page of a benchmark: one table, and the figures that a table does not show."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from forametric._typing import AnyArray
from forametric.evaluation.measures import MEASURES, digits_of, hardware, measured
from forametric.utils.html import data_url, write_page
from forametric.utils.text import literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


REPORT_FILES = (
    "benchmark.html", "summary.csv", "table.md",
    "time.png", "tail.png", "clusters.png", "roc.png", "coverage.png",
)  # fmt: skip


def write_benchmark_report(
    runs: pd.DataFrame,
    summarised: pd.DataFrame,
    against: str,
    folder: Path,
    printed: Mapping[str, float],
    caveat: str,
) -> Path:
    """Write `benchmark.html`, `summary.csv`, `table.md` and the figures; returns the page.

    Parameters
    ----------
    runs, summarised : DataFrame
        `Benchmark.runs` and `Benchmark.table`.
    folder : Path
        Where the runs are; gets the page.
    printed : mapping of str to float
        Published values of measures, for a last column with `caveat` below the table; may be empty.
    """
    summarised.to_csv(folder / "summary.csv", index=False)
    names = "runs/" + runs["recipe"] + "/" + runs["draw"] + "-" + runs["seed"].astype(str)
    results = [folder / name / "results" for name in names]
    runs = runs.assign(results=pd.Series(results, runs.index, dtype=object))
    table = runs[runs["failed"] == ""]
    measures = measured(table)
    rows = [
        _row(str(recipe), part, against)
        for recipe, part in summarised.groupby("recipe", sort=False)
    ]
    paper = {
        "recipe": "as printed, Karaderi et al. 2022",
        "backbone": "resnet50",
        "cells": [f"{printed[m]:.3f}" if m in printed else "" for m in measures],
    } if printed else None  # fmt: skip
    (folder / "table.md").write_text(_markdown(rows, measures), encoding="utf-8")
    figures = [
        {"title": title, "caption": caption, "image": _save(figure, folder / file)}
        for file, title, caption, figure in _figures(table, summarised)
    ]
    write_page(
        folder / "benchmark.html",
        "benchmark.html",
        title="Recipes compared",
        draws=table["draw"].nunique(),
        splits=", ".join(table["draw"].unique()),
        seeds=table["seed"].nunique(),
        hardware=hardware(),
        failed=runs[runs["failed"] != ""].to_dict("records"),
        against=against,
        measures=[MEASURES[m] for m in measures],
        rows=rows,
        paper=[paper] if paper else [],
        caveat=caveat,
        figures=figures,
    )
    return folder / "benchmark.html"


def _row(recipe: str, part: pd.DataFrame, against: str) -> dict[str, Any]:
    cells = []
    for row in part.itertuples():
        digits = digits_of(str(row.measure))
        value, half, gain, p = (float(str(v)) for v in (row.mean, row.half, row.difference, row.p))
        cell = {"value": "" if np.isnan(value) else f"{value:.{digits}f}", "interval": ""}
        if not np.isnan(half):
            cell["interval"] = f"± {half:.{digits}f}"
        if recipe != against and digits and not np.isnan(gain):
            cell["difference"] = f"{gain:+.3f}" + ("" if np.isnan(p) else f" (p {_p(p)})")
            cell["color"] = "quiet" if np.isnan(p) or p > 0.05 else ("good" if gain > 0 else "bad")
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


def _figures(table: pd.DataFrame, found: pd.DataFrame) -> list[tuple[str, str, str, Figure]]:
    """File, title, caption and figure of each."""
    return [
        (
            "time.png",
            "Accuracy against time",
            "Macro F1 of the known species and the time the training took, with 95 % intervals.",
            _against_time(found),
        ),
        (
            "tail.png",
            "Rare species",
            "Mean F1 of the species by how many references they have.",
            _tail(table),
        ),
        (
            "clusters.png",
            "Species never seen in training",
            "How well clusters match them, with the true and with an estimated number of clusters; "
            "95 % intervals.",
            _clusters(found),
        ),
        (
            "roc.png",
            "Known or not",
            "The share of unseen species' specimens that novelty recognises, for each share of "
            "known specimens that it rejects wrongly; mean over the runs.",
            _roc(table),
        ),
        (
            "coverage.png",
            "Accuracy at coverage",
            "Accuracy when only the most confident names are given and the rest left to an expert; "
            "mean over the runs.",
            _coverage(table),
        ),
    ]


def _against_time(found: pd.DataFrame) -> Figure:
    figure, axis = _axes()
    for color, (recipe, part) in enumerate(found.groupby("recipe", sort=False)):
        of = part.set_index("measure")
        minutes = of["mean"]["training_seconds"] / 60
        mean, half = of["mean"]["known.macro_f1"], np.nan_to_num(of["half"]["known.macro_f1"])
        axis.errorbar(minutes, mean, half, fmt="o", color=f"C{color}", capsize=3)
        axis.annotate(
            literal(recipe), (minutes, mean), (6, 4), textcoords="offset points", fontsize=9
        )
    axis.set_xlim(left=0)
    axis.set_xlabel("training, minutes")
    axis.set_ylabel("known species: macro F1")
    return figure


def _tail(table: pd.DataFrame) -> Figure:
    """F1 of each species against its references, the recipes' means in bins of counts."""
    figure, axis = _axes()
    edges = np.array([4, 8, 16, 32, 64, 128, 512])
    for recipe, part in table.groupby("recipe", sort=False):
        species = pd.concat(_read(part, "species.csv"))
        species = species[species["test"] > 0]
        bins = np.searchsorted(edges, species["references"])
        means = species.groupby(bins)[["references", "f1"]].mean()
        axis.plot(means["references"], means["f1"], "o-", label=literal(recipe))
    axis.set_xscale("log")
    axis.set_xlabel("reference specimens of the species")
    axis.set_ylabel("F1, mean over species")
    axis.legend(fontsize=9)
    return figure


def _clusters(found: pd.DataFrame) -> Figure:
    figure, axis = _axes()
    recipes = list(found["recipe"].unique())
    wanted = ("unseen.matched_accuracy", "unseen.ami", "unseen.estimated.ami")
    for offset, measure in enumerate(m for m in wanted if (found["measure"] == m).any()):
        of = found[found["measure"] == measure].set_index("recipe").loc[recipes]
        places = np.arange(len(recipes)) + 0.25 * (offset - 1)
        axis.bar(places, of["mean"], 0.24, yerr=of["half"].fillna(0), label=MEASURES[measure])
    axis.set_xticks(range(len(recipes)), [literal(r) for r in recipes], rotation=20, ha="right")
    axis.set_ylim(0, 1)
    if axis.containers:
        axis.legend(fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    return figure


def _roc(table: pd.DataFrame) -> Figure:
    shares = np.linspace(0, 1, 201)

    def curve(specimens: pd.DataFrame) -> AnyArray | None:
        judged = specimens[specimens["subset"].isin(["test", "unseen"])]
        unseen = judged["subset"] == "unseen"
        if unseen.all() or not unseen.any():
            return None
        false, true, _ = roc_curve(unseen, judged["novelty"])
        return np.asarray(np.interp(shares, false, true))

    return _mean_curves(
        table, shares, curve, "known specimens rejected", "unseen specimens rejected"
    )


def _coverage(table: pd.DataFrame) -> Figure:
    shares = np.linspace(0.2, 1, 81)

    def curve(specimens: pd.DataFrame) -> AnyArray | None:
        test = specimens[specimens["subset"] == "test"].sort_values("score", ascending=False)
        right = (test["taxon"] == test["named"]).to_numpy(float)
        taken = np.maximum(1, np.round(shares * len(right)).astype(int))
        return np.asarray(np.cumsum(right)[taken - 1] / taken)

    return _mean_curves(
        table,
        shares,
        curve,
        "share of specimens named, the most confident first",
        "accuracy of those",
    )


def _mean_curves(
    table: pd.DataFrame,
    shares: AnyArray,
    curve: Callable[[pd.DataFrame], AnyArray | None],
    across: str,
    up: str,
) -> Figure:
    """For each recipe the mean over its runs of a curve made of the held-out specimens."""
    figure, axis = _axes()
    for recipe, part in table.groupby("recipe", sort=False):
        curves = [c for c in map(curve, _read(part, "specimens.csv")) if c is not None]
        if curves:
            axis.plot(shares, np.mean(curves, axis=0), label=literal(recipe))
    axis.set_xlabel(across)
    axis.set_ylabel(up)
    if axis.lines:
        axis.legend(fontsize=9)
    return figure


def _read(part: pd.DataFrame, name: str) -> list[pd.DataFrame]:
    """A table of the results of each run."""
    files = [results / name for results in part["results"]]
    return [pd.read_csv(file, keep_default_na=False, na_values={"f1": ""}) for file in files]


def _axes() -> tuple[Figure, Axes]:
    from forametric.utils.figures import NotebookFigure

    figure = NotebookFigure(figsize=(8, 4.6), dpi=110, layout="constrained")
    axis = figure.add_subplot()
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    return figure, axis


def _save(figure: Figure, path: Path) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    path.write_bytes(buffer.getvalue())
    return data_url(buffer.getvalue(), "png")
