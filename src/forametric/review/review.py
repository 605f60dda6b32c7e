"""A review from Python: its queue, its decisions, and the labels that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import pandas as pd

from forametric._typing import PathLike
from forametric.data.collection import Collection
from forametric.errors import InputError
from forametric.model.model import Model
from forametric.review.agreement import Agreement, agreement
from forametric.review.decisions import consensus
from forametric.review.labels import apply_decisions, read_decisions
from forametric.review.project import Project, embed_project
from forametric.review.queue import ReviewQueue, queue_in_order
from forametric.review.store import DecisionStore
from forametric.review.workspace import ReviewWorkspace


class Review:
    """A review project: experts decide on the specimens that a model has identified.

    The collection is embedded and identified when that is first needed; the embeddings are kept in
    the project. `forametric.server.serve(review)` opens the review page.

    Attributes
    ----------
    project : Project
    store : DecisionStore

    Examples
    --------
    >>> review = Review.create("core-review", "core", "model")  # doctest: +SKIP
    >>> review.queue(50).save("to-review")  # doctest: +SKIP
    >>> review.record(pd.read_csv("to-review/queue.csv"), reviewer="K. Lee")  # doctest: +SKIP
    >>> review.labelled().save("core-reviewed")  # doctest: +SKIP
    """

    def __init__(self, project: Project, store: DecisionStore) -> None:
        self.project, self.store = project, store

    @classmethod
    def open(cls, folder: PathLike, *, database: str = "") -> Review:
        """Open a project; `database` is needed where its decisions are kept in PostgreSQL.

        Raises
        ------
        NotFoundError
            When the folder is not a review project.
        """
        project = Project.open(folder)
        return cls(project, DecisionStore(database) if database else project.open_store())

    @classmethod
    def create(
        cls,
        folder: PathLike,
        collection: Collection | PathLike,
        model: Model | PathLike,
        *,
        reference_images: Sequence[PathLike] = (),
        depth: str = "",
        database: str = "",
    ) -> Review:
        """Create a project.

        Parameters
        ----------
        collection : Collection or path
            What is to be reviewed. One that is not given as a folder is saved in the project.
        model : Model or path
            What identifies it.
        reference_images : sequence of path
            Collections that have the images of the model's references.
        depth : str
            The column with each sample's depth or age.
        database : str
            The address of a PostgreSQL database for the decisions; "" for a file in the project.

        Raises
        ------
        InputError
            When the folder is not empty, or the collection or the column cannot be used.
        ModelError
            For a model that cannot be loaded or has no calibration.
        """
        project = Project.create(
            folder,
            collection,
            model,
            reference_images=reference_images,
            depth=depth,
            external=bool(database),
        )
        return cls(project, DecisionStore(database) if database else project.open_store())

    def __repr__(self) -> str:
        return f"Review({str(self.project.folder)!r}, {len(self.store.history())} decisions)"

    @cached_property
    def workspace(self) -> ReviewWorkspace:
        """The embedded and identified collection, with its decisions."""
        return ReviewWorkspace(embed_project(self.project), self.store, self.project.depth)

    def queue(self, count: int | None = None) -> ReviewQueue:
        """The specimens to review next, of those that are not settled.

        Specimens settled earlier are among the references by which the others are identified.

        Raises
        ------
        InputError
            When every specimen is settled.
        """
        workspace = self.workspace
        workspace.refresh()
        if workspace.needs_update():
            workspace.update()
        run = workspace.identification
        rows = run.order[~workspace.settled.is_settled[run.order]][:count]
        if not len(rows):
            raise InputError("every specimen of the collection has been settled.")
        return queue_in_order(
            rows,
            workspace.collection,
            workspace.embeddings,
            run.table,
            run.probabilities,
            run.model.references,
            reference_images=[Collection.open(path) for path in self.project.reference_images],
            fingerprint=workspace.embedded.model.fingerprint,
        )

    def record(self, table: pd.DataFrame, *, reviewer: str) -> int:
        """Record a table that an expert has filled in; returns the number of new decisions.

        Raises
        ------
        InputError
            As `read_decisions`.
        """
        decisions = read_decisions(table, Collection.open(self.project.collection), reviewer)
        return len(self.store.record(decisions))

    def history(self) -> pd.DataFrame:
        """Every row of the store: `DecisionStore.history`."""
        return self.store.history()

    def consensus(self) -> pd.DataFrame:
        """The common decision of all reviewers on each specimen."""
        return consensus(self.store.history())

    def agreement(self) -> Agreement:
        """How far the reviewers agree beyond chance."""
        return agreement(self.store.history())

    def labelled(self) -> Collection:
        """The collection with the names on which the reviewers agree: `apply_decisions`."""
        return apply_decisions(Collection.open(self.project.collection), self.store)
