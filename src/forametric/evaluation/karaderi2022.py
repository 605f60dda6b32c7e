"""The protocol and the printed figures of Karaderi et al. 2022, for a comparison on its library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from forametric.data.embeddings import Embeddings
from forametric.evaluation.evaluate import unseen_scores

DOMINANT = "Neogloboquadrina pachyderma"  # no. 29: nine tenths of the paper's unseen images
# Columns that importing Endless Forams adds to the collection.
SPLITS = ("karaderi-closed", "karaderi-open", *(f"open_{n}" for n in range(1, 6)))
# From the abstract: withheld test, and unseen species.
PRINTED = {
    "known.accuracy": 0.92,
    "known.macro_f1": 0.84,
    "unseen.matched_accuracy": 0.665,
    "unseen.matched_macro_f1": 0.70,
}
CAVEAT = (
    "The last column is what Karaderi et al. 2022 print, with ResNet50 at 224 px. It differs: "
    "their checkpoint was chosen by its accuracy on the test images, which were augmented; "
    "their unseen species are nine rare ones and no. 29, which alone is nine tenths of the "
    "images; how they matched clusters with species is not stated. So it is not part of this "
    "experiment."
)


def without_dominant(results: Path, metrics: dict[str, Any]) -> dict[str, Any]:
    """The unseen scores without species no. 29, of a run on the paper's open split."""
    if metrics["data"]["split_name"] != "karaderi-open":
        return {}
    embeddings = Embeddings.load(results / "vectors.parquet")
    embeddings = Embeddings(
        embeddings.table,
        embeddings.vectors,
        embeddings.class_probabilities,
        rows=embeddings.rows,
        projection_dim=metrics["model"]["projection_dim"],
    )
    taxa = embeddings.taxa()
    rest = ((embeddings.table["subset"] == "unseen") & (taxa != DOMINANT)).to_numpy()
    return {"unseen_without": unseen_scores(embeddings[rest], taxa[rest])}
