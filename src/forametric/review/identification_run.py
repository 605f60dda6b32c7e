"""One identification of a whole collection, with the settled specimens among the references."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from forametric._typing import BoolArray, Float64Array, FloatArray, IntArray, NameArray
from forametric.data.verdicts import Verdict
from forametric.identification.drift import Drift
from forametric.model.model import Model
from forametric.review.priority import priorities, review_order
from forametric.review.project import EmbeddedCollection

UPDATE_AFTER = 25  # changed decisions after which the collection is identified again


@dataclass(frozen=True, eq=False)
class Settled:
    """The decisions on which the reviewers agree, one entry for each specimen.

    Attributes
    ----------
    verdicts : ndarray of str, shape (n,)
        A `Verdict`, or "" where they do not agree or have not decided.
    taxa : ndarray of str, shape (n,)
        The name, for the verdict `taxon`; else "".
    """

    verdicts: NameArray
    taxa: NameArray

    @classmethod
    def none(cls, count: int) -> Settled:
        """No decisions on a number of specimens."""
        return cls(np.full(count, "", dtype=object), np.full(count, "", dtype=object))

    def __getitem__(self, rows: IntArray) -> Settled:
        """The decisions on some specimens."""
        return Settled(self.verdicts[rows], self.taxa[rows])

    def copy(self) -> Settled:
        """A copy that does not change with this one."""
        return Settled(self.verdicts.copy(), self.taxa.copy())

    @property
    def is_settled(self) -> BoolArray:
        """Which specimens the reviewers agree on, shape (n,)."""
        return np.asarray(self.verdicts != "", bool)

    @property
    def is_taxon(self) -> BoolArray:
        """Which specimens have a settled name, shape (n,)."""
        return np.asarray(self.verdicts == Verdict.TAXON, bool)

    def differs(self, other: Settled) -> BoolArray:
        """Which specimens have another verdict or name in `other`, shape (n,)."""
        return np.asarray((self.verdicts != other.verdicts) | (self.taxa != other.taxa), bool)


@dataclass(frozen=True, eq=False)
class IdentificationRun:
    """All specimens, identified with the references that were settled at one time.

    Attributes
    ----------
    number : int
        Counted from 1.
    embedded : EmbeddedCollection
    samples : ndarray of str, shape (n,)
    settled : Settled
        The decisions that it takes into account.
    model : Model
        With the settled specimens among its references.
    probabilities : ndarray of float32, shape (n, taxa)
    table : DataFrame
        `priorities`: names, decisions, suggestions.
    order : ndarray of int64, shape (n,)
        The order in which to review.
    nearest : ndarray of int64, shape (n, 5)
        The positions of each specimen's nearest references.
    settled_references : frozenset of int
        Rows of the settled specimens among the references. They are identified without any of
        these: a second reviewer is not shown the answer of the first.
    drift : Drift
        How the images of each sample differ from those of validation.
    """

    number: int
    embedded: EmbeddedCollection
    samples: NameArray
    settled: Settled
    model: Model
    probabilities: FloatArray
    table: pd.DataFrame
    order: IntArray
    nearest: IntArray
    settled_references: frozenset[int]
    drift: Drift

    @property
    def taxa(self) -> list[str]:
        """The taxa that the columns of `probabilities` stand for."""
        return self.model.taxa

    @property
    def error_probability(self) -> Float64Array:
        """The probability that each decision of the model is wrong, shape (n,)."""
        return self.table["error_probability"].to_numpy(float)

    def needs_update(self, settled: Settled, rows: IntArray) -> bool:
        """Whether decisions have changed so much that specimens should be identified again.

        They should be after 25 changed decisions, for a new taxon, and when a taxon that only
        decisions have added is not settled any more.

        Parameters
        ----------
        rows : ndarray of int64
            The specimens about which anything was decided since.
        """
        before, now = self.settled[rows], settled[rows]
        changed = before.differs(now)
        added = set(now.taxa[changed].tolist()) - {"", *self.taxa}
        removed = set(before.taxa[changed].tolist()) - {"", *self.embedded.model.taxa}
        return int(changed.sum()) >= UPDATE_AFTER or bool(added) or bool(removed)

    def references_stay(self, settled: Settled) -> bool:
        """Whether every settled specimen among the references still has its name."""
        rows = np.array(sorted(self.settled_references), np.int64)
        return not self.settled[rows].differs(settled[rows]).any()

    def update(self, settled: Settled) -> IdentificationRun:
        """The next run, with what is settled now among the references."""
        run = identify_collection(self.embedded, self.samples, settled, self)
        return replace(run, number=self.number + 1)


def identify_collection(
    embedded: EmbeddedCollection,
    samples: NameArray,
    settled: Settled,
    previous: IdentificationRun | None = None,
) -> IdentificationRun:
    """Identify an embedded collection, with its settled specimens among the references.

    Where the references of a previous run all stay, only further ones are searched.
    """
    base, embeddings = embedded.model, embedded.embeddings
    ids = embedded.collection.specimens["id"].astype(str).to_numpy(dtype=object)
    references = set(base.references.ids)
    named = np.flatnonzero(settled.is_taxon).tolist()
    rows = np.array([row for row in named if ids[row] not in references], np.int64)
    model, new = base, rows
    if previous and previous.references_stay(settled):
        model = previous.model
        new = rows[~np.isin(rows, list(previous.settled_references))]
    if len(new):
        identifier = model.identifier.add_references(
            ids[new].tolist(),
            settled.taxa[new],
            embeddings.vectors[new],
            embeddings.statistics[new],
        )
        model = base.with_identifier(identifier)
    probabilities = model.predict_proba(embeddings)
    table = model.identifier.identify(embeddings, scores=probabilities)
    if len(rows):
        some = embeddings[rows]
        own = base.predict_proba(some)
        table.iloc[rows] = base.identifier.identify(some, scores=own)
        columns = np.searchsorted(model.taxa, base.taxa)
        probabilities[rows] = 0
        probabilities[np.ix_(rows, columns)] = own
    table = priorities(table, samples, model.calibrated)
    order = review_order(table)
    return IdentificationRun(
        number=1,
        embedded=embedded,
        samples=samples,
        settled=settled,
        model=model,
        probabilities=probabilities,
        table=table,
        order=order,
        nearest=model.references.kneighbors(embeddings.vectors)[1],
        settled_references=frozenset(rows.tolist()),
        # With the model's own references: specimens of the sample itself would hide it.
        drift=base.identifier.drift(embedded.statistic_differences, table, samples),
    )
