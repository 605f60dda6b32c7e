"""How well a model does on images as other microscopes would take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from forametric import metrics
from forametric._typing import IntArray, Pixels
from forametric.data.collection import Collection
from forametric.data.embeddings import Embeddings
from forametric.evaluation.corruptions import CORRUPTIONS, Corruption
from forametric.evaluation.predictions import Predictions, predictions_of
from forametric.identification.identifier import ACCEPTED
from forametric.images import load_images
from forametric.model.model import Model
from forametric.utils.progress import bar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = {"test": 300, "unseen": 150}  # specimens of each subset that are corrupted
CLEAN = "none"


def corrupted_scores(
    model: Model,
    predictions: Predictions,
    collection: Collection,
    corruptions: Sequence[Corruption] = CORRUPTIONS,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Identify corrupted images of held-out specimens, at every strength of every corruption.

    At most 300 test specimens and 150 of unseen species, drawn by seed, are corrupted.

    Returns
    -------
    DataFrame
        corruption, strength (1 to 3), value (in the unit of the corruption); accuracy; and, of a
        calibrated model, ece, accepted (share of the test specimens) and wrong_of_accepted;
        unseen_auroc where there are unseen species. The first row, `none` and 0, is of the same
        specimens as they are.
    """
    rows = np.concatenate([_drawn(predictions.part(s), most, seed) for s, most in MOST.items()])
    paths = [collection.path(int(row)) for row in predictions.rows[rows]]
    images, readable, _ = load_images(paths, model.embedder.image_size, progress="")
    rows = rows[readable]
    tried = [(c, n, value) for c in corruptions for n, value in enumerate(c.strengths, 1)]
    table = [{"corruption": CLEAN, "strength": 0, **_scores(model, images, predictions, rows)}]
    with bar("corrupting images", len(tried)) as advance:
        for corruption, strength, value in tried:
            changed = corruption(images, value, seed)
            scores = _scores(model, changed, predictions, rows)
            known = {"corruption": corruption.name, "strength": strength, "value": value}
            table.append(known | scores)
            advance(1)
    return pd.DataFrame(table)


def summarise_corruptions(table: pd.DataFrame) -> dict[str, Any]:
    """The figures of `corrupted_scores` as they are in `metrics.json`.

    Returns
    -------
    dict
        relative_accuracy: the mean accuracy over all corruptions and strengths, divided by that
        on the same specimens as they are. mean_ece and mean_wrong_of_accepted, where the model is
        calibrated. by_corruption: the relative accuracy at each strength.
    """
    clean = table[table["corruption"] == CLEAN].iloc[0]
    tried = table[table["corruption"] != CLEAN]
    relative = tried["accuracy"] / max(float(clean["accuracy"]), 1e-12)
    by = relative.groupby(tried["corruption"], sort=False)
    result: dict[str, Any] = {
        "relative_accuracy": float(relative.mean()),
        "by_corruption": {str(name): part.round(4).tolist() for name, part in by},
    }
    for name in ("ece", "wrong_of_accepted"):
        if name in tried:
            result[f"mean_{name}"] = float(tried[name].mean())
    return result


def corruption_figure(images: Pixels, corruptions: Sequence[Corruption] = CORRUPTIONS) -> Figure:
    """Images as they are, and under each corruption at its three strengths."""
    from forametric.utils.figures import NotebookFigure

    plain = np.concatenate(images, axis=1)
    figure = NotebookFigure(figsize=(9, 1.15 * len(corruptions)), layout="constrained")
    axes = figure.subplots(len(corruptions), 1 + len(corruptions[0].strengths), squeeze=False)
    for corruption, row in zip(corruptions, axes, strict=True):
        row[0].set_ylabel(corruption.name, rotation=0, ha="right", va="center", fontsize=8)
        row[0].imshow(plain)
        for value, axis in zip(corruption.strengths, row[1:], strict=True):
            axis.imshow(np.concatenate(corruption(images, value), axis=1))
            axis.set_title(f"{value:g}", fontsize=7, pad=2)
        row[-1].set_xlabel(corruption.unit, fontsize=7)
        for axis in row:
            axis.set_xticks([])
            axis.set_yticks([])
    return figure


def _drawn(rows: IntArray, most: int, seed: int) -> IntArray:
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def _scores(
    model: Model, images: Pixels, predictions: Predictions, rows: IntArray
) -> dict[str, float]:
    """The scores of other images of some specimens, in the place of those that were predicted."""
    embeddings = Embeddings.of_vectors(*model.embedder.embed_inputs(images, progress=""))
    found = predictions_of(
        model,
        embeddings,
        predictions.rows[rows],
        predictions.subsets[rows],
        predictions.taxa[rows],
    )
    test, unseen = found.part("test"), found.part("unseen")
    correct = found.correct[test]
    result = {"accuracy": float(correct.mean())}
    if model.calibration is not None:
        accepted = found.decisions[test] == ACCEPTED
        result["ece"] = metrics.calibration_error(found.scores[test].max(1), correct)
        result["accepted"] = float(accepted.mean())
        wrong = float((~correct[accepted]).mean()) if accepted.any() else 0.0
        result["wrong_of_accepted"] = wrong
    if len(unseen):
        result["unseen_auroc"] = metrics.auroc(found.novelty[unseen], found.novelty[test])
    return result
