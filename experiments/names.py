"""What `identify`, `add`, `discover` and `assemblage` come to on specimens held out of training.

python experiments/names.py MODEL COLLECTION --split open_1 --foreign OTHER_COLLECTION

- foreign: what 500 pictures of another kind altogether are called;
- learning: accuracy on unseen species of which 1, 3, 5 or 10 specimens were added as references
  (named among known and new species), and by how much that on known species changes;
- discovery: the unseen specimens grouped, with their number of species given and estimated;
- recognition: known and unseen specimens grouped together, and which groups are called known;
- assemblages: 500 samples of 50 to 500 held-out specimens, drawn with return, with shares that are
  not those of training (Dirichlet 0.3) and none, a tenth or three tenths of unseen species.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forametric import metrics
from forametric.analysis.abundance import estimate_shares
from forametric.analysis.discovery import discover
from forametric.data.collection import Collection
from forametric.data.embeddings import Embeddings
from forametric.data.splits import load_split
from forametric.identification.identifier import identify_embeddings
from forametric.model.model import Model
from forametric.utils.files import write_json
from forametric.utils.progress import bar

SHOTS, DRAWS = (1, 3, 5, 10), 10
Strings = npt.NDArray[np.str_]


def part(got: Embeddings, rows: npt.NDArray[np.int64]) -> Embeddings:
    """The embedded specimens at these positions."""
    return Embeddings(
        [got.rows[i] for i in rows], got.vectors[rows], got.class_probabilities[rows], {}
    )


def foreign(model: Model, collection: Collection, count: int = 500) -> dict[str, Any]:
    """Shares of decisions over pictures of another kind."""
    rows = np.random.default_rng(0).permutation(len(collection))[:count]
    got = model.embed_images(collection.select(np.sort(rows).tolist()).paths())
    decided = identify_embeddings(model, got, model.ranking(got))["decision"]
    shares = {name: float((decided == name).mean()) for name in ("accepted", "genus", "unknown")}
    return {"pictures": len(decided), **shares}


def learning(
    model: Model, test: Embeddings, known: Strings, unseen: Embeddings, new: Strings
) -> Any:
    """Accuracy on new species by the number of references added, and its change on known ones."""
    right_before = (_best(model, test) == known).mean()
    references, rows = model.references, []
    for shots in SHOTS:
        accuracy, change = [], []
        for draw in range(DRAWS):
            rng = np.random.default_rng(draw)
            taken = np.concatenate(
                [rng.permutation(np.flatnonzero(new == t))[:shots] for t in np.unique(new)]
            )
            rest = np.setdiff1d(np.arange(len(new)), taken)
            ids = [f"new-{i}" for i in taken]
            model.references = references.add(ids, new[taken].astype(object), unseen.vectors[taken])
            accuracy.append((_best(model, part(unseen, rest)) == new[rest]).mean())
            change.append((_best(model, test) == known).mean() - right_before)
            model.references = references
        rows.append(
            {
                "references": shots,
                "new_accuracy": float(np.mean(accuracy)),
                "new_accuracy_sd": float(np.std(accuracy, ddof=1)),
                "change_on_known": float(np.mean(change)),
            }
        )
    return rows


def discovery(model: Model, unseen: Embeddings, new: Strings) -> dict[str, Any]:
    """Groups of all unseen specimens, and over subsets of their species."""
    species, rng = np.unique(new), np.random.default_rng(0)
    sets = [species] + [
        rng.choice(species, n, replace=False)
        for n in (5, 10, 15)
        if n < len(species)
        for _ in range(5)
    ]
    rows = []
    for chosen in sets:
        of = np.isin(new, chosen)
        row: dict[str, Any] = {"species": len(chosen)}
        for word, number in (("given", len(chosen)), ("estimated", None)):
            found = discover(
                unseen.vectors[of],
                model.references,
                model.calibration,
                number=number,
                learned=model.learned,
            )
            scores = metrics.clustering_scores(new[of], found.morphotype)
            row |= {f"{word}_{k}": scores[k] for k in ("matched_accuracy", "ami")}
            row[f"{word}_groups"] = len(found.groups)
            row[f"{word}_noise"] = float((found.morphotype == 0).mean())
        rows.append(row)
    error = [abs(r["estimated_groups"] - r["species"]) / r["species"] for r in rows]
    return {"all": rows[0], "mean": _means(rows), "relative_error_of_number": float(np.mean(error))}


def recognition(model: Model, test: Embeddings, unseen: Embeddings) -> dict[str, int]:
    """Known and unseen specimens grouped together: which groups are called known ones."""
    vectors = np.concatenate([test.vectors, unseen.vectors])
    new = np.arange(len(vectors)) >= len(test.vectors)
    found = discover(vectors, model.references, model.calibration, learned=model.learned)
    counts = dict.fromkeys(("known_recognised", "known_missed", "new_recognised", "new"), 0)
    for row in found.groups.itertuples():
        is_new = new[found.morphotype == row.morphotype].mean() > 0.5
        words = ("new_recognised", "new") if is_new else ("known_recognised", "known_missed")
        counts[words[0] if row.recognised else words[1]] += 1
    return counts


def assemblages(
    model: Model, test: Embeddings, known: Strings, unseen: Embeddings, samples: int = 500
) -> dict[str, Any]:
    """Coverage and error of the intervals, beside plain counts and counts after rejection."""
    taxa, calibration = model.references.classes_, model.calibrated
    both = Embeddings(
        [*test.rows, *unseen.rows],
        np.concatenate([test.vectors, unseen.vectors]),
        np.concatenate([test.head, unseen.head]),
        {},
    )
    chance, novelty = model.predict_proba(both), model.references.novelty(both.vectors)
    of = np.full(len(both.rows), len(taxa))
    of[: len(known)] = np.searchsorted(taxa, known)
    present, rng, rows = np.unique(of[: len(known)]), np.random.default_rng(0), []
    with bar("samples", samples) as advance:
        for seed in range(samples):
            count, prior_of_unknown = int(rng.integers(50, 501)), rng.choice([0, 0.1, 0.3])
            true = np.zeros(len(taxa) + 1)
            true[present] = rng.dirichlet(np.full(len(present), 0.3)) * (1 - prior_of_unknown)
            true[-1] = prior_of_unknown
            drawn = rng.multinomial(count, true)
            chosen = np.concatenate(
                [rng.choice(np.flatnonzero(of == t), drawn[t]) for t in np.flatnonzero(drawn)]
            )
            found = estimate_shares(chance[chosen], novelty[chosen], taxa, calibration, seed=seed)
            best = chance[chosen].argmax(1)
            called = np.where(novelty[chosen] > calibration.novelty_threshold, len(taxa), best)
            within = (found.low <= true) & (true <= found.high)
            row: dict[str, Any] = {
                "coverage": within.mean(),
                "coverage_above_1_percent": within[true > 0.01].mean(),
                "coverage_of_unknown": float(within[-1]),
            }
            for word, shares in (
                ("estimate", found.share),
                ("plain", np.bincount(best, minlength=len(true)) / count),
                ("plain_with_unknown", np.bincount(called, minlength=len(true)) / count),
            ):
                row[f"{word}_error_of_sample"] = abs(shares - drawn / count).mean()
                row[f"{word}_error_of_population"] = abs(shares - true).mean()
            rows.append(row)
            advance(1)
    return {"samples": samples, **_means(rows)}


def _best(model: Model, got: Embeddings) -> Strings:
    return np.asarray(model.references.classes_)[model.ranking(got).argmax(1)]


def _means(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {k: round(float(np.mean([r[k] for r in rows])), 5) for k in rows[0]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--split", required=True)
    parser.add_argument("--foreign", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    model, shells = Model.load(asked.model), Collection.open(asked.collection)
    subset, taxa = load_split(shells, asked.split).to_numpy(), shells.taxa().astype(str)
    paths, embedded = shells.paths(), {}
    for name in ("test", "unseen"):
        rows = np.flatnonzero((subset == name) & (taxa != ""))
        embedded[name] = model.embed_images([paths[i] for i in rows]), taxa[rows]
    (test, known), (unseen, new) = embedded["test"], embedded["unseen"]
    found: dict[str, Any] = {
        "learning": learning(model, test, known, unseen, new),
        "discovery": discovery(model, unseen, new),
        "recognition": recognition(model, test, unseen),
        "assemblages": assemblages(model, test, known, unseen),
    }
    if asked.foreign:
        found["foreign"] = foreign(model, Collection.open(asked.foreign))
    print(json.dumps(found, indent=2))
    if asked.output:
        write_json(asked.output, found)
