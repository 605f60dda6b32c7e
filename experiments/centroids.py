"""Whether several centroids of a taxon are better than one, on a model's held-out specimens.

python experiments/centroids.py MODEL COLLECTION --split SPLIT

A taxon of n references gets at most K centroids, and one for every LEAST of them (k-means); a
specimen's distance to the taxon is that to the nearest. The model is calibrated again for each
choice. Use a split made for choosing (robustness.py), not one whose figures are reported.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.metrics import euclidean_distances

from forametric import metrics
from forametric._typing import FloatArray
from forametric.data.collection import Collection
from forametric.data.splits import Split
from forametric.identification.calibration import CalibrationData, fit_calibration
from forametric.identification.references import ReferenceSet
from forametric.model.model import Model

CHOICES = ((1, 1), (2, 30), (2, 15), (3, 30), (3, 15), (4, 30), (8, 30))  # (most, least)


def distances_to_taxa(
    references: ReferenceSet, vectors: FloatArray, most: int, least: int
) -> FloatArray:
    """The squared distance of each vector to each taxon's nearest centroid, (n, taxa)."""
    columns = []
    for rows in references.rows_of.values():
        of = references.vectors[rows]
        k = max(1, min(most, len(of) // least))
        centers = KMeans(k, n_init=10, random_state=0).fit(of).cluster_centers_
        length = np.linalg.norm(of, axis=1).mean()
        centers *= length / np.linalg.norm(centers, axis=1, keepdims=True)
        columns.append(euclidean_distances(vectors, centers, squared=True).min(1))
    return np.stack(columns, 1).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--split", required=True)
    arguments = parser.parse_args()
    collection, model = Collection.open(arguments.collection), Model.load(arguments.model)
    split, references = Split.load(collection, arguments.split), model.references
    names = np.asarray(references.classes_)
    parts = {}
    for subset in ("val", "test", "unseen"):
        embeddings = model.embed(collection.select(split.of(subset)))
        kept = np.isin(embeddings.taxa().astype(str), names) | (subset == "unseen")
        parts[subset] = embeddings[kept]
    truth = {subset: part.taxa().astype(str) for subset, part in parts.items()}
    scores = {subset: model.identifier.class_scores(part) for subset, part in parts.items()}
    rows = []
    for most, least in CHOICES:
        distances = {
            subset: distances_to_taxa(references, part.vectors, most, least)
            for subset, part in parts.items()
        }
        novelty = {
            subset: (references.kneighbors(part.vectors)[0].mean(1) + np.sqrt(far.min(1))) / 2
            for (subset, part), far in zip(parts.items(), distances.values(), strict=True)
        }
        data = CalibrationData(
            names.tolist(), scores["val"], distances["val"], truth["val"], novelty["val"],
            novelty["val"],
        )  # fmt: skip
        calibration = fit_calibration(data)
        found = calibration.probabilities(scores["test"], distances["test"], names.tolist())
        right = np.searchsorted(names, truth["test"])
        rows.append(
            {
                "most": most,
                "least": least,
                "accuracy": metrics.accuracy(truth["test"], names[found.argmax(1)]),
                "macro_f1": metrics.macro_f1(truth["test"], names[found.argmax(1)]),
                "log_loss": -np.log(found[np.arange(len(right)), right] + 1e-12).mean(),
                "auroc": metrics.auroc(novelty["unseen"], novelty["test"]),
            }
        )
    print(pd.DataFrame(rows).round(4).to_string(index=False))


if __name__ == "__main__":
    main()
