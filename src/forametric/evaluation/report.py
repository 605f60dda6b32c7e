"""The report: one self-contained HTML page with figures, tables and pictures of shells."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from forametric import metrics
from forametric.collection import Collection
from forametric.embedder import Embedder
from forametric.images import load_square
from forametric.morphospace import Morphospace
from forametric.page import THUMB, data_url, thumbnail_url, write_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from forametric.evaluation.protocol import Evaluated

EXAMPLES = 12


def write_report(
    folder: Path,
    model: Embedder,
    collection: Collection,
    held_out: Evaluated,
    result: dict[str, Any],
) -> None:
    """Write `report.html`, `species.csv`, `confusion.csv` and `morphospace.png` into `folder`."""
    test = held_out.part("test")
    truth = held_out.taxa[test].astype(str)
    named = named_by(model, held_out, test)
    taxa = sorted(set(truth) | set(named))
    counts = metrics.confusion(truth, named, taxa)
    pd.DataFrame(counts, index=taxa, columns=taxa).to_csv(folder / "confusion.csv")
    species = per_species(counts, taxa, model.gallery.taxa)
    species.to_csv(folder / "species.csv", index=False)
    drawn = np.r_[test, held_out.part("unseen")]
    _draw_morphospace(folder / "morphospace.png", collection, held_out, drawn)
    wrong, right = np.flatnonzero(truth != named), np.flatnonzero(truth == named)
    write_page(
        folder / "report.html",
        "report.html",
        result=result,
        title=f"{result['model']['recipe']} on {result['data']['collection']}",
        species=species.to_dict("records"),
        confusion=_figure_url(_confusion_figure(counts, taxa)),
        reliability=_figure_url(_reliability_figure(held_out.scores[test].max(1), truth == named)),
        bars=_figure_url(_bars_figure(species)),
        morphospace=data_url((folder / "morphospace.png").read_bytes(), "png"),
        wrong=_examples(model, collection, held_out, test[wrong[:EXAMPLES]]),
        right=_examples(model, collection, held_out, test[_spread(right, truth, EXAMPLES // 2)]),
    )


def named_by(
    model: Embedder, held_out: Evaluated, positions: npt.NDArray[np.int64]
) -> npt.NDArray[np.str_]:
    """The names that identification gives to these held-out specimens."""
    best = held_out.scores[positions].argmax(1)
    return np.array([model.gallery.classes_[i] for i in best], dtype=np.str_)


def per_species(
    counts: npt.NDArray[np.int64], taxa: list[str], gallery: npt.NDArray[np.object_]
) -> pd.DataFrame:
    """Precision, recall and F1 of each taxon, with its numbers in gallery and test."""
    hits, given, real = counts.diagonal(), counts.sum(0), counts.sum(1)
    references = pd.Series(gallery).value_counts()
    with np.errstate(invalid="ignore", divide="ignore"):
        table = pd.DataFrame(
            {
                "taxon": taxa,
                "gallery": [int(references.get(t, 0)) for t in taxa],
                "test": real,
                "precision": np.nan_to_num(hits / given),
                "recall": np.nan_to_num(hits / real),
                "f1": np.nan_to_num(2 * hits / (given + real)),
            }
        )
    confused = counts - np.diag(hits)
    table["most_confused_with"] = [taxa[row.argmax()] if row.any() else "" for row in confused]
    return table


def _draw_morphospace(
    path: Path, collection: Collection, held_out: Evaluated, drawn: npt.NDArray[np.int64]
) -> None:
    space = Morphospace.fit(held_out.vectors[drawn])
    unseen = held_out.roles[drawn] == "unseen"
    taxa = [
        t + " (unseen)" if u else str(t) for t, u in zip(held_out.taxa[drawn], unseen, strict=True)
    ]
    space.plot(
        path,
        taxa,
        lambda i: load_square(collection.path(held_out.rows[drawn[i]]), THUMB),
        title="Morphospace of held-out specimens",
    )


def _examples(
    model: Embedder, collection: Collection, held_out: Evaluated, positions: npt.NDArray[np.int64]
) -> list[dict[str, Any]]:
    """For each specimen its picture, its names and its five nearest references with theirs."""
    if not len(positions):
        return []
    place = {str(i): row for row, i in enumerate(collection.specimens["id"])}
    distances, nearest = model.gallery.nearest(held_out.vectors[positions])
    named = named_by(model, held_out, positions)
    examples = []
    for position, name, rows, far in zip(positions, named, nearest, distances, strict=True):
        examples.append(
            {
                "picture": thumbnail_url(collection, int(held_out.rows[position])),
                "truth": held_out.taxa[position],
                "named": name,
                "neighbours": [
                    {
                        "picture": thumbnail_url(collection, place.get(model.gallery.ids[row])),
                        "taxon": model.gallery.taxa[row],
                        "distance": f"{d:.2f}",
                    }
                    for row, d in zip(rows, far, strict=True)
                ],
            }
        )
    return examples


def _spread(
    rows: npt.NDArray[np.int64], truth: npt.NDArray[Any], count: int
) -> npt.NDArray[np.int64]:
    """One specimen of each of `count` taxa, evenly over the alphabet."""
    first = pd.Series(rows).groupby(truth[rows]).first().to_numpy()
    return (
        first[np.linspace(0, len(first) - 1, min(count, len(first))).astype(int)]
        if len(first)
        else rows
    )


def _confusion_figure(counts: npt.NDArray[np.int64], taxa: list[str]) -> Figure:
    from matplotlib.figure import Figure

    side = max(5.0, 0.2 * len(taxa) + 2.5)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="magma_r", vmin=0, vmax=1)
    axes.set_xticks(range(len(taxa)), taxa, rotation=90, fontsize=7, style="italic")
    axes.set_yticks(range(len(taxa)), taxa, fontsize=7, style="italic")
    axes.set_xlabel("named")
    axes.set_ylabel("true")
    figure.colorbar(image, ax=axes, shrink=0.5, label="share of the true species")
    return figure


def _bars_figure(species: pd.DataFrame) -> Figure:
    from matplotlib.figure import Figure

    table = species[species["test"] > 0].sort_values("f1")
    figure = Figure(figsize=(8, 0.18 * len(table) + 1.2), layout="constrained")
    axes = figure.subplots()
    axes.barh(table["taxon"], table["f1"], color="#2f6f9f")
    axes.set_xlim(0, 1)
    axes.margins(y=0.01)
    axes.tick_params(axis="y", labelsize=7)
    for label in axes.get_yticklabels():
        label.set_fontstyle("italic")
    axes.set_xlabel("F1 on held-out specimens")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def _reliability_figure(
    confidence: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]
) -> Figure:
    """Left the reliability diagram, right the accuracy of the surest names."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, other = figure.subplots(1, 2)
    mean, hits, counts = metrics.reliability(confidence, right, 10)
    error = 1.96 * np.sqrt(np.maximum(hits * (1 - hits), 0.25 / counts) / counts)
    left.plot([0, 1], [0, 1], color="#b4b8bf", lw=1)
    left.errorbar(mean, hits, np.minimum(error, 1), fmt="o", color="#2f6f9f", ms=5, lw=1)
    left.set(xlabel="probability of the name", ylabel="share of right names")
    left.set(xlim=(0, 1.02), ylim=(0, 1.02))
    ranked = right[np.argsort(-confidence, kind="stable")]
    taken = np.arange(1, len(ranked) + 1)
    other.plot(taken / len(ranked), np.cumsum(ranked) / taken, color="#2f6f9f")
    other.set(xlabel="share of specimens named, the surest first", ylabel="accuracy of those")
    other.set(xlim=(0, 1.02), ylim=(min(0.9, right.mean()) - 0.02, 1.005))
    for axes in (left, other):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _figure_url(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return data_url(buffer.getvalue(), "png")
