"""Identify embedded specimens: probabilities, decisions with reasons, nearest references.

The decision is `accepted` for a species, or `genus` if only the species is uncertain. It is
`ambiguous` if a specimen resembles known taxa but no name is probable enough, and `unknown` if it
is more novel than nearly all known specimens. It is `not_a_specimen` for an image of debris or the
like, which the model has learnt under labels that say so (`name_no_specimens`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from forametric._typing import BoolArray, Float64Array, FloatArray, IntArray, NameArray
from forametric.data.embeddings import Embeddings
from forametric.data.taxonomy import Taxonomy
from forametric.data.verdicts import Verdict, name_no_specimens
from forametric.errors import ModelError
from forametric.identification.calibration import (
    FEW_SPECIMENS,
    REJECTION_RATE,
    Calibration,
    CalibrationData,
    check_any,
    fit_calibration,
)
from forametric.identification.drift import Drift, compare_samples, drift_warnings, fit_drift
from forametric.identification.references import K, ReferenceSet, subsample_per_class
from forametric.utils.ranges import PROBABILITY

LEFT_OUT = 20  # references of a taxon that are left out in turn, where validation is small
FAMILIAR = 0.8  # share of the specimens of known taxa that are no more novel than familiar ones
MIN_PROBABILITY = 0.5  # below it a name is more likely wrong than correct
ACCEPTED, GENUS, AMBIGUOUS, UNKNOWN = "accepted", "genus", "ambiguous", "unknown"
NOT_A_SPECIMEN = str(Verdict.NOT_A_SPECIMEN)
DECISIONS = (ACCEPTED, GENUS, AMBIGUOUS, UNKNOWN, NOT_A_SPECIMEN)
RANKS_OF_CENTROID = ("nearest centroid", "second nearest centroid", "a farther centroid")


@dataclass(frozen=True, eq=False)
class Identifier:
    """Reference specimens, calibration, and the taxa of the class head.

    Attributes
    ----------
    references : ReferenceSet
    calibration : Calibration or None
    head_taxa : list of str
        The taxa of the columns of `Embeddings.class_probabilities`.

    Examples
    --------
    >>> references = ReferenceSet(["1", "2"], np.array(["a", "b"], object), np.eye(2, dtype="f4"))
    >>> Identifier(references).predict(np.array([[0.9, 0.1]])).tolist()
    ['a']
    """

    references: ReferenceSet
    calibration: Calibration | None = None
    head_taxa: list[str] = field(default_factory=list)

    @property
    def taxa(self) -> list[str]:
        """The taxa of the reference specimens, in alphabetical order."""
        return self.references.classes_

    @property
    def calibrated(self) -> Calibration:
        """The calibration; `ModelError` for a model that has none."""
        if self.calibration is None:
            raise ModelError(
                "this model is not calibrated, so its scores are not probabilities and it calls "
                "nothing unknown; calibrate it with: forametric calibrate MODEL COLLECTION "
                "--split SPLIT -o NEW_MODEL"
            )
        return self.calibration

    def class_scores(self, embeddings: Embeddings | FloatArray) -> FloatArray:
        """Uncalibrated scores of `taxa`, shape (n, taxa); each row sums to 1.

        The mean of the votes of the nearest references and the class head's probabilities. The
        class head does not know taxa that were added to the references after training: the more
        votes these get, the less weight the class head has.
        """
        embeddings = _as_embeddings(embeddings)
        votes = self.references.votes(embeddings.vectors)
        known = set(self.taxa)
        shared = [(self.taxa.index(t), i) for i, t in enumerate(self.head_taxa) if t in known]
        if not embeddings.class_probabilities.shape[1] or not shared:
            return votes
        columns, of_head = (np.array(c) for c in zip(*shared, strict=True))
        head = embeddings.class_probabilities[:, of_head]
        half = votes[:, columns].sum(1, keepdims=True) / 2
        scores = votes * (1 - half)
        scores[:, columns] += half * head / np.maximum(head.sum(1, keepdims=True), 1e-12)
        return np.asarray(scores, dtype=np.float32)

    def predict_proba(self, embeddings: Embeddings | FloatArray) -> FloatArray:
        """Calibrated probabilities of `taxa`, shape (n, taxa).

        They assume that a specimen belongs to one of these taxa: see `novelty`.

        Raises
        ------
        ModelError
            For a model that is not calibrated.
        """
        embeddings = _as_embeddings(embeddings)
        return self.calibrated.probabilities(
            self.class_scores(embeddings),
            self.references.centroid_distances(embeddings.vectors),
            self.taxa,
        )

    def probabilities_or_scores(self, embeddings: Embeddings | FloatArray) -> FloatArray:
        """Calibrated probabilities if there is a calibration, else scores: (n, taxa)."""
        return self.predict_proba(embeddings) if self.calibration else self.class_scores(embeddings)

    def predict(self, embeddings: Embeddings | FloatArray) -> NameArray:
        """The most probable taxon of each specimen, shape (n,)."""
        best = self.probabilities_or_scores(embeddings).argmax(1)
        return np.asarray(np.asarray(self.taxa, dtype=object)[best])

    def novelty(self, embeddings: Embeddings | FloatArray) -> FloatArray:
        """How unlike the references each specimen is, shape (n,): `ReferenceSet.novelty`."""
        return self.references.novelty(_as_embeddings(embeddings).vectors)

    def kneighbors(
        self, embeddings: Embeddings | FloatArray, n_neighbors: int = K
    ) -> tuple[FloatArray, IntArray]:
        """Distances to the nearest references and their positions: `ReferenceSet.kneighbors`."""
        return self.references.kneighbors(_as_embeddings(embeddings).vectors, n_neighbors)

    def calibration_data(self, embeddings: Embeddings, taxa: NameArray) -> CalibrationData:
        """The data to fit a calibration on, from embedded specimens and their true taxa.

        Specimens of taxa without references are left out; `InputError` when none is left.
        """
        known = np.isin(taxa.astype(str), self.taxa)
        check_any(int(known.sum()))
        some, taxa = embeddings[known], taxa[known]
        left_out, statistics = self.references.leave_class_out(some.vectors, taxa)
        differences = self.statistic_differences(some)
        of_unknown = some.statistics - statistics if differences.shape[1] else differences
        novelty = self.references.novelty(some.vectors)
        if len(some) < FEW_SPECIMENS:
            rows = subsample_per_class(self.references.taxa, LEFT_OUT, 0)
            of_references, rows = self.references.novelty_leave_one_out(rows)
            vectors = self.references.vectors[rows]
            more, _ = self.references.leave_class_out(vectors, self.references.taxa[rows])
            novelty, left_out = np.r_[novelty, of_references], np.r_[left_out, more]
        return CalibrationData(
            self.taxa,
            self.class_scores(some),
            self.references.centroid_distances(some.vectors),
            taxa.astype(str),
            novelty,
            left_out,
            fit_drift(differences, of_unknown, taxa),
        )

    def statistic_differences(self, embeddings: Embeddings) -> FloatArray:
        """How the image statistics differ from those of the nearest references, shape (n, 9).

        No columns where those of the images or of the references are not known.
        """
        if not embeddings.statistics.shape[1] or not self.references.statistics.shape[1]:
            return np.zeros((len(embeddings), 0), np.float32)
        usual = self.references.neighbor_statistics(embeddings.vectors)
        return np.asarray(embeddings.statistics - usual)

    def drift(self, differences: FloatArray, names: pd.DataFrame, samples: NameArray) -> Drift:
        """How the images of each sample differ from those of validation.

        Parameters
        ----------
        differences : ndarray of float32, shape (n, 9 or 0)
            `statistic_differences`.
        names : DataFrame
            `identify` of the same specimens.
        samples : ndarray of str, shape (n,)
        """
        calibration = self.calibration
        reference = calibration.drift if calibration else None
        if calibration is None or reference is None or not differences.shape[1]:
            return Drift()
        best, is_unknown = names["best"].to_numpy(object), (names["decision"] == UNKNOWN).to_numpy()
        familiar = np.quantile(calibration.novelty, FAMILIAR)
        is_familiar = names["novelty"].to_numpy() <= familiar
        table = compare_samples(differences, best, is_unknown, is_familiar, samples, reference)
        unlike = reference.unlike(differences)
        return Drift(table, unlike, drift_warnings(table, unlike, samples, reference))

    def calibrate(
        self, embeddings: Embeddings, taxa: NameArray, *, rejection_rate: float = REJECTION_RATE
    ) -> Identifier:
        """An identifier calibrated on validation specimens, which must not be references.

        Raises
        ------
        InputError
            When none of them belongs to a taxon with references.
        """
        data = self.calibration_data(embeddings, taxa)
        return replace(self, calibration=fit_calibration(data, rejection_rate=rejection_rate))

    def add_references(
        self,
        ids: Sequence[str],
        taxa: NameArray,
        vectors: FloatArray,
        statistics: FloatArray | None = None,
    ) -> Identifier:
        """An identifier with further reference specimens: this adds a species without training."""
        return replace(self, references=self.references.add(ids, taxa, vectors, statistics))

    def identify(
        self,
        embeddings: Embeddings,
        *,
        min_probability: float = MIN_PROBABILITY,
        conformal_alpha: float | None = None,
        taxonomy: Taxonomy | None = None,
        scores: FloatArray | None = None,
    ) -> pd.DataFrame:
        """A name for each specimen, with its probability, decision and reason.

        Parameters
        ----------
        min_probability : float
            The least probability at which a species or a genus is named.
        conformal_alpha : float, optional
            Add conformal prediction sets with this error rate.
        scores : ndarray of float32, shape (n, taxa), optional
            `probabilities_or_scores`, if they have been computed already.

        Returns
        -------
        DataFrame
            taxon, decision, probability, reason; best, best_probability, second,
            second_probability; novelty; conformal_set if asked for. Without a calibration: taxon,
            score, second, second_score, novelty.

        Raises
        ------
        InputError
            When `min_probability` is not between 0 and 1.
        ModelError
            When conformal sets are requested of a model without calibration.
        """
        PROBABILITY.check(min_probability=min_probability)
        if scores is None:
            scores = self.probabilities_or_scores(embeddings)
        novelty = self.novelty(embeddings)
        best = best_two(scores, self.taxa)
        if self.calibration is None:
            if conformal_alpha is not None:
                self.calibrated.conformal_threshold(conformal_alpha)
            best = best.rename(columns=lambda c: c.replace("probability", "score"))
            return best.assign(novelty=novelty.round(4)).rename(
                columns={"best": "taxon", "best_score": "score"}
            )
        decided = decide(
            scores,
            novelty,
            self.taxa,
            self.calibration,
            min_probability=min_probability,
            taxonomy=taxonomy or Taxonomy.load(),
        )
        accepted = np.flatnonzero(decided["decision"] == ACCEPTED)
        evidence = self._evidence(embeddings, accepted, scores[accepted].argmax(1))
        decided.loc[accepted, "reason"] += evidence
        table = pd.concat([decided, best], axis=1).assign(novelty=novelty.round(4))
        if conformal_alpha is not None:
            members = self.calibration.prediction_sets(scores, conformal_alpha)
            table["conformal_set"] = conformal_sets(scores, members, self.taxa)
        return table

    def _evidence(self, embeddings: Embeddings, rows: IntArray, named: IntArray) -> NameArray:
        """What speaks for the taxa (positions) of some specimens: ": 4 of 5 …, centroid …"."""
        neighbors = self.references.taxa[self.kneighbors(embeddings)[1][rows]]
        votes = (neighbors == np.asarray(self.taxa, object)[named, None]).sum(1)
        distances = self.references.centroid_distances(embeddings.vectors)[rows]
        nearer = (distances < distances[np.arange(len(rows)), named, None]).sum(1)
        parts = [
            f": {n} of {neighbors.shape[1]} nearest references, "
            f"{RANKS_OF_CENTROID[min(rank, len(RANKS_OF_CENTROID) - 1)]}"
            for n, rank in zip(votes.tolist(), nearer.tolist(), strict=True)
        ]
        return np.array(parts, dtype=object)

    def nearest_references(self, embeddings: Embeddings) -> pd.DataFrame:
        """The five nearest references: neighbor_n, neighbor_n_taxon, neighbor_n_distance."""
        distances, rows = self.kneighbors(embeddings)
        ids = np.asarray(self.references.ids, dtype=object)
        columns = {}
        for n in range(rows.shape[1]):
            columns[f"neighbor_{n + 1}"] = ids[rows[:, n]]
            columns[f"neighbor_{n + 1}_taxon"] = self.references.taxa[rows[:, n]]
            columns[f"neighbor_{n + 1}_distance"] = distances[:, n].round(4)
        return pd.DataFrame(columns)


def decide(
    probabilities: FloatArray,
    novelty: FloatArray,
    taxa: Sequence[str],
    calibration: Calibration,
    *,
    min_probability: float,
    taxonomy: Taxonomy,
) -> pd.DataFrame:
    """Accept a species or a genus, or call a specimen ambiguous or unknown, with the reason.

    The probabilities of all labels that are not specimens are added up.

    Parameters
    ----------
    probabilities : ndarray of float32, shape (n, taxa)
        Calibrated.
    novelty : ndarray of float32, shape (n,)

    Returns
    -------
    DataFrame
        taxon, decision, probability, reason; one row for each specimen.
    """
    genera = [taxonomy.above(t)["genus"] for t in taxa]
    names = sorted(set(genera) - {""})
    of_genus = np.zeros((len(probabilities), len(names)), np.float32)
    for column, name in enumerate(genera):
        if name:
            of_genus[:, names.index(name)] += probabilities[:, column]
    best, probability = _largest(probabilities)
    top, of_top = _largest(of_genus) if names else (best, np.zeros(len(best)))
    none = name_no_specimens(taxa)
    of_none = probabilities[:, none].sum(1, dtype=float)
    is_none = of_none > probabilities[:, ~none].max(1, initial=0)
    conditions = {
        UNKNOWN: novelty > calibration.novelty_threshold,
        NOT_A_SPECIMEN: is_none & (of_none >= min_probability),
        ACCEPTED: probability >= min_probability,
        GENUS: of_top >= min_probability,
    }
    decision = np.select(list(conditions.values()), list(conditions), AMBIGUOUS)
    species = np.asarray(taxa, dtype=object)[best]
    genus = np.asarray(names, dtype=object)[top] if names else species
    named = np.where(decision == ACCEPTED, species, np.where(decision == GENUS, genus, ""))
    reasons = {
        UNKNOWN: lambda row: (
            f"more novel than {1 - calibration.rejection_rate:.0%} of known specimens "
            f"(novelty {novelty[row]:.2f}, threshold {calibration.novelty_threshold:.2f})"
        ),
        NOT_A_SPECIMEN: lambda row: f"{species[row]}: probability {of_none[row]:.2f}",
        ACCEPTED: lambda row: f"probability {probability[row]:.2f}",
        GENUS: lambda row: (
            f"species uncertain ({species[row]} {probability[row]:.2f}), genus {of_top[row]:.2f}"
        ),
        AMBIGUOUS: lambda row: (
            f"no taxon reaches a probability of {min_probability:g} "
            f"(best: {species[row]} {probability[row]:.2f})"
        ),
    }
    return pd.DataFrame(
        {
            "taxon": named,
            "decision": decision.astype(object),
            "probability": np.select(
                [decision == GENUS, decision == NOT_A_SPECIMEN], [of_top, of_none], probability
            ).round(4),
            "reason": [reasons[one](row) for row, one in enumerate(decision.tolist())],
        }
    )


def _largest(values: FloatArray) -> tuple[IntArray, Float64Array]:
    """The column of the largest value of each row, and that value."""
    columns = values.argmax(1)
    return columns, values[np.arange(len(values)), columns].astype(float)


def best_two(probabilities: FloatArray, taxa: Sequence[str]) -> pd.DataFrame:
    """The two most probable taxa of each specimen: best, second, and their probabilities."""
    names = np.asarray(taxa, dtype=object)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    table = pd.DataFrame()
    for rank, column in enumerate(("best", "second")[: len(taxa)]):
        value = probabilities[np.arange(len(order)), order[:, rank]]
        table[column] = np.where(value > 0, names[order[:, rank]], "")
        table[f"{column}_probability"] = value.round(4)
    return table


def conformal_sets(probabilities: FloatArray, members: BoolArray, taxa: Sequence[str]) -> list[str]:
    """The members of each specimen's conformal set, the most probable first, separated by |."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    return [
        "|".join(taxa[i] for i in ranked if inside[i])
        for ranked, inside in zip(order, members, strict=True)
    ]


def _as_embeddings(embeddings: Embeddings | FloatArray) -> Embeddings:
    if isinstance(embeddings, Embeddings):
        return embeddings
    return Embeddings.of_vectors(embeddings)
