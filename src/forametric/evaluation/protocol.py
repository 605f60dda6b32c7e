"""The protocol: known species, unseen species, unknown pictures, each on held-out specimens.

Known: the names that identification gives (5 nearest neighbours in the gallery and the class head
together), and each way alone. Calibration: whether probabilities and prediction sets hold. Unseen:
retrieval within the unseen specimens, clustering with the true and with an estimated number of
clusters, names matched to clusters one to one. Unknown: how well novelty tells strange specimens
from known ones, and what the decisions of `identify` come to.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from forametric import metrics
from forametric.collection import Collection, content_of
from forametric.discover import estimate_clusters, groups_of, untaught
from forametric.embedder import Embedder
from forametric.errors import InputError
from forametric.files import atomic_folder, read_json, refuse_existing, write_json
from forametric.gallery import Gallery
from forametric.identify import name_vectors
from forametric.learning.recipe import Recipe
from forametric.splits import load_split, save_split, split_hash
from forametric.vectors import write_vectors

K = 5
RARE = 13  # references; as many images have the four rarest species of Endless Forams at most
SET_ERRORS = (0.05, 0.1)
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Evaluated:
    """The held-out specimens with their vectors, by which figures and pictures are made."""

    rows: npt.NDArray[np.int64]  # in the collection
    roles: npt.NDArray[np.object_]
    taxa: npt.NDArray[np.object_]
    vectors: Floats
    head: Floats
    scores: Floats  # of the gallery's taxa, by which specimens are named: probabilities if any
    novelty: Floats
    decisions: npt.NDArray[np.object_]  # accepted, genus or unknown; "" without calibration
    skipped: dict[str, str]

    def part(self, role: str) -> npt.NDArray[np.int64]:
        """Positions of the specimens of one role."""
        return np.flatnonzero(self.roles == role)


def evaluate(
    model: Embedder,
    collection: Collection,
    roles: pd.Series,
    output: Path,
    *,
    overwrite: bool = False,
    split_name: str = "",
) -> dict[str, Any]:
    """Measure a model and write `metrics.json`, `report.html` and the tables behind them.

    Parameters
    ----------
    roles : Series of str
        As `forametric.splits.load_split` gives them; specimens of role test, unseen and unknown
        are measured.

    Returns
    -------
    dict
        What `metrics.json` holds: `known`, `unseen`, `unknown`, `seconds`, `n`, and what made it.

    Raises
    ------
    InputError
        When there is nothing to measure, or specimens to measure are in the model's gallery.
    """
    from forametric.evaluation.report import write_report

    refuse_existing(output, overwrite)
    started = time.monotonic()
    held_out = _embed(model, collection, roles)
    known = _known(model, held_out)
    unseen = unseen_scores(
        held_out.vectors[held_out.part("unseen")],
        held_out.taxa[held_out.part("unseen")],
        learned=model.learned,
    )
    result: dict[str, Any] = {
        "known": known,
        "unseen": unseen,
        "calibration": _calibration(model, held_out),
        "unknown": _unknown(model, held_out),
        "n": {r: len(held_out.part(r)) for r in ("test", "unseen", "unknown")}
        | {"gallery": len(model.gallery.ids), "skipped": len(held_out.skipped)},
        "seconds": round(time.monotonic() - started, 1),
        "model": {
            "recipe": model.card.recipe.name,
            "settings": model.card.recipe.model_dump(mode="json"),
            "backbone": model.card.backbone,
            "learned": model.learned,
            "seed": model.card.seed,
            "training_seconds": model.card.training.get("seconds"),
            "made_by": model.card.made_by,
            "split": model.card.data.get("split"),
        },
        "data": {
            "collection": collection.info.get("name"),
            "split_name": split_name,
            "split": split_hash(roles),
            "specimens": collection.fingerprint,
        },
        "warnings": _warnings(model, collection, roles),
    }
    with atomic_folder(output, overwrite) as temporary:
        write_json(temporary / "metrics.json", result)
        save_split(roles, temporary / "split.csv")
        write_vectors(
            temporary / "vectors.parquet",
            collection.specimens["id"].iloc[held_out.rows].tolist(),
            held_out.vectors,
            {"role": list(held_out.roles), "taxon": list(held_out.taxa)},
        )
        _specimens(model, collection, held_out).to_csv(temporary / "specimens.csv", index=False)
        if held_out.skipped:
            table = pd.DataFrame(list(held_out.skipped.items()), columns=["image", "reason"])
            table.to_csv(temporary / "skipped.csv", index=False)
        write_report(temporary, model, collection, held_out, result)
    return json.loads(json.dumps(result))  # type: ignore[no-any-return]


def made_with(results: Path, collection: Collection) -> tuple[Recipe, int, pd.Series]:
    """Recipe, seed and roles by which the model of a results folder was trained.

    Raises
    ------
    InputError
        When the folder is no result of `evaluate`, or of another collection.
    """
    try:
        made = read_json(results / "metrics.json")
        recipe, seed = Recipe.model_validate(made["model"]["settings"]), int(made["model"]["seed"])
        specimens = made["data"]["specimens"]
    except (OSError, KeyError, TypeError, ValueError):
        raise InputError(f"{results} is no folder that this version's evaluate wrote.") from None
    if specimens != collection.fingerprint:
        raise InputError(f"{results} was measured on other specimens than this collection's.")
    return recipe, seed, load_split(collection, str(results / "split.csv"))


def unseen_scores(
    vectors: Floats, taxa: npt.NDArray[np.object_], *, learned: int = 0
) -> dict[str, Any]:
    """How well vectors of never-learnt species group by species.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dimensions)
    taxa : ndarray of str, shape (n,)
    learned : int
        `Embedder.learned`, which the estimate of the number leaves out of account.

    Returns
    -------
    dict
        recall_at_1, and matched_accuracy, matched_macro_f1, ami, ari for the true number of
        clusters; the same under `estimated` for the estimated number. Empty for fewer than two
        species or four specimens.
    """
    species = np.unique(taxa.astype(str))
    if len(species) < 2 or len(taxa) < 4:
        return {}
    clusters = groups_of(vectors, len(species))[0]
    _, nearest = Gallery([str(i) for i in range(len(taxa))], taxa, vectors).nearest(vectors, 2)
    itself = np.arange(len(taxa))
    neighbour = np.where(nearest[:, 0] == itself, nearest[:, 1], nearest[:, 0])
    guess = estimate_clusters(untaught(vectors, learned))
    intervals = {
        "matched_accuracy_95": metrics.bootstrap(
            lambda t, c: metrics.clustering_scores(t, c)["matched_accuracy"],
            taxa,
            clusters,
            draws=200,
        ),
        "ami_95": metrics.bootstrap(
            lambda t, c: metrics.clustering_scores(t, c)["ami"], taxa, clusters, draws=200
        ),
    }
    return {
        "recall_at_1": metrics.accuracy(taxa[neighbour], taxa),
        **metrics.clustering_scores(taxa, clusters),
        **intervals,
        "species": len(species),
        "estimated": {
            "clusters": guess,
            **metrics.clustering_scores(taxa, groups_of(vectors, guess)[0]),
        },
    }


def _embed(model: Embedder, collection: Collection, roles: pd.Series) -> Evaluated:
    taxa = collection.taxa()
    role = roles.to_numpy(dtype=object)
    measured = np.isin(role.astype(str), ("test", "unseen", "unknown"))
    measured &= (taxa != "") | (role == "unknown")
    # A known taxon that the model never learnt cannot be named right: that is not the model's test.
    foreign = (role == "test") & ~np.isin(taxa.astype(str), model.classes_)
    rows = np.flatnonzero(measured & ~foreign)
    if not (role[rows] == "test").any():
        raise InputError(
            "the split has no specimens of role test whose taxon the model knows; "
            "give the split that the model was trained with."
        )
    ids = collection.specimens["id"].iloc[rows]
    seen = ids.isin(set(model.gallery.ids))
    if seen.any():
        raise InputError(
            f"{int(seen.sum())} of {len(rows)} specimens to measure are in the model's gallery; "
            f"give the split that the model was trained with."
        )
    paths = collection.paths()
    got = model.embed_images([paths[i] for i in rows], what="embedding held-out specimens")
    images = collection.specimens["image"]
    skipped = {str(images.iloc[rows[i]]): why for i, why in got.failures.items()}
    kept = rows[got.rows]
    ranking = model.ranking(got)
    named = name_vectors(model, got, ranking)
    return Evaluated(
        kept,
        role[kept],
        taxa[kept],
        got.vectors,
        got.head,
        scores=ranking,
        novelty=named["novelty"].to_numpy(dtype=np.float32),
        decisions=named.get("decision", pd.Series("", named.index)).to_numpy(dtype=object),
        skipped=skipped,
    )


def _specimens(model: Embedder, collection: Collection, held_out: Evaluated) -> pd.DataFrame:
    """A row for each held-out specimen: its role and taxon, its name, the score, how strange."""
    best = held_out.scores.argmax(1)
    return pd.DataFrame(
        {
            "id": collection.specimens["id"].to_numpy()[held_out.rows],
            "role": held_out.roles,
            "taxon": held_out.taxa,
            "named": np.asarray(model.gallery.classes_, dtype=object)[best],
            "score": held_out.scores.max(1).round(5),
            "novelty": held_out.novelty.round(5),
            "decision": held_out.decisions,
        }
    )


def _rare(model: Embedder, truth: npt.NDArray[np.str_], named: npt.NDArray[Any]) -> dict[str, Any]:
    """The macro F1 of the species that have few references; nothing where there are none."""
    counts = pd.Series(model.gallery.taxa).value_counts()
    rare = np.isin(truth, counts.index[counts <= RARE].to_numpy(dtype=str))
    if not rare.any():
        return {}
    f1 = metrics.macro_f1(truth, named, np.unique(truth[rare]))
    return {"rare_macro_f1": f1, "rare_species": len(np.unique(truth[rare]))}


def _known(model: Embedder, held_out: Evaluated) -> dict[str, Any]:
    test = held_out.part("test")
    truth = held_out.taxa[test].astype(str)
    classes = np.asarray(model.gallery.classes_)
    order = np.argsort(-held_out.scores[test], axis=1, kind="stable")
    named = classes[order[:, 0]]
    result: dict[str, Any] = {
        "accuracy": metrics.accuracy(truth, named),
        "accuracy_95": metrics.bootstrap(metrics.accuracy, truth, named),
        "macro_f1": metrics.macro_f1(truth, named),
        "macro_f1_95": metrics.bootstrap(metrics.macro_f1, truth, named),
        "top3": float((classes[order[:, :3]] == truth[:, None]).any(1).mean()),
        "species": len(np.unique(truth)),
        **_rare(model, truth, named),
    }
    by_way = {"knn": model.gallery.predict(held_out.vectors[test], K).astype(str)}
    if held_out.head.shape[1]:
        by_way["head"] = np.asarray(model.classes_)[held_out.head[test].argmax(1)]
    for way, names in by_way.items():
        result[f"{way}_accuracy"] = metrics.accuracy(truth, names)
        result[f"{way}_macro_f1"] = metrics.macro_f1(truth, names)
    return result


def _right(model: Embedder, held_out: Evaluated) -> npt.NDArray[np.bool_]:
    """Which held-out specimens have their true taxon as the likeliest."""
    named = np.asarray(model.gallery.classes_)[held_out.scores.argmax(1)]
    return np.asarray(named == held_out.taxa.astype(str))


def _calibration(model: Embedder, held_out: Evaluated) -> dict[str, Any]:
    """Whether the probabilities of known specimens hold; nothing for a model without them."""
    if model.calibration is None:
        return {}
    test = held_out.part("test")
    probabilities, right = held_out.scores[test], _right(model, held_out)[test]
    true = np.searchsorted(model.gallery.classes_, held_out.taxa[test].astype(str))
    surest = np.argsort(-probabilities.max(1), kind="stable")
    result: dict[str, Any] = {
        "ece": metrics.calibration_error(probabilities.max(1), right),
        "ece_if_perfect": metrics.calibration_error_by_chance(probabilities.max(1)),
        "log_loss": float(-np.log(probabilities[np.arange(len(test)), true] + 1e-12).mean()),
        "accuracy_at_coverage": {
            f"{share:.1f}": float(right[surest[: max(1, round(share * len(test)))]].mean())
            for share in (0.5, 0.8, 0.9, 1.0)
        },
    }
    for error in SET_ERRORS:
        try:
            members = model.calibration.prediction_sets(probabilities, error)
        except InputError:
            continue  # too few validation specimens to promise it
        covered = members[np.arange(len(test)), true]
        result[f"sets_{1 - error:.0%}"] = {
            "coverage": float(covered.mean()),
            "coverage_95": metrics.bootstrap(lambda c: float(c.mean()), covered),
            "mean_size": float(members.sum(1).mean()),
        }
    return result


def _unknown(model: Embedder, held_out: Evaluated) -> dict[str, Any]:
    test, right = held_out.part("test"), _right(model, held_out)
    usual = held_out.novelty[test]
    result: dict[str, Any] = {}
    for prefix, role in (("", "unseen"), ("not_a_taxon_", "unknown")):
        if len(strange := held_out.novelty[held_out.part(role)]):
            result[f"{prefix}auroc"] = metrics.auroc(strange, usual)
            result[f"{prefix}fpr95"] = metrics.fpr_at_tpr(strange, usual)
            result[f"{prefix}oscr"] = metrics.oscr(strange, usual, right[test])
    if model.calibration is None:
        return result
    for role in ("test", "unseen", "unknown"):
        decided = held_out.decisions[held_out.part(role)]
        if len(decided):
            result[f"{role}_decisions"] = {
                name: float((decided == name).mean()) for name in ("accepted", "genus", "unknown")
            }
    accepted = held_out.decisions == "accepted"
    known = accepted & (held_out.roles == "test")
    for name, given in (("known", known), ("all", accepted)):
        if given.any():
            wrong = ~right[given] | (held_out.roles[given] != "test")
            result[f"wrong_of_accepted_{name}"] = float(wrong.mean())
    return result


def _warnings(model: Embedder, collection: Collection, roles: pd.Series) -> list[str]:
    warnings = []
    if model.card.data.get("split") != split_hash(roles):
        warnings.append("the split is not the one the model was trained with")
    ids = collection.specimens["id"]
    measured = content_of(ids[roles.isin(("test", "unseen")).to_numpy()])
    shared = measured.isin(set(content_of(pd.Series(model.gallery.ids)))).sum()
    if shared:
        warnings.append(
            f"{shared} held-out images are byte for byte in the gallery under other ids"
        )
    return warnings
