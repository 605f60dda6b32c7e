"""The state of a review: the present identifications, and the decisions recorded so far.

The decisions in the store are the only thing that is kept. What they settle counts as a reference
immediately: names, queue and abundances follow from the model, the embeddings and the decisions,
and can be computed again from them at any time. Every method may be called from several threads.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from forametric._typing import BoolArray, FloatArray, IntArray, NameArray
from forametric.data.embeddings import Embeddings
from forametric.data.verdicts import Verdict
from forametric.errors import NotFoundError
from forametric.identification.index import Index
from forametric.review.candidates import candidates
from forametric.review.decisions import Decision, consensus, current_decisions, parse_verdict
from forametric.review.identification_run import Settled, identify_collection
from forametric.review.project import EmbeddedCollection
from forametric.review.store import DecisionStore
from forametric.review.views import (
    Candidate,
    HistoryRow,
    IdentifiedImage,
    Progress,
    QueuedSpecimen,
    SimilarSpecimen,
    SpecimenView,
)

N_CANDIDATES, N_REFERENCES = 4, 3  # taxa offered for a specimen, and references of each
N_SIMILAR = 24
HISTORY_TEXTS = ("specimen", "verdict", "taxon", "reviewer", "time", "previous_verdict",
                 "previous_taxon", "suggested", "model")  # fmt: skip
SETTLED, CONFLICT = "settled", "conflict"
Rows = slice | IntArray | list[int]
ALL = slice(None)
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VerdictOn:
    """A verdict on a specimen, and what the page had suggested, where that is known."""

    specimen: str
    verdict: Verdict
    taxon: str = ""
    suggested: str | None = None
    probability: float | None = None


class ReviewWorkspace:
    """An embedded collection, its identifications, and its decisions.

    Attributes
    ----------
    embedded : EmbeddedCollection
    store : DecisionStore
    depth : str
        The column with each sample's depth; "" for none.
    ids, samples : ndarray of str, shape (n,)
    row_of : dict of str to int
        The position of each specimen.
    settled : Settled
        The decisions on which the reviewers agree.
    conflict : ndarray of bool, shape (n,)
        Specimens on which reviewers differ.
    identification : IdentificationRun
        The present identifications.
    sample_versions : dict of str to int
        How often decisions have changed each sample.
    """

    def __init__(self, embedded: EmbeddedCollection, store: DecisionStore, depth: str = "") -> None:
        self.embedded, self.store, self.depth = embedded, store, depth
        self.collection, self.embeddings = embedded.collection, embedded.embeddings
        specimens = self.collection.specimens
        self.ids: NameArray = specimens["id"].astype(str).to_numpy(dtype=object)
        self.samples: NameArray = specimens["sample"].fillna("").astype(str).to_numpy(dtype=object)
        self.row_of = {specimen: row for row, specimen in enumerate(self.ids)}
        self.lock = threading.RLock()
        self.settled = Settled.none(len(self.ids))
        self.conflict = np.zeros(len(self.ids), bool)
        self.sample_versions: dict[str, int] = {}
        self._answered: dict[str, BoolArray] = {}
        self._changed: set[int] = set()  # rows on which anything was decided since the last run
        self._last_read = 0
        logger.info("reading the decisions in %s", store.place)
        self.refresh()
        logger.info("identifying %d specimens", len(self.ids))
        self._changed.clear()
        self.identification = identify_collection(embedded, self.samples, self.settled.copy())

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        progress = self.progress()
        return f"ReviewWorkspace({progress.settled} of {progress.specimens} specimens settled)"

    # Decisions

    def refresh(self) -> None:
        """Read the decisions added since the last time, by this program or another."""
        with self.lock:
            new = self.store.history(after=self._last_read)
            if not len(new):
                return
            changed = [s for s in new["specimen"].unique().tolist() if s in self.row_of]
            is_whole = self._last_read == 0  # so earlier decisions need not be read as well
            history = new[new["specimen"].isin(changed)]
            history = history if is_whole else self.store.history(specimens=changed)
            self._last_read = int(new["number"].iloc[-1])
            rows = [self.row_of[specimen] for specimen in changed]
            self._changed.update(rows)
            self.settled.verdicts[rows] = self.settled.taxa[rows] = ""
            self.conflict[rows] = False
            for answered in self._answered.values():
                answered[rows] = False
            current = current_decisions(history, include_skipped=True)
            for specimen, reviewer in zip(current["specimen"], current["reviewer"], strict=True):
                self.answered(reviewer)[self.row_of[specimen]] = True
            for agreed in consensus(history).to_dict("records"):
                row = self.row_of[agreed["specimen"]]
                self.settled.verdicts[row] = agreed["verdict"]
                self.settled.taxa[row] = agreed["taxon"]
                self.conflict[row] = agreed["conflict"]
            for sample in set(self.samples[rows].tolist()):
                self.sample_versions[sample] = self.sample_versions.get(sample, 0) + 1

    def answered(self, reviewer: str) -> BoolArray:
        """Which specimens a reviewer has decided on or skipped, shape (n,)."""
        return self._answered.setdefault(reviewer, np.zeros(len(self.ids), bool))

    def unanswered(self, reviewer: str) -> BoolArray:
        """Which specimens are not settled and new to a reviewer, shape (n,)."""
        with self.lock:
            return ~self.settled.is_settled & ~self.answered(reviewer)

    def record(self, reviewer: str, verdicts: Sequence[VerdictOn]) -> list[int]:
        """Record verdicts; returns their numbers, once they are on the disk.

        What the reviewer has decided in the same way already is not recorded again.

        Raises
        ------
        InputError
            When a specimen is not of the collection, or verdict and taxon contradict each other.
        """
        identified, decisions = self.identification.table, []
        for given in verdicts:
            suggestion = identified.iloc[self.row(given.specimen)]
            verdict, taxon = given.verdict, given.taxon
            if verdict == Verdict.TAXON:
                verdict, taxon = parse_verdict(taxon)
            shown = given.suggested is not None
            decisions.append(
                Decision(
                    given.specimen,
                    verdict,
                    taxon,
                    reviewer,
                    suggested=str(given.suggested if shown else suggestion["best"]),
                    probability=given.probability
                    if shown
                    else float(suggestion["best_probability"]),
                    model=self.embedded.model.fingerprint,
                )
            )
        numbers = self.store.record(decisions)
        self.refresh()
        return numbers

    def undo(self, reviewer: str) -> list[Decision]:
        """Undo what a reviewer recorded last; empty when there is nothing to undo."""
        undone = self.store.undo(reviewer)
        self.refresh()
        return undone

    def row(self, specimen: str) -> int:
        """The row of a specimen; `NotFoundError` when it is not of the collection."""
        if specimen not in self.row_of:
            raise NotFoundError(f"the collection has no specimen {specimen}.")
        return self.row_of[specimen]

    # Identifications

    def needs_update(self) -> bool:
        """Whether decisions have changed so much that specimens should be identified again."""
        with self.lock:
            return self.identification.needs_update(self.settled, self._changed_rows())

    def _changed_rows(self) -> IntArray:
        return np.fromiter(self._changed, np.int64, len(self._changed))

    def update(self) -> None:
        """Identify all specimens again, with what is settled now among the references."""
        with self.lock:
            run, settled = self.identification, self.settled.copy()
            included = self._changed_rows()
        updated = run.update(settled)
        with self.lock:
            self.identification = updated
            again = settled[included].differs(self.settled[included])  # decided meanwhile
            self._changed.difference_update(included[~again].tolist())

    def taxa(self, rows: Rows = ALL) -> NameArray:
        """The taxon of each specimen, as settled, else as identified; "" where it has none."""
        with self.lock:
            identified = self.identification.table["taxon"].to_numpy(dtype=object)[rows]
            is_settled = self.settled.verdicts[rows] != ""
            return np.asarray(np.where(is_settled, self.settled.taxa[rows], identified), object)

    def states(self, rows: Rows = ALL) -> NameArray:
        """settled, conflict, or the model's decision (`DECISIONS`)."""
        with self.lock:
            decision = self.identification.table["decision"].to_numpy(dtype=object)[rows]
            state = np.where(self.settled.verdicts[rows] != "", SETTLED, decision)
            return np.asarray(np.where(self.conflict[rows], CONFLICT, state), dtype=object)

    def progress(self) -> Progress:
        """How many specimens are settled, and the expected share of right names."""
        with self.lock:
            settled = self.settled.is_settled
            correct = np.where(settled, 1.0, 1 - self.identification.error_probability)
            return Progress(
                len(self.ids),
                int(settled.sum()),
                int(self.conflict.sum()),
                round(float(correct.mean()), 5),
            )

    # Views

    def candidates(self, row: int) -> list[Candidate]:
        """The most probable taxa of a specimen, each with its nearest references."""
        run = self.identification
        return candidates(
            run.model.references,
            run.probabilities[row],
            self.embeddings.vectors[row],
            N_CANDIDATES,
            N_REFERENCES,
            str(self.ids[row]),
        )

    def explanation(self, row: int) -> str:
        """Why the model decided so, in words."""
        run = self.identification
        alone = row in run.settled_references
        references = (self.embedded.model if alone else run.model).references
        if alone:
            vector = self.embeddings.vectors[[row]]  # a copy: the last search stays remembered
            nearest = references.kneighbors(vector)[1][0]
        else:
            nearest = run.nearest[row]
        counts = Counter(references.taxa[nearest].tolist()).most_common()
        votes = ", ".join(f"{count} {taxon}" for taxon, count in counts)
        reason = run.table["reason"].iloc[row]
        return f"{reason}; its {len(nearest)} nearest references: {votes}"

    def queued(self, specimen: str) -> QueuedSpecimen:
        """A specimen as the queue shows it."""
        row = self.row(specimen)
        recorded = self.collection.specimens.iloc[row]
        identified = self.identification.table.iloc[row]
        label = recorded["label"]
        return QueuedSpecimen(
            id=specimen,
            image=str(recorded["image"]),
            label="" if pd.isna(label) else str(label),
            sample=str(self.samples[row]),
            decision=str(identified["decision"]),
            suggested=str(identified["best"]),
            probability=round(float(identified["best_probability"]), 4),
            suggests_unlisted=identified["suggestion"] == Verdict.UNLISTED,
            suggestion_probability=round(float(identified["suggestion_probability"]), 4),
            error_probability=round(float(identified["error_probability"]), 4),
            explanation=self.explanation(row),
            candidates=self.candidates(row),
        )

    def specimen(self, specimen: str) -> SpecimenView:
        """Everything known about a specimen; `NotFoundError` when it is not of the collection."""
        row = self.row(specimen)
        verdict = self.settled.verdicts[row]
        metadata = self.collection.specimens.iloc[row].drop("id").dropna()
        return SpecimenView(
            **self.queued(specimen).__dict__,
            taxon=str(self.taxa([row])[0]),
            state=str(self.states([row])[0]),
            verdict=Verdict(verdict) if verdict else None,
            novelty=float(self.identification.table["novelty"].iloc[row]),
            metadata={str(column): str(value) for column, value in metadata.items()},
            history=self.history(specimen),
        )

    def history(self, specimen: str) -> list[HistoryRow]:
        """All rows of the store about a specimen, in the order in which they were added."""
        return [
            HistoryRow(
                number=int(row["number"]),
                probability=None if pd.isna(row["probability"]) else float(row["probability"]),
                undoes=None if pd.isna(row["undoes"]) else int(row["undoes"]),
                **{name: str(row[name]) for name in HISTORY_TEXTS},
            )
            for row in self.store.history(specimens=[specimen]).to_dict("records")
        ]

    def search(self, text: str) -> list[str]:
        """The specimens whose id, image, sample, label or taxon contains a text."""
        wanted = text.strip().casefold()
        if not wanted:
            return []
        table = self.collection.specimens
        columns = [self.ids, table["image"], self.samples, self.taxa(), table["label"].fillna("")]
        found = np.zeros(len(self.ids), bool)
        for column in columns:
            folded = pd.Series(column, dtype="object").astype(str).str.casefold()
            found |= folded.str.contains(wanted, regex=False).to_numpy()
        return [str(i) for i in self.ids[found]]

    @cached_property
    def _index(self) -> Index:
        return Index(self.embeddings.vectors)

    def similar(self, vector: FloatArray, most: int = N_SIMILAR) -> list[SimilarSpecimen]:
        """The specimens nearest to a vector of shape (dimensions,), the nearest first."""
        with self.lock:
            index = self._index
        distances, rows = index.nearest(vector[None], most)
        taxa = self.taxa(rows[0])
        return [
            SimilarSpecimen(str(self.ids[row]), str(taxon), round(float(distance), 3))
            for row, taxon, distance in zip(rows[0], taxa, distances[0], strict=True)
        ]

    def similar_to(self, specimen: str) -> list[SimilarSpecimen]:
        """The specimens most similar to one of the collection, which comes first."""
        return self.similar(self.embeddings.vectors[self.row(specimen)])

    def identify(self, embeddings: Embeddings) -> IdentifiedImage:
        """Identify one image that is not of the collection, and place it on the map."""
        model = self.identification.model
        probabilities = model.predict_proba(embeddings)
        identified = model.identifier.identify(embeddings, scores=probabilities).iloc[0]
        vector = embeddings.vectors[0]
        x, y = self.embedded.morphospace.transform(embeddings, method="neighbors")[0]
        return IdentifiedImage(
            taxon=str(identified["taxon"]),
            decision=str(identified["decision"]),
            reason=str(identified["reason"]),
            probability=float(identified["probability"]),
            novelty=float(identified["novelty"]),
            candidates=candidates(
                model.references, probabilities[0], vector, N_CANDIDATES, N_REFERENCES
            ),
            similar=self.similar(vector),
            x=float(x),
            y=float(y),
        )
