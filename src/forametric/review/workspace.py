"""What reviewers work on: names under the references as they are now, and what was decided so far.

The decisions in the store are the only truth. What is settled there counts as a reference at once:
names, queue and assemblages follow from the model, the vectors and the decisions, and can always be
made again from them. Every method may be called from several threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from forametric.analysis.abundance import Shares
from forametric.analysis.assemblages import NOT_COUNTED, UNKNOWN, Assemblage, count_samples
from forametric.analysis.clustering import groups_of
from forametric.analysis.discovery import LEAST, discover
from forametric.data.collection import CORE_COLUMNS, Collection
from forametric.data.embeddings import Embeddings
from forametric.errors import InputError, NotFoundError
from forametric.identification.identifier import NOT_NAMED
from forametric.identification.index import Index
from forametric.model.model import Model
from forametric.review.candidates import candidates, nearest_of
from forametric.review.decisions import TAXON, Decision, consensus, standing, verdict_of
from forametric.review.groups import Groups
from forametric.review.priority import priorities, taking_turns
from forametric.review.project import EmbeddedCollection
from forametric.review.store import Decisions

CANDIDATES, REFERENCES = 4, 3  # taxa offered for a specimen, and pictures of each
RENEW_AFTER = 25  # decisions with known names, after which names are made again
LENT = 120.0  # seconds for which a specimen that one reviewer has on screen is not shown to another
MEMBERS = 400  # of a group that are listed at most
MOST_LEVELS = 300  # a column of text with more different values is not offered for colouring
COMPUTED = ("name", "decision", "probability", "doubt", "novelty", "morphotype")
Names = npt.NDArray[np.object_]
Rows = slice | list[int]
ALL = slice(None)


@dataclass(frozen=True)
class Word:
    """A verdict on a specimen, and what the page had shown beside it, where that is known."""

    specimen: str
    verdict: str
    taxon: str = ""
    suggested: str | None = None
    probability: float | None = None


@dataclass(frozen=True)
class Naming:
    """All specimens named with the references that there were at one time.

    Attributes
    ----------
    number : int
        Which naming it is, counted from 1.
    model : Model
        With the settled specimens among its references.
    ranking : ndarray of float32, shape (n, taxa)
    table : DataFrame
        `identify.name_vectors`, and `priorities`.
    order : ndarray of int64, shape (n,)
        The order in which to ask an expert.
    own : frozenset of int
        Rows of the settled specimens among the references. They are named without any of these:
        what a second reviewer is shown is not the first one's answer.
    """

    number: int
    model: Model
    ranking: npt.NDArray[np.float32]
    table: pd.DataFrame
    order: npt.NDArray[np.int64]
    own: frozenset[int]

    @cached_property
    def taxa(self) -> Names:
        """The names that the columns of `ranking` stand for."""
        return np.asarray(self.model.references.classes_, dtype=object)

    @cached_property
    def doubt(self) -> npt.NDArray[np.float64]:
        """The chance that each decision of the model is wrong."""
        return self.table["doubt"].to_numpy(float)


class Desk:
    """A prepared collection, its names, and its decisions.

    Parameters
    ----------
    depth : str
        The column with each sample's depth; "" for none.
    """

    def __init__(self, prepared: EmbeddedCollection, store: Decisions, depth: str = "") -> None:
        self.prepared = prepared
        self.shells = prepared.shells
        self.got = prepared.got
        self.depth = depth
        self.ids = self.shells.specimens["id"].astype(str).to_numpy(dtype=object)
        self.row_of = {specimen: row for row, specimen in enumerate(self.ids)}
        self.samples: Names = (
            self.shells.specimens["sample"].fillna("").astype(str).to_numpy(dtype=object)
        )
        self.store = store
        self.groups = Groups(store)
        self.lock = threading.RLock()
        self._seen = 0
        self.settled: Names = np.full(len(self.ids), "", dtype=object)
        self.conflict = np.zeros(len(self.ids), bool)
        self._said: dict[str, npt.NDArray[np.bool_]] = {}
        self._lent_to: Names = np.full(len(self.ids), "", dtype=object)
        self._lent_at = np.full(len(self.ids), -np.inf)
        self._estimates: dict[str, Shares] = {}
        self._estimated_with: tuple[int, tuple[str, ...]] = (0, ())
        self._changes: dict[str, int] = {}  # how often decisions have changed a sample
        self.refresh()
        self._as_named = self.settled.copy()
        self.naming = self._name(1, self._as_named)

    # Decisions

    def refresh(self) -> None:
        """Take in what was decided since, here or by another program on the same store."""
        with self.lock:
            new = self.store.history(after=self._seen)
            if not len(new):
                return
            self._seen = int(new["number"].iloc[-1])
            touched = [s for s in new["specimen"].unique().tolist() if s in self.row_of]
            history = self.store.history(specimens=touched) if self._said else new
            rows = [self.row_of[specimen] for specimen in touched]
            self.settled[rows], self.conflict[rows] = "", False
            for said in self._said.values():
                said[rows] = False
            words = standing(history, skipped=True)
            for specimen, reviewer in zip(words["specimen"], words["reviewer"], strict=True):
                if specimen in self.row_of:
                    self._said_by(reviewer)[self.row_of[specimen]] = True
            for one in consensus(history).to_dict("records"):
                row = self.row_of.get(one["specimen"], -1)
                if row >= 0 and one["verdict"]:
                    plain = f"<{one['verdict']}>"
                    self.settled[row] = one["taxon"] if one["verdict"] == TAXON else plain
                if row >= 0:
                    self.conflict[row] = one["conflict"]
            for sample in set(self.samples[rows].tolist()):
                self._estimates.pop(sample, None)
                self._changes[sample] = self._changes.get(sample, 0) + 1

    def _said_by(self, reviewer: str) -> npt.NDArray[np.bool_]:
        return self._said.setdefault(reviewer, np.zeros(len(self.ids), bool))

    def decide(self, reviewer: str, words: Sequence[Word]) -> list[int]:
        """Record verdicts; returns their numbers, once they are kept.

        What the reviewer says already is not recorded again.

        Raises
        ------
        InputError
            When a specimen is not of the collection, or a verdict says nothing.
        """
        naming, decisions = self.naming, []
        for word in words:
            said = naming.table.iloc[self.row(word.specimen)]
            verdict, taxon = word.verdict, word.taxon
            if verdict == TAXON:
                verdict, taxon = verdict_of(taxon)
            shown = word.suggested is not None
            decisions.append(
                Decision(
                    word.specimen,
                    verdict,
                    taxon,
                    reviewer,
                    suggested=str(word.suggested if shown else said["best"]),
                    probability=word.probability if shown else float(said["best_probability"]),
                    model=self.prepared.model.weights_sha256,
                )
            )
        numbers = self.store.record(self.store.unsaid(decisions))
        self.refresh()
        return numbers

    def undo(self, reviewer: str) -> list[Decision]:
        """Take back what a reviewer recorded last; empty when there is nothing."""
        taken = self.store.undo(reviewer)
        self.refresh()
        return taken

    def row(self, specimen: str) -> int:
        """The row of a specimen; `NotFoundError` when it is not of the collection."""
        if specimen not in self.row_of:
            raise NotFoundError(f"{specimen} is no specimen of this collection.")
        return self.row_of[specimen]

    # Names

    def is_stale(self) -> bool:
        """Whether enough was settled since the last naming for names to be made again."""
        with self.lock:
            changed = np.flatnonzero(self.settled != self._as_named)
            known = set(self.naming.model.references.classes_) | {""}
            names = {n for n in self.settled[changed].tolist() if not n.startswith("<")}
            gone = {n for n in self._as_named[changed].tolist() if not n.startswith("<")}
            own = set(self.prepared.model.references.classes_) | {""}
            return len(changed) >= RENEW_AFTER or bool(names - known) or bool(gone - own)

    def renew(self) -> None:
        """Name all specimens again, with what is settled by now among the references."""
        with self.lock:
            number, as_named = self.naming.number + 1, self.settled.copy()
        naming = self._name(number, as_named)
        with self.lock:
            self.naming, self._as_named = naming, as_named

    def _name(self, number: int, settled: Names) -> Naming:
        plain = self.prepared.model
        there = set(plain.references.ids)
        rows = [i for i in np.flatnonzero(_is_taxon(settled)).tolist() if self.ids[i] not in there]
        model = plain
        if rows:
            ids = self.ids[rows].tolist()
            more = plain.identifier.add_references(ids, settled[rows], self.got.vectors[rows])
            model = plain.with_identifier(more)
        ranking = model.predict_proba(self.got)
        table = model.identifier.identify(self.got, scores=ranking)
        if rows:
            some = self.got[rows]
            own = plain.predict_proba(some)
            table.iloc[rows] = plain.identifier.identify(some, scores=own)
            columns = np.searchsorted(model.references.classes_, plain.references.classes_)
            ranking[rows] = 0
            ranking[np.ix_(np.array(rows), columns)] = own
        worth = priorities(table, self.samples, model.calibrated)
        order = taking_turns(worth["priority"].to_numpy(), self.got.vectors)
        everything = pd.concat([table, worth], axis=1)
        return Naming(number, model, ranking, everything, order, frozenset(rows))

    def names(self, rows: Rows = ALL) -> Names:
        """What specimens are called now: as settled, else as the model says; "" for unknown."""
        with self.lock:
            settled = self.settled[rows]
            named = self.naming.table["taxon"].to_numpy(dtype=object)[rows]
            plain = np.where(_is_taxon(settled), settled, "")
            return np.asarray(np.where(settled == "", named, plain), dtype=object)

    def states(self, rows: Rows = ALL) -> Names:
        """How names came about: settled, conflict, or the model's accepted, genus, unknown."""
        with self.lock:
            said = self.naming.table["decision"].to_numpy(dtype=object)[rows]
            found = np.where(self.settled[rows] != "", "settled", said)
            return np.asarray(np.where(self.conflict[rows], "conflict", found), dtype=object)

    def progress(self) -> dict[str, float]:
        """How many are settled, and the share of right names to be expected over all."""
        with self.lock:
            known = self.settled != ""
            right = np.where(known, 1.0, 1 - self.naming.doubt)
            return {
                "specimens": len(self.ids),
                "settled": int(known.sum()),
                "conflicts": int(self.conflict.sum()),
                "expected_right": round(float(right.mean()), 5),
            }

    # The queue

    def next_for(self, reviewer: str, count: int, held: Sequence[str] = ()) -> list[str]:
        """The specimens that a reviewer should see next, the most telling first.

        Left out: the settled, what the reviewer has said or skipped, `held` (on the page already),
        and what another reviewer has on screen, unless nothing else is left.
        """
        with self.lock:
            now = time.monotonic()
            open_ = (self.settled == "") & ~self._said_by(reviewer)
            on_screen = [self.row_of[i] for i in held if i in self.row_of]
            open_[on_screen] = False
            self._lent_to[on_screen], self._lent_at[on_screen] = reviewer, now
            lent = (now - self._lent_at < LENT) & (self._lent_to != reviewer)
            order = self.naming.order
            rows = order[(open_ & ~lent)[order]][:count]
            if not len(rows):
                rows = order[open_[order]][:count]
            self._lent_to[rows], self._lent_at[rows] = reviewer, now
            return [str(i) for i in self.ids[rows]]

    def left_for(self, reviewer: str) -> int:
        """How many specimens a reviewer has not been asked about."""
        with self.lock:
            return int(((self.settled == "") & ~self._said_by(reviewer)).sum())

    # Looking

    @cached_property
    def columns(self) -> list[str]:
        """What the map can be coloured by: what is known of names, and the collection's columns."""
        table = self.shells.specimens
        own = [
            str(name)
            for name in table.columns
            if name not in (*CORE_COLUMNS, *COMPUTED)
            and table[name].notna().any()
            and (
                pd.api.types.is_numeric_dtype(table[name])
                or table[name].astype(str).nunique() <= MOST_LEVELS
            )
        ]
        label = ["label"] if table["label"].notna().any() else []
        sample = ["sample"] if (self.samples != "").any() else []
        return [*COMPUTED, *sample, *label, *own]

    def candidates(self, row: int) -> list[dict[str, Any]]:
        """The likeliest taxa of a specimen, each with its nearest references."""
        naming = self.naming
        ranking, vector = naming.ranking[row], self.got.vectors[row]
        return candidates(
            naming.model.references, ranking, vector, CANDIDATES, REFERENCES, str(self.ids[row])
        )

    def evidence(self, row: int) -> str:
        """In words what speaks for the likeliest name."""
        naming = self.naming
        plain = self.prepared.model.references
        references = plain if row in naming.own else naming.model.references
        _, near = references.kneighbors(self.got.vectors[row : row + 1])
        taxa = pd.Series(references.taxa[near[0]]).value_counts()
        votes = ", ".join(f"{count} {taxon}" for taxon, count in taxa.items())
        reason = naming.table["reason"].iloc[row]
        return f"{reason}; of its {len(near[0])} nearest references {votes}"

    def search(self, text: str) -> npt.NDArray[np.int64]:
        """The rows of specimens whose id, image, sample or name holds a text."""
        wanted = text.strip().casefold()
        if not wanted:
            return np.zeros(0, np.int64)
        table = self.shells.specimens
        columns = [self.ids, table["image"], self.samples, self.names(), table["label"].fillna("")]
        found = np.zeros(len(self.ids), bool)
        for column in columns:
            folded = pd.Series(column, dtype="object").astype(str).str.casefold()
            found |= folded.str.contains(wanted, regex=False).to_numpy()
        return np.flatnonzero(found)

    @cached_property
    def index(self) -> Index:
        """For search by similarity."""
        return Index(self.got.vectors)

    def similar(self, vector: npt.NDArray[np.float32], most: int = 24) -> list[dict[str, Any]]:
        """The specimens nearest to a vector, nearest first."""
        with self.lock:
            index = self.index
        distances, rows = index.nearest(vector[None], most)
        names = self.names()
        return [
            {"id": self.ids[row], "name": str(names[row]), "distance": round(float(away), 3)}
            for away, row in zip(distances[0], rows[0], strict=True)
        ]

    def identified(self, got: Embeddings) -> dict[str, Any]:
        """Name one specimen that is not of the collection, and say where it lies on the map."""
        naming = self.naming
        ranking = naming.model.predict_proba(got)
        said = naming.model.identifier.identify(got, scores=ranking).iloc[0]
        place = self.prepared.space.near(got.vectors)[0]
        return {
            **{c: str(said[c]) for c in ("taxon", "decision", "reason")},
            "probability": float(said["probability"]),
            "novelty": float(said["novelty"]),
            "candidates": candidates(
                naming.model.references, ranking[0], got.vectors[0], CANDIDATES, REFERENCES
            ),
            "similar": self.similar(got.vectors[0]),
            "x": float(place[0]),
            "y": float(place[1]),
        }

    # Morphotypes

    def group_unknown(self, reviewer: str) -> int:
        """Group what is unknown and not settled; returns the number of groups.

        Raises
        ------
        InputError
            When too few are unknown.
        """
        with self.lock:
            naming = self.naming
            unknown = (self.settled == "") & naming.table["decision"].isin(NOT_NAMED).to_numpy()
            unknown |= self.settled == f"<{UNKNOWN}>"
            rows = np.flatnonzero(unknown)
        if len(rows) < LEAST:
            raise InputError(f"{len(rows)} specimens are unknown: too few to group.")
        model = naming.model
        found = discover(
            self.got.vectors[rows],
            model.references,
            model.calibration,
            learned=model.card.projection_dim,
        )
        with self.lock:
            self.groups.refresh()
            first = self.groups.next_number() - 1
            to = {specimen: 0 for specimen in self.groups.of if specimen in self.row_of}
            for row, group in zip(rows, found.morphotype.tolist(), strict=True):
                if group:
                    to[str(self.ids[row])] = first + group
            self.groups.move(reviewer, "group", to)
        return len(found.groups)

    def morphotypes(self) -> list[dict[str, Any]]:
        """The groups, the largest first: their specimens, the most typical first, and what is like.

        Each with number, name ("" while unnamed), specimens (how many), members (ids), cohesion
        (mean cosine to the centre), known (mean chance of being of a known taxon), and nearest
        (known taxa with their distances, and the reference of each that is nearest).
        """
        with self.lock:
            self.groups.refresh()
            of, names = dict(self.groups.of), dict(self.groups.names)
        references = self.naming.model.references
        centroids = references.centroids / np.linalg.norm(
            references.centroids, axis=1, keepdims=True
        )
        taxa, found = self.naming.taxa, []
        table = pd.Series({i: g for i, g in of.items() if i in self.row_of}, dtype="object")
        for group, members in table.groupby(table):
            rows = np.array([self.row_of[str(i)] for i in members.index])
            vectors = self.got.vectors[rows]
            raw = vectors.mean(0)
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
            centre = vectors.mean(0) / max(float(np.linalg.norm(vectors.mean(0))), 1e-12)
            typical = vectors @ centre
            away = np.linalg.norm(centroids - centre, axis=1)
            order = rows[np.argsort(-typical, kind="stable")]
            found.append(
                {
                    "number": int(str(group)),
                    "name": names.get(int(str(group)), ""),
                    "specimens": len(rows),
                    "members": [str(i) for i in self.ids[order[:MEMBERS]]],
                    "cohesion": round(float(typical.mean()), 3),
                    "known": round(float(self.naming.table["known"].iloc[rows].mean()), 3),
                    "nearest": [
                        {
                            "taxon": str(taxa[t]),
                            "distance": round(float(away[t]), 3),
                            "reference": nearest_of(references, str(taxa[t]), raw, 1)[0]["id"],
                        }
                        for t in np.argsort(away, kind="stable")[:3]
                    ],
                }
            )
        return sorted(found, key=lambda g: (bool(g["name"]), -int(str(g["specimens"]))))

    def morphotype_of(self) -> Names:
        """The group of each specimen, by name or number; "" for those in none."""
        with self.lock:
            of, names = self.groups.of, self.groups.names
            labels = {g: names.get(g, f"morphotype {g}") for g in set(of.values())}
            return np.asarray([labels.get(of.get(i, 0), "") for i in self.ids], dtype=object)

    def split_group(self, reviewer: str, group: int) -> int:
        """Part a group in two, where it parts most easily; returns the number of the new one.

        Raises
        ------
        InputError
            When the group has fewer than two specimens; `NotFoundError` for no group.
        """
        with self.lock:
            self.groups.refresh()
            members = [i for i in self.groups.members(group) if i in self.row_of]
            if not members:
                raise NotFoundError(f"there is no group {group}.")
            if len(members) < 2:
                raise InputError(f"group {group} has one specimen: nothing to part.")
            halves, _ = groups_of(self.vectors_of(members), 2)
            # The smaller part leaves.
            leaves = 1 + int((halves == 2).sum() < (halves == 1).sum())
            new = self.groups.next_number()
            to = {i: new for i, half in zip(members, halves.tolist(), strict=True)
                  if half == leaves}  # fmt: skip
            self.groups.move(reviewer, "split", to)
        return new

    def name_group(self, reviewer: str, group: int, name: str) -> int:
        """Call all specimens of a group by one name; returns how many decisions that made."""
        if verdict_of(name)[0] != TAXON:
            raise InputError(f"{name!r} is a verdict, not a name.")
        with self.lock:
            self.groups.refresh()
            members = [i for i in self.groups.members(group) if i in self.row_of]
            if not members:
                raise NotFoundError(f"there is no group {group}.")
            numbers = self.decide(reviewer, [Word(i, TAXON, name) for i in members])
            more = {"group": group, "name": " ".join(name.split()), "decisions": numbers}
            self.groups.move(reviewer, "name", {}, **more)
        return len(numbers)

    def undo_step(self, reviewer: str) -> dict[str, Any] | None:
        """Take back a reviewer's last step with groups, and the decisions it made."""
        with self.lock:
            found = self.groups.last(reviewer)
            if found is not None and found[1].get("decisions"):
                # These first: a step that is undone is not found again.
                self.store.take_back(found[1]["decisions"])
                self.refresh()
            return self.groups.undo(reviewer)

    def vectors_of(self, specimens: Sequence[str]) -> npt.NDArray[np.float32]:
        """The vectors of specimens, in the order given."""
        return self.got.vectors[[self.row(i) for i in specimens]]

    # Samples

    def assemblage(self, sample: str = "") -> Assemblage:
        """Counts and shares of every sample, or of one, as names and decisions are now.

        Only samples that have changed are estimated again.

        Raises
        ------
        InputError
            When no specimen has a sample.
        """
        with self.lock:
            naming, settled = self.naming, self.settled.copy()
            new = sorted({*settled[_is_taxon(settled)].tolist()} - set(naming.taxa.tolist()))
            # Estimates have one number for each taxon: of other taxa they are of no use.
            if self._estimated_with != (naming.number, tuple(new)):
                self._estimates, self._estimated_with = {}, (naming.number, tuple(new))
            estimates, changes = dict(self._estimates), dict(self._changes)
        plain = np.array([name.strip("<>") if name.startswith("<") else name for name in settled])
        wanted = self.samples == sample if sample else self.samples != ""
        rows = np.flatnonzero(wanted & ~np.isin(plain, NOT_COUNTED))
        if not len(rows):
            raise InputError("no specimen of this collection has a sample to be counted in.")
        shares, samples = count_samples(
            self.shells.specimens.iloc[rows].reset_index(drop=True),
            naming.table.iloc[rows].reset_index(drop=True),
            np.pad(naming.ranking[rows], ((0, 0), (0, len(new)))),
            [*naming.taxa.tolist(), *new],
            naming.model.calibrated,
            plain[rows].astype(object),
            depth=self.depth,
            estimates=estimates,
        )
        with self.lock:  # what was decided meanwhile is not in these estimates
            if self._estimated_with == (naming.number, tuple(new)):
                for name, found in estimates.items():
                    if self._changes.get(name) == changes.get(name):
                        self._estimates[name] = found
        skipped = self.prepared.skipped
        return Assemblage(shares, samples, skipped, int((self.samples == "").sum()))

    def named(self) -> tuple[Collection, pd.DataFrame]:
        """For an export: the collection as settled, and the model's names of all that is not.

        A specimen that the collection itself names keeps that name until a reviewer says otherwise.
        """
        with self.lock:
            table, settled = self.shells.specimens.copy(), self.settled.copy()
            naming = self.naming
            together = consensus(self.store.history()).set_index("specimen")
        taxon = _is_taxon(settled)
        table["taxon"] = table["taxon"].astype(object)
        table.loc[settled != "", "taxon"] = None
        table.loc[taxon, "taxon"] = settled[taxon]
        table["decided"] = [name.strip("<>") if name.startswith("<") else "taxon" * bool(name)
                            for name in settled]  # fmt: skip
        by = together["agreeing"].reindex(table["id"]).fillna("").to_numpy()
        table["decided_by"] = np.where(settled == "", "", by)
        open_ = (settled == "") & (table["taxon"].fillna("") == "").to_numpy()
        names = naming.table[open_].assign(image=table["image"][open_])
        return Collection(table, self.shells.images, self.shells.info), names


def _is_taxon(settled: Names) -> npt.NDArray[np.bool_]:
    """Where a settled name is that of a taxon: not "", not a verdict in angle brackets."""
    return np.array([bool(name) and not name.startswith("<") for name in settled], bool)
