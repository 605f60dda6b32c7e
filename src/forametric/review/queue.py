"""Rank specimens for expert review, with the evidence for each.

First come the specimens on which a decision improves the result most: where the model is likely to
be wrong, and in small samples, where one name changes the abundances most.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forametric._typing import FloatArray, IntArray, PathLike
from forametric.data.collection import Collection
from forametric.data.embeddings import Embeddings, skipped_table
from forametric.data.inputs import check_output_folder
from forametric.data.sources import open_collection
from forametric.data.thumbnails import table_with_thumbnails, thumbnail_url
from forametric.errors import InputError
from forametric.identification.references import ReferenceSet
from forametric.model.model import Model
from forametric.review.candidates import candidates
from forametric.review.decisions import consensus
from forametric.review.priority import priorities, review_order
from forametric.review.store import DecisionStore
from forametric.review.views import Candidate
from forametric.utils.files import write_json
from forametric.utils.html import write_page
from forametric.utils.outputs import atomic_folder
from forametric.utils.results import Result

SHOWN = 300  # specimens on the page
THUMBNAIL = 160  # px, of a specimen on the page
N_CANDIDATES = 3  # taxa shown for each


@dataclass(frozen=True, eq=False, repr=False)
class ReviewQueue(Result):
    """Specimens in the order in which an expert should review them.

    Attributes
    ----------
    table : DataFrame
        rank, id, image, sample; the columns of `priorities`; model (its fingerprint), and an empty
        column `expert`, which `read_decisions` reads.
    skipped : DataFrame
        The images that could not be read: image, reason.
    collection : Collection
        The collection that `rows` are positions in.
    candidates : list of list of Candidate
        For the first 300: their most probable taxa, each with its nearest reference.
    reference_images : list of Collection
        Collections that have the images of references.
    """

    table: pd.DataFrame
    skipped: pd.DataFrame
    collection: Collection
    rows: IntArray
    candidates: list[list[Candidate]]
    reference_images: list[Collection] = field(default_factory=list)
    origin: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.table)

    def __str__(self) -> str:
        return f"{len(self)} specimens to review"

    @property
    def summary(self) -> dict[str, Any]:
        """specimens, first (the ids of the first twenty)."""
        return {"specimens": len(self), "first": self.table["id"].head(20).tolist()}

    def _repr_html_(self) -> str:
        columns = ["rank", "suggestion", "suggestion_probability", "decision"]
        return table_with_thumbnails(self.table, columns, self.collection, repr(self))

    def save(self, folder: PathLike, *, overwrite: bool = False) -> Path:
        """Write `queue.csv` to fill in, `queue.html` to look at, and `queue.json`; the folder."""
        folder = Path(folder)
        check_output_folder(folder, overwrite, self.collection, *self.reference_images)
        with atomic_folder(folder, overwrite) as temporary:
            self.table.to_csv(temporary / "queue.csv", index=False)
            if len(self.skipped):
                self.skipped.to_csv(temporary / "skipped.csv", index=False)
            write_json(temporary / "queue.json", {**self.origin, "specimens": len(self)})
            write_page(
                temporary / "queue.html",
                "queue.html",
                title=f"To review: {self.collection.info.get('name', '')}",
                rows=self._cards(),
                count=len(self),
            )
        return folder

    def _cards(self) -> list[dict[Hashable, Any]]:
        """The first specimens with their thumbnails and candidates, for the page."""
        references = self._reference_places()
        cards: list[dict[Hashable, Any]] = []
        rows = self.table.head(len(self.candidates)).to_dict("records")
        for values, row, found in zip(rows, self.rows.tolist(), self.candidates, strict=False):
            shown = [
                {
                    "taxon": candidate.taxon,
                    "probability": candidate.probability,
                    "thumbnail": next(
                        (
                            thumbnail_url(*references[reference.id])
                            for reference in candidate.references
                            if reference.id in references
                        ),
                        "",
                    ),
                }
                for candidate in found
            ]
            thumbnail = thumbnail_url(self.collection, row, THUMBNAIL)
            cards.append({**values, "thumbnail": thumbnail, "candidates": shown})
        return cards

    def _reference_places(self) -> dict[str, tuple[Collection, int]]:
        """The collection and the row with the image of each reference."""
        return {
            str(specimen): (collection, row)
            for collection in self.reference_images
            for row, specimen in enumerate(collection.specimens["id"])
        }


def rank_for_review(
    model: Model,
    collection: Collection | PathLike,
    store: DecisionStore | None = None,
    reference_images: Collection | Sequence[Collection] = (),
) -> ReviewQueue:
    """Rank the specimens of a collection for expert review.

    Parameters
    ----------
    store : DecisionStore, optional
        Specimens on which its reviewers agree are left out.
    reference_images : Collection or sequence of Collection
        Collections that have the images of the model's references, for the page.

    Raises
    ------
    InputError
        When no specimen is left to review, or no image can be read.
    ModelError
        For a model without calibration.

    Examples
    --------
    >>> queue = rank_for_review(model, "core")  # doctest: +SKIP
    >>> queue.save("to-review")  # doctest: +SKIP
    """
    calibration = model.calibrated
    collection = open_collection(collection)
    if store is not None:
        agreed = consensus(store.history())
        settled = set(agreed.loc[agreed["verdict"] != "", "specimen"])
        collection = collection.select(~collection.specimens["id"].isin(settled).to_numpy())
        if not len(collection):
            raise InputError("every specimen of the collection has been settled.")
    embeddings = model.embed(collection)
    readable = collection.select(embeddings.rows)
    probabilities = model.predict_proba(embeddings)
    names = model.identifier.identify(embeddings, scores=probabilities)
    samples = readable.specimens["sample"].fillna("").astype(str).to_numpy(dtype=object)
    names = priorities(names, samples, calibration)
    order = review_order(names)
    return queue_in_order(
        order,
        readable,
        embeddings,
        names,
        probabilities,
        model.references,
        reference_images=[reference_images]
        if isinstance(reference_images, Collection)
        else reference_images,
        fingerprint=model.fingerprint,
    )


def queue_in_order(
    order: IntArray,
    collection: Collection,
    embeddings: Embeddings,
    names: pd.DataFrame,
    probabilities: FloatArray,
    references: ReferenceSet,
    *,
    reference_images: Sequence[Collection] = (),
    fingerprint: str = "",
) -> ReviewQueue:
    """The queue of some specimens of an identified collection.

    Parameters
    ----------
    order : ndarray of int64
        Their positions, in the order of the queue.
    names : DataFrame
        `priorities` of the whole collection.
    probabilities : ndarray of float32, shape (n, taxa of the references)
    """
    identity = collection.specimens[["id", "image", "sample"]].reset_index(drop=True)
    table = pd.concat([identity, names.drop(columns="probability")], axis=1)
    table = table.iloc[order].reset_index(drop=True).assign(model=fingerprint, expert="")
    digits = (
        "probability_known", "suggestion_probability", "error_probability", "influence",
        "priority",
    )  # fmt: skip
    table = table.round(dict.fromkeys(digits, 4))
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    ids = identity["id"].astype(str)
    found = [
        candidates(
            references, probabilities[row], embeddings.vectors[row], N_CANDIDATES, 1, ids.iloc[row]
        )
        for row in order[:SHOWN].tolist()
    ]
    skipped = embeddings.skipped if len(embeddings.skipped) else skipped_table()
    origin = {**embeddings.origin, "model": fingerprint}
    return ReviewQueue(table, skipped, collection, order, found, list(reference_images), origin)
