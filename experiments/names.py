"""Accuracy of `identify`, `add`, `discover` and `assemblage` on held-out specimens.

python experiments/names.py MODEL COLLECTION --split open_1 --foreign OTHER_COLLECTION

- foreign: the decisions on 500 images of another kind of object;
- learning: accuracy on unseen species after 1, 3, 5 or 10 of their specimens were added as
  references (identified among known and new species), and the change on known species;
- discovery: groups of the unseen specimens, with the number of species given and estimated;
- recognition: groups of known and unseen specimens together, and which are recognized as known;
- assemblages: 500 samples of 50 to 500 held-out specimens, drawn with replacement, with abundances
  that differ from training (Dirichlet 0.3) and 0, 10 or 30 % of unseen species.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forametric import metrics
from forametric.analysis.abundance import estimate_composition
from forametric.analysis.discovery import discover
from forametric.data.collection import Collection
from forametric.data.embeddings import Embeddings
from forametric.data.splits import Split
from forametric.identification.identifier import DECISIONS
from forametric.model.model import Model
from forametric.utils.files import write_json
from forametric.utils.progress import bar

SHOTS, DRAWS = (1, 3, 5, 10), 10


def foreign(model: Model, collection: Collection, count: int = 500) -> dict[str, Any]:
    """The shares of the decisions on images of another kind of object."""
    rows = np.random.default_rng(0).permutation(len(collection))[:count]
    decisions = model.identify(collection.select(np.sort(rows))).table["decision"]
    shares = {name: float((decisions == name).mean()) for name in DECISIONS}
    return {"images": len(decisions), **shares}


def learning(model: Model, test: Embeddings, unseen: Embeddings) -> list[dict[str, Any]]:
    """Accuracy on new species by the number of references added, and its change on known ones."""
    known, new = test.taxa(), unseen.taxa()
    accuracy_before = (model.predict(test) == known).mean()
    rows = []
    for shots in SHOTS:
        accuracy, change = [], []
        for draw in range(DRAWS):
            rng = np.random.default_rng(draw)
            added = np.concatenate(
                [rng.permutation(np.flatnonzero(new == t))[:shots] for t in np.unique(new)]
            )
            rest = np.setdiff1d(np.arange(len(new)), added)
            ids = [f"new-{i}" for i in added]
            extended = model.identifier.add_references(ids, new[added], unseen.vectors[added])
            accuracy.append((extended.predict(unseen[rest]) == new[rest]).mean())
            change.append((extended.predict(test) == known).mean() - accuracy_before)
        rows.append(
            {
                "references": shots,
                "new_accuracy": float(np.mean(accuracy)),
                "new_accuracy_sd": float(np.std(accuracy, ddof=1)),
                "change_on_known": float(np.mean(change)),
            }
        )
    return rows


def discovery(model: Model, unseen: Embeddings) -> dict[str, Any]:
    """Groups of all unseen specimens, and of subsets of their species."""
    new = unseen.taxa()
    species, rng = np.unique(new), np.random.default_rng(0)
    sets = [species] + [
        rng.choice(species, n, replace=False)
        for n in (5, 10, 15)
        if n < len(species)
        for _ in range(5)
    ]
    rows = []
    for subset in sets:
        of = np.isin(new, subset)
        row: dict[str, Any] = {"species": len(subset)}
        for name, n_groups in (("given", len(subset)), ("estimated", None)):
            morphotypes = discover(unseen[of], model, n_groups=n_groups)
            scores = metrics.clustering_scores(new[of], morphotypes.labels_)
            row |= {f"{name}_{k}": scores[k] for k in ("matched_accuracy", "ami")}
            row[f"{name}_groups"] = len(morphotypes.groups)
            row[f"{name}_noise"] = float((morphotypes.labels_ == 0).mean())
        rows.append(row)
    error = [abs(r["estimated_groups"] - r["species"]) / r["species"] for r in rows]
    return {"all": rows[0], "mean": _means(rows), "relative_error_of_number": float(np.mean(error))}


def recognition(model: Model, test: Embeddings, unseen: Embeddings) -> dict[str, int]:
    """Groups of known and unseen specimens together, by whether they are recognized as known."""
    new = np.arange(len(test) + len(unseen)) >= len(test)
    morphotypes = discover(concatenate(test, unseen), model)
    counts = dict.fromkeys(("known_recognised", "known_missed", "new_recognised", "new"), 0)
    for row in morphotypes.groups.itertuples():
        is_new = new[morphotypes.labels_ == row.morphotype].mean() > 0.5
        keys = ("new_recognised", "new") if is_new else ("known_recognised", "known_missed")
        counts[keys[0] if row.recognised else keys[1]] += 1
    return counts


def assemblages(
    model: Model, test: Embeddings, unseen: Embeddings, samples: int = 500
) -> dict[str, Any]:
    """Coverage and error of the intervals, compared with raw counts, also after rejection."""
    taxa, calibration = model.taxa, model.calibrated
    both = concatenate(test, unseen)
    probabilities, novelty = model.predict_proba(both), model.novelty(both)
    of = np.full(len(both), len(taxa))
    of[: len(test)] = np.searchsorted(taxa, test.taxa().astype(str))
    present, rng, rows = np.unique(of[: len(test)]), np.random.default_rng(0), []
    with bar("samples", samples) as advance:
        for seed in range(samples):
            count, unknown = int(rng.integers(50, 501)), rng.choice([0, 0.1, 0.3])
            true = np.zeros(len(taxa) + 1)
            true[present] = rng.dirichlet(np.full(len(present), 0.3)) * (1 - unknown)
            true[-1] = unknown
            drawn = rng.multinomial(count, true)
            sample = np.concatenate(
                [rng.choice(np.flatnonzero(of == t), drawn[t]) for t in np.flatnonzero(drawn)]
            )
            estimate = estimate_composition(
                probabilities[sample], novelty[sample], taxa, calibration, seed=seed
            )
            best = probabilities[sample].argmax(1)
            rejected = np.where(novelty[sample] > calibration.novelty_threshold, len(taxa), best)
            within = (estimate.low <= true) & (true <= estimate.high)
            row: dict[str, Any] = {
                "coverage": within.mean(),
                "coverage_above_1_percent": within[true > 0.01].mean(),
                "coverage_of_unknown": float(within[-1]),
            }
            for name, abundance in (
                ("estimate", estimate.abundance),
                ("plain", np.bincount(best, minlength=len(true)) / count),
                ("plain_with_unknown", np.bincount(rejected, minlength=len(true)) / count),
            ):
                row[f"{name}_error_of_sample"] = abs(abundance - drawn / count).mean()
                row[f"{name}_error_of_population"] = abs(abundance - true).mean()
            rows.append(row)
            advance(1)
    return {"samples": samples, **_means(rows)}


def concatenate(one: Embeddings, other: Embeddings) -> Embeddings:
    """The specimens of two embeddings."""
    return replace(
        one,
        table=pd.concat([one.table, other.table], ignore_index=True),
        vectors=np.concatenate([one.vectors, other.vectors]),
        class_probabilities=np.concatenate([one.class_probabilities, other.class_probabilities]),
        rows=np.arange(len(one) + len(other)),
    )


def _means(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {k: round(float(np.mean([r[k] for r in rows])), 5) for k in rows[0]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--split", required=True)
    parser.add_argument("--foreign", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    model = Model.load(arguments.model)
    split = Split.load(Collection.open(arguments.collection), arguments.split)
    test, unseen = (model.embed(part[part.taxa() != ""]) for part in (split.test, split.unseen))
    results: dict[str, Any] = {
        "learning": learning(model, test, unseen),
        "discovery": discovery(model, unseen),
        "recognition": recognition(model, test, unseen),
        "assemblages": assemblages(model, test, unseen),
    }
    if arguments.foreign:
        results["foreign"] = foreign(model, Collection.open(arguments.foreign))
    print(json.dumps(results, indent=2))
    if arguments.output:
        write_json(arguments.output, results)
