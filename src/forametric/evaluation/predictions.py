"""What a model predicts for held-out specimens: the basis of every metric and figure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from forametric import metrics
from forametric._typing import BoolArray, FloatArray, IntArray, NameArray
from forametric.data.embeddings import Embeddings
from forametric.data.splits import Split
from forametric.errors import InputError
from forametric.identification.identifier import MIN_PROBABILITY
from forametric.model.model import Model

EVALUATED = ("test", "unseen", "distractor")


@dataclass(frozen=True, eq=False)
class Predictions:
    """Held-out specimens with their embeddings and names.

    Attributes
    ----------
    rows : ndarray of int64, shape (n,)
        Positions in the split's collection.
    subsets, taxa : ndarray of str, shape (n,)
        `test`, `unseen` or `distractor`; the true taxon.
    embeddings : Embeddings
    scores : ndarray of float32, shape (n, taxa of the model)
        Calibrated probabilities, or scores of a model without calibration.
    named : ndarray of str, shape (n,)
        The taxon with the highest score.
    novelty : ndarray of float32, shape (n,)
    decisions : ndarray of str, shape (n,)
        accepted, genus, ambiguous or unknown; "" without calibration.
    """

    rows: IntArray
    subsets: NameArray
    taxa: NameArray
    embeddings: Embeddings
    scores: FloatArray
    named: NameArray
    novelty: FloatArray
    decisions: NameArray

    def part(self, subset: str) -> IntArray:
        """Positions of the specimens of one subset."""
        return np.flatnonzero(self.subsets == subset)

    @property
    def correct(self) -> BoolArray:
        """Which specimens have their true taxon as the most probable one."""
        return np.asarray(self.named.astype(str) == self.taxa.astype(str))

    def accepted_at(self, ccr: float, rows: IntArray) -> float | None:
        """The share of some specimens that is accepted where this share of the known is, correctly.

        `metrics.fpr_at_ccr` of specimens whose name is probable enough; None where no threshold
        reaches that rate.
        """
        probable, test = self.scores.max(1) >= MIN_PROBABILITY, self.part("test")
        acceptable = np.where(probable, self.novelty, np.inf)[rows]
        correct = (probable & self.correct)[test]
        return metrics.fpr_at_ccr(acceptable, self.novelty[test], correct, ccr)

    @property
    def table(self) -> pd.DataFrame:
        """One row for each specimen: id, subset, taxon, named, score, novelty, decision."""
        return pd.DataFrame(
            {
                "id": self.embeddings.table["id"].to_numpy(),
                "subset": self.subsets,
                "taxon": self.taxa,
                "named": self.named,
                "score": self.scores.max(1).round(5),
                "novelty": self.novelty.round(5),
                "decision": self.decisions,
            }
        )


def predict(model: Model, split: Split) -> Predictions:
    """Embed and identify the held-out specimens of a split.

    Raises
    ------
    InputError
        When there is nothing to evaluate, or specimens to evaluate are references of the model.
    """
    taxa, subsets = split.collection.taxa(), split.subsets.to_numpy(dtype=object)
    evaluated = split.of(*EVALUATED) & ((taxa != "") | split.of("distractor"))
    # A known taxon that the model never learnt cannot be named correctly: that does not test it.
    not_learnt = (subsets == "test") & ~np.isin(taxa.astype(str), model.card.classes)
    rows = np.flatnonzero(evaluated & ~not_learnt)
    if not (subsets[rows] == "test").any():
        raise InputError(
            "the split has no test specimens whose taxon the model knows; give the split that the "
            "model was trained with."
        )
    held_out = split.collection.select(rows)
    seen = held_out.specimens["id"].isin(set(model.references.ids))
    if seen.any():
        raise InputError(
            f"{int(seen.sum())} of {len(rows)} specimens to evaluate are references of the model; "
            f"give the split that the model was trained with."
        )
    embeddings = model.embed(held_out, progress="embedding held-out specimens")
    kept = rows[embeddings.rows]
    return predictions_of(model, embeddings, kept, subsets[kept], taxa[kept])


def predictions_of(
    model: Model, embeddings: Embeddings, rows: IntArray, subsets: NameArray, taxa: NameArray
) -> Predictions:
    """Identify embedded specimens of which the subset and the true taxon are known."""
    scores = model.identifier.probabilities_or_scores(embeddings)
    names = model.identifier.identify(embeddings, scores=scores)
    decisions = names.get("decision", pd.Series("", names.index))
    return Predictions(
        rows,
        subsets,
        taxa,
        embeddings,
        scores,
        named=np.asarray(model.taxa, dtype=object)[scores.argmax(1)],
        novelty=names["novelty"].to_numpy(dtype=np.float32),
        decisions=decisions.to_numpy(dtype=object),
    )
