"""Evaluate a model on held-out specimens: known species, unseen species, images of no taxon.

Known: the names that identification gives (nearest references and class head together), and each
of the two alone. Calibration: whether probabilities and conformal sets are right. Unseen:
retrieval among the unseen specimens, clustering with the true and with an estimated number of
clusters, clusters matched to species one to one. Open set: how well novelty tells unseen species
and images of no taxon from known species, and what the decisions come to. On request: the names of
corrupted images, as other microscopes would take them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forametric import metrics
from forametric._typing import AnyArray, FloatArray, NameArray, PathLike
from forametric.analysis.clustering import cluster, estimate_clusters, unit_length
from forametric.data.collection import Collection, content_hash
from forametric.data.embeddings import Embeddings, write_vectors
from forametric.data.inputs import check_output_folder
from forametric.data.splits import Split, group_ids
from forametric.data.taxonomy import Taxonomy
from forametric.embedding.recipe import Recipe
from forametric.errors import InputError
from forametric.evaluation.predictions import EVALUATED, Predictions, predict
from forametric.evaluation.report import per_taxon, write_report
from forametric.evaluation.robustness import corrupted_scores, summarise_corruptions
from forametric.identification.identifier import DECISIONS
from forametric.identification.references import K, ReferenceSet
from forametric.model.model import Model
from forametric.utils.files import read_json, write_json
from forametric.utils.outputs import atomic_folder
from forametric.utils.results import Result

RARE = 13  # references; the four rarest species of Endless Forams have at most 13 images
CONFORMAL_ALPHAS = (0.05, 0.1)
CCR = 0.9  # share of the known specimens that are accepted under their name
COVERAGES = (0.5, 0.8, 0.9, 1.0)


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Result):
    """The metrics of a model on a split.

    Attributes
    ----------
    metrics : dict
        What `metrics.json` holds: `known`, `calibration`, `unseen`, `open_set`, `n`, `seconds`,
        `corruptions` if asked for, and what was evaluated: `model`, `data`, `warnings`.
    predictions : Predictions
    model : Model
    split : Split
    corrupted : DataFrame or None
        `corrupted_scores`, if asked for.
    """

    metrics: dict[str, Any]
    predictions: Predictions
    model: Model
    split: Split
    corrupted: pd.DataFrame | None = None

    def __len__(self) -> int:
        return len(self.predictions.rows)

    def __str__(self) -> str:
        known = self.metrics["known"]
        return (
            f"{self.metrics['n']['test']} test specimens of {known['species']} species, "
            f"accuracy {known['accuracy']:.3f}, macro F1 {known['macro_f1']:.3f}"
        )

    @property
    def summary(self) -> dict[str, Any]:
        """`metrics`."""
        return self.metrics

    @property
    def preview(self) -> pd.DataFrame:
        """`figures`."""
        return self.figures

    @property
    def table(self) -> pd.DataFrame:
        """One row for each held-out specimen: `Predictions.table`."""
        return self.predictions.table

    @property
    def skipped(self) -> pd.DataFrame:
        """The images that could not be read: image, reason."""
        return self.predictions.embeddings.skipped

    @property
    def figures(self) -> pd.DataFrame:
        """Every single figure: metric (`known.accuracy`, …), value."""
        rows = [
            (f"{part}.{name}", value)
            for part in ("known", "calibration", "unseen", "open_set", "corruptions")
            for name, value in self.metrics.get(part, {}).items()
            if isinstance(value, float)
        ]
        return pd.DataFrame(rows, columns=["metric", "value"])

    @property
    def per_taxon(self) -> pd.DataFrame:
        """Precision, recall and F1 of each taxon, with its numbers of references and test."""
        return per_taxon(self.predictions, self.model.references.taxa)

    def save(self, folder: PathLike, *, overwrite: bool = False) -> Path:
        """Write `metrics.json`, `report.html` and the tables behind them; returns the folder."""
        folder, predictions = Path(folder), self.predictions
        check_output_folder(folder, overwrite, self.split.collection, self.model.folder)
        with atomic_folder(folder, overwrite) as temporary:
            write_json(temporary / "metrics.json", self.metrics)
            self.split.to_csv(temporary / "split.csv")
            write_vectors(
                temporary / "vectors.parquet",
                self.table["id"].tolist(),
                predictions.embeddings.vectors,
                {"subset": list(predictions.subsets), "taxon": list(predictions.taxa)},
            )
            self.table.to_csv(temporary / "specimens.csv", index=False)
            if len(self.skipped):
                self.skipped.to_csv(temporary / "skipped.csv", index=False)
            if self.corrupted is not None:
                self.corrupted.to_csv(temporary / "corruptions.csv", index=False)
            write_report(
                temporary,
                self.metrics,
                predictions,
                self.model,
                self.split.collection,
                self.corrupted,
            )
        return folder

    @staticmethod
    def load_run_settings(
        results: PathLike, collection: Collection, taxonomy: Taxonomy | None = None
    ) -> tuple[Recipe, int, Split]:
        """Recipe, seed and split with which the model of a results folder was trained.

        Raises
        ------
        InputError
            When the folder is not a result of `evaluate`, or of another collection, or when other
            taxa than in that training differ by coiling in the taxonomy.
        """
        results = Path(results)
        try:
            made = read_json(results / "metrics.json")
            recipe, seed = (
                Recipe.model_validate(made["model"]["settings"]),
                int(made["model"]["seed"]),
            )
            specimens, then = made["data"]["specimens"], list(made["model"]["handed"])
        except (OSError, KeyError, TypeError, ValueError, InputError):
            raise InputError(f"{results} was not written by this version's evaluate.") from None
        if specimens != collection.fingerprint:
            raise InputError(f"{results} was measured on other specimens than this collection's.")
        split = Split.load(collection, results / "split.csv")
        now = (taxonomy or Taxonomy.load()).handed(split.train.taxa())
        if now != then:
            raise InputError(
                f"{results} was trained with a taxonomy in which {_listed(then)} by coiling, here "
                f"{_listed(now)}; give the same taxonomy."
            )
        return recipe, seed, split

    def to_html(self, folder: PathLike, *, overwrite: bool = False) -> Path:
        """Write the folder of `save`; returns its `report.html`."""
        return self.save(folder, overwrite=overwrite) / "report.html"


def _listed(taxa: list[str]) -> str:
    return f"{', '.join(taxa)} differ" if taxa else "no taxa differ"


def evaluate(model: Model, split: Split, *, corruptions: bool = False) -> Evaluation:
    """Evaluate a model on the test, unseen and distractor specimens of a split.

    Parameters
    ----------
    corruptions : bool
        Also name corrupted images of at most 450 held-out specimens, 39 times each.

    Raises
    ------
    InputError
        When there is nothing to evaluate, or specimens to evaluate are references of the model.

    Examples
    --------
    >>> result = evaluate(model, split)  # doctest: +SKIP
    >>> result.metrics["known"]["macro_f1"]  # doctest: +SKIP
    """
    started = time.monotonic()
    predictions = predict(model, split)
    unseen = predictions.part("unseen")
    groups = group_ids(split.collection.specimens).to_numpy(dtype=str)[predictions.rows]
    skipped = len(predictions.embeddings.skipped)
    result: dict[str, Any] = {
        "known": _known(model, predictions, groups),
        "unseen": unseen_scores(
            predictions.embeddings[unseen], predictions.taxa[unseen], groups[unseen]
        ),
        "calibration": _calibration(model, predictions, groups),
        "open_set": _open_set(model, predictions),
        "n": {
            **{subset: len(predictions.part(subset)) for subset in EVALUATED},
            "references": len(model.references),
            "skipped": skipped,
        },
        "model": {
            "recipe": model.recipe.name,
            "settings": model.recipe.model_dump(mode="json"),
            "backbone": model.card.backbone,
            "projection_dim": model.card.projection_dim,
            "seed": model.card.seed,
            "handed": model.card.training.get("handed", []),
            "training_seconds": model.card.training.get("seconds"),
            "made_by": model.card.made_by,
            "split": model.card.data.get("split"),
            "fingerprint": model.fingerprint,
        },
        "data": {
            "collection": split.collection.info.get("name"),
            "split_name": split.name,
            "split": split.hash,
            "specimens": split.collection.fingerprint,
        },
        "warnings": _warnings(model, split),
    }
    corrupted = corrupted_scores(model, predictions, split.collection) if corruptions else None
    if corrupted is not None:
        result["corruptions"] = summarise_corruptions(corrupted)
    result["seconds"] = round(time.monotonic() - started, 1)
    plain = json.loads(json.dumps(result))  # NumPy's numbers become Python's
    return Evaluation(plain, predictions, model, split, corrupted)


def unseen_scores(
    embeddings: Embeddings, taxa: NameArray, groups: AnyArray | None = None
) -> dict[str, Any]:
    """How well embeddings of never-learnt species group by species.

    Parameters
    ----------
    groups : ndarray of str, shape (n,), optional
        For the intervals: specimens of one group resemble each other.

    Returns
    -------
    dict
        recall_at_1, and matched_accuracy, matched_macro_f1, ami, ari for the true number of
        clusters; the same under `estimated` for the estimated number. Empty for fewer than two
        species or four specimens.
    """
    vectors = embeddings.vectors
    species = np.unique(taxa.astype(str))
    if len(species) < 2 or len(taxa) < 4:
        return {}
    clusters = cluster(vectors, len(species))[0]
    among = ReferenceSet([str(i) for i in range(len(taxa))], taxa, vectors)
    _, nearest = among.kneighbors(vectors, 2)
    itself = np.arange(len(taxa))
    neighbor = np.where(nearest[:, 0] == itself, nearest[:, 1], nearest[:, 0])
    estimate = estimate_clusters(unit_length(embeddings.features))
    return {
        "recall_at_1": metrics.accuracy(taxa[neighbor], taxa),
        **metrics.clustering_scores(taxa, clusters),
        "matched_accuracy_95": _clustering_interval("matched_accuracy", taxa, clusters, groups),
        "ami_95": _clustering_interval("ami", taxa, clusters, groups),
        "species": len(species),
        "estimated": {
            "clusters": estimate,
            **metrics.clustering_scores(taxa, cluster(vectors, estimate)[0]),
        },
    }


def _clustering_interval(
    name: str, taxa: NameArray, clusters: AnyArray, groups: AnyArray | None
) -> Any:
    def score(t: AnyArray, c: AnyArray) -> float:
        return metrics.clustering_scores(t, c)[name]

    low, high = metrics.jackknife(score, taxa, clusters, groups=groups)
    return [max(low, 0.0), min(high, 1.0)]


def _known(model: Model, predictions: Predictions, groups: AnyArray) -> dict[str, Any]:
    test = predictions.part("test")
    of = groups[test]
    truth = predictions.taxa[test].astype(str)
    classes = np.asarray(model.taxa)
    order = np.argsort(-predictions.scores[test], axis=1, kind="stable")
    named = classes[order[:, 0]]
    result: dict[str, Any] = {
        "accuracy": metrics.accuracy(truth, named),
        "accuracy_95": metrics.bootstrap(metrics.accuracy, truth, named, groups=of),
        "macro_f1": metrics.macro_f1(truth, named),
        "macro_f1_95": metrics.bootstrap(metrics.macro_f1, truth, named, groups=of),
        "top3": float((classes[order[:, :3]] == truth[:, None]).any(1).mean()),
        "species": len(np.unique(truth)),
        **_rare(model, truth, named),
    }
    embeddings = predictions.embeddings
    by_method = {"knn": model.references.predict(embeddings.vectors[test], K).astype(str)}
    if embeddings.class_probabilities.shape[1]:
        best = embeddings.class_probabilities[test].argmax(1)
        by_method["head"] = np.asarray(model.card.classes)[best]
    for method, names in by_method.items():
        result[f"{method}_accuracy"] = metrics.accuracy(truth, names)
        result[f"{method}_macro_f1"] = metrics.macro_f1(truth, names)
    return result


def _rare(model: Model, truth: AnyArray, named: AnyArray) -> dict[str, Any]:
    """The macro F1 of the species with few references; nothing where there are none."""
    counts = pd.Series(model.references.taxa).value_counts()
    rare = np.isin(truth, counts.index[counts <= RARE].to_numpy(dtype=str))
    if not rare.any():
        return {}
    f1 = metrics.macro_f1(truth, named, np.unique(truth[rare]))
    return {"rare_macro_f1": f1, "rare_species": len(np.unique(truth[rare]))}


def _calibration(model: Model, predictions: Predictions, groups: AnyArray) -> dict[str, Any]:
    """Whether the probabilities of known specimens are right; empty without calibration."""
    if model.calibration is None:
        return {}
    test = predictions.part("test")
    probabilities, correct = predictions.scores[test], predictions.correct[test]
    true = np.searchsorted(model.taxa, predictions.taxa[test].astype(str))
    confident = np.argsort(-probabilities.max(1), kind="stable")
    result: dict[str, Any] = {
        "ece": metrics.calibration_error(probabilities.max(1), correct),
        "ece_if_perfect": metrics.calibration_error_by_chance(probabilities.max(1)),
        "log_loss": float(-np.log(probabilities[np.arange(len(test)), true] + 1e-12).mean()),
        "accuracy_at_coverage": {
            f"{share:.1f}": float(correct[confident[: max(1, round(share * len(test)))]].mean())
            for share in COVERAGES
        },
    }
    for alpha in CONFORMAL_ALPHAS:
        try:
            members = model.calibration.prediction_sets(probabilities, alpha)
        except InputError:
            continue  # too few validation specimens to promise it
        covered = members[np.arange(len(test)), true]
        result[f"sets_{1 - alpha:.0%}"] = {
            "coverage": float(covered.mean()),
            "coverage_95": metrics.bootstrap(
                lambda c: float(c.mean()), covered, groups=groups[test]
            ),
            "mean_size": float(members.sum(1).mean()),
        }
    return result


def _open_set(model: Model, predictions: Predictions) -> dict[str, Any]:
    test, correct = predictions.part("test"), predictions.correct
    of_known = predictions.novelty[test]
    measures: dict[str, Callable[[FloatArray], float]] = {
        "auroc": lambda novel: metrics.auroc(novel, of_known),
        "fpr95": lambda novel: metrics.fpr_at_tpr(novel, of_known),
        "oscr": lambda novel: metrics.oscr(novel, of_known, correct[test]),
    }
    result: dict[str, Any] = {}
    for prefix, subset in (("", "unseen"), ("distractor_", "distractor")):
        if len(novel := predictions.novelty[predictions.part(subset)]):
            result |= {f"{prefix}{name}": measure(novel) for name, measure in measures.items()}
    if model.calibration is None:
        return result
    for prefix, subset in (("", "unseen"), ("distractor_", "distractor")):
        rows = predictions.part(subset)
        if len(rows) and (rate := predictions.accepted_at(CCR, rows)) is not None:
            result[f"{prefix}accepted_at_ccr90"] = rate
    for subset in EVALUATED:
        decided = predictions.decisions[predictions.part(subset)]
        if len(decided):
            shares = {name: float((decided == name).mean()) for name in DECISIONS}
            result[f"{subset}_decisions"] = shares
    accepted = predictions.decisions == "accepted"
    for name, given in (("known", accepted & (predictions.subsets == "test")), ("all", accepted)):
        if given.any():
            wrong = ~correct[given] | (predictions.subsets[given] != "test")
            result[f"wrong_of_accepted_{name}"] = float(wrong.mean())
    return result


def _warnings(model: Model, split: Split) -> list[str]:
    warnings = []
    if model.card.data.get("split") != split.hash:
        warnings.append("the split is not the one the model was trained with")
    held_out = content_hash(split.collection.specimens["id"][split.of("test", "unseen")])
    shared = held_out.isin(set(content_hash(pd.Series(model.references.ids)))).sum()
    if shared:
        warnings.append(
            f"{shared} held-out images are byte for byte among the references under other ids"
        )
    return warnings
