"""The report: one self-contained HTML page with figures, tables and images of specimens."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from forametric import metrics
from forametric._typing import BoolArray, FloatArray, IntArray, NameArray
from forametric.analysis.morphospace import Morphospace
from forametric.data.collection import Collection
from forametric.data.thumbnails import thumbnail_url
from forametric.evaluation.predictions import Predictions
from forametric.evaluation.robustness import corruption_figure
from forametric.identification.references import ReferenceSet
from forametric.images import load_image, load_images
from forametric.images.contact_sheet import THUMBNAIL
from forametric.model.model import Model
from forametric.utils.html import data_url, write_page
from forametric.utils.text import literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLES = 12


def write_report(
    folder: Path,
    result: dict[str, Any],
    predictions: Predictions,
    model: Model,
    collection: Collection,
    corrupted: pd.DataFrame | None = None,
) -> None:
    """Write `report.html`, `species.csv`, `confusion.csv` and `morphospace.png` into `folder`."""
    references, test = model.references, predictions.part("test")
    truth, named = predictions.taxa[test].astype(str), predictions.named[test].astype(str)
    taxa, counts = _confusion(predictions)
    pd.DataFrame(counts, index=taxa, columns=taxa).to_csv(folder / "confusion.csv")
    species = per_taxon(predictions, references.taxa)
    species.to_csv(folder / "species.csv", index=False)
    shown = np.r_[test, predictions.part("unseen")]
    _draw_morphospace(folder / "morphospace.png", collection, predictions, shown)
    wrong, right = np.flatnonzero(truth != named), np.flatnonzero(truth == named)
    confidence = predictions.scores[test].max(1)
    examples = _Examples(collection, predictions, references)
    write_page(
        folder / "report.html",
        "report.html",
        result=result,
        title=f"{result['model']['recipe']} on {result['data']['collection']}",
        species=species.to_dict("records"),
        confusion=_figure_url(_confusion_figure(counts, taxa)),
        reliability=_figure_url(_reliability_figure(confidence, truth == named)),
        bars=_figure_url(_bars_figure(species)),
        morphospace=data_url((folder / "morphospace.png").read_bytes(), "png"),
        wrong=examples.of(test[wrong[:EXAMPLES]]),
        right=examples.of(test[_spread(right, truth, EXAMPLES // 2)]),
        corrupted=[] if corrupted is None else _by_corruption(corrupted),
        corruption_sheet="" if corrupted is None else _sheet_url(model, predictions, collection),
    )


def per_taxon(predictions: Predictions, references: NameArray) -> pd.DataFrame:
    """Precision, recall and F1 of each taxon, with its numbers of references and test."""
    taxa, counts = _confusion(predictions)
    hits, given, real = counts.diagonal(), counts.sum(0), counts.sum(1)
    n_references = pd.Series(references).value_counts()
    with np.errstate(invalid="ignore", divide="ignore"):
        table = pd.DataFrame(
            {
                "taxon": taxa,
                "references": [int(n_references.get(t, 0)) for t in taxa],
                "test": real,
                "precision": np.nan_to_num(hits / given),
                "recall": np.nan_to_num(hits / real),
                "f1": np.nan_to_num(2 * hits / (given + real)),
            }
        )
    confused = counts - np.diag(hits)
    table["most_confused_with"] = [taxa[row.argmax()] if row.any() else "" for row in confused]
    return table


def _confusion(predictions: Predictions) -> tuple[list[str], IntArray]:
    test = predictions.part("test")
    truth, named = predictions.taxa[test].astype(str), predictions.named[test].astype(str)
    taxa = sorted(set(truth) | set(named))
    return taxa, metrics.confusion(truth, named, taxa)


def _draw_morphospace(
    path: Path, collection: Collection, predictions: Predictions, shown: IntArray
) -> None:
    space = Morphospace().fit(predictions.embeddings.vectors[shown])
    unseen = predictions.subsets[shown] == "unseen"
    names = [
        f"{taxon} (unseen)" if new else str(taxon)
        for taxon, new in zip(predictions.taxa[shown], unseen, strict=True)
    ]
    rows = predictions.rows[shown]
    space.plot(
        path,
        color=names,
        images=lambda i: load_image(collection.path(int(rows[i])), THUMBNAIL),
        title="Morphospace of held-out specimens",
    )


class _Examples:
    """Specimens for the page, each with its five nearest references and their images."""

    def __init__(
        self, collection: Collection, predictions: Predictions, references: ReferenceSet
    ) -> None:
        self.collection, self.predictions, self.references = collection, predictions, references
        self.row_of = {str(i): row for row, i in enumerate(collection.specimens["id"])}

    def of(self, positions: IntArray) -> list[dict[str, Any]]:
        """What the page shows of these specimens."""
        if not len(positions):
            return []
        vectors = self.predictions.embeddings.vectors[positions]
        distances, nearest = self.references.kneighbors(vectors)
        return [
            {
                "image": thumbnail_url(self.collection, int(self.predictions.rows[position])),
                "truth": self.predictions.taxa[position],
                "named": self.predictions.named[position],
                "neighbors": [self._reference(int(r), d) for r, d in zip(rows, far, strict=True)],
            }
            for position, rows, far in zip(positions, nearest, distances, strict=True)
        ]

    def _reference(self, row: int, distance: float) -> dict[str, str]:
        return {
            "image": thumbnail_url(self.collection, self.row_of.get(self.references.ids[row])),
            "taxon": str(self.references.taxa[row]),
            "distance": f"{distance:.2f}",
        }


def _spread(rows: IntArray, truth: NameArray, count: int) -> IntArray:
    """One specimen of each of `count` taxa, evenly over the alphabet."""
    first = pd.Series(rows).groupby(truth[rows]).first().to_numpy()
    return (
        first[np.linspace(0, len(first) - 1, min(count, len(first))).astype(int)]
        if len(first)
        else rows
    )


def _confusion_figure(counts: IntArray, taxa: list[str]) -> Figure:
    from forametric.utils.figures import NotebookFigure

    side = max(5.0, 0.2 * len(taxa) + 2.5)
    figure = NotebookFigure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="magma_r", vmin=0, vmax=1)
    names = [literal(taxon) for taxon in taxa]
    axes.set_xticks(range(len(taxa)), names, rotation=90, fontsize=7, style="italic")
    axes.set_yticks(range(len(taxa)), names, fontsize=7, style="italic")
    axes.set_xlabel("named")
    axes.set_ylabel("true")
    figure.colorbar(image, ax=axes, shrink=0.5, label="share of the true species")
    return figure


def _bars_figure(species: pd.DataFrame) -> Figure:
    from forametric.utils.figures import NotebookFigure

    table = species[species["test"] > 0].sort_values("f1")
    figure = NotebookFigure(figsize=(8, 0.18 * len(table) + 1.2), layout="constrained")
    axes = figure.subplots()
    axes.barh(range(len(table)), table["f1"], color="#2f6f9f")
    names = [literal(taxon) for taxon in table["taxon"]]
    axes.set_yticks(range(len(table)), names, fontsize=7, style="italic")
    axes.set_xlim(0, 1)
    axes.margins(y=0.01)
    axes.set_xlabel("F1 on held-out specimens")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def _reliability_figure(confidence: FloatArray, right: BoolArray) -> Figure:
    """Left the reliability diagram, right the accuracy of the most confident names."""
    from forametric.utils.figures import NotebookFigure

    figure = NotebookFigure(figsize=(9, 4), layout="constrained")
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
    other.set(
        xlabel="share of specimens named, the most confident first", ylabel="accuracy of those"
    )
    other.set(xlim=(0, 1.02), ylim=(min(0.9, right.mean()) - 0.02, 1.005))
    for axes in (left, other):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _by_corruption(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A row for the images as they are, and one for each corruption, with its three strengths."""
    columns = [c for c in ("accuracy", "ece", "wrong_of_accepted") if c in table]
    return [
        {"corruption": name, **{c: part[c].tolist() for c in columns}}
        for name, part in table.groupby("corruption", sort=False)
    ]


def _sheet_url(model: Model, predictions: Predictions, collection: Collection) -> str:
    """Two test specimens, as they are and under every corruption."""
    rows = predictions.rows[predictions.part("test")]
    shown = [collection.path(int(row)) for row in (rows[0], rows[len(rows) // 2])]
    images, _, _ = load_images(shown, model.embedder.image_size, progress="")
    return _figure_url(corruption_figure(images))


def _figure_url(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return data_url(buffer.getvalue(), "png")
