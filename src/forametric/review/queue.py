"""Which specimens an expert should look at first, with what there is to go by.

First come those whose answer tells most: where the decision is likely to be wrong, and in small
samples, where one name moves the shares most. Specimens that look alike take turns, so that the
first fifty are not fifty of the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from forametric.data.collection import Collection
from forametric.data.thumbnails import thumbnail_url
from forametric.errors import InputError
from forametric.model.model import Model
from forametric.review.candidates import candidates
from forametric.review.decisions import consensus
from forametric.review.priority import priorities, taking_turns
from forametric.review.store import Decisions
from forametric.utils.files import atomic_folder, refuse_existing, write_json
from forametric.utils.html import write_page

PICTURED = 300  # specimens on the page at most
CANDIDATES = 3  # taxa shown for each


@dataclass(frozen=True)
class Queue:
    """What `queue_of_collection` wrote.

    Attributes
    ----------
    table : DataFrame
        As `queue.csv`.
    skipped : DataFrame
        The images that could not be read (image, reason).
    """

    table: pd.DataFrame
    skipped: pd.DataFrame


def queue_of_collection(
    model: Model,
    collection: Collection,
    output: Path,
    *,
    decisions: Decisions | None = None,
    reference_images: Collection | None = None,
    overwrite: bool = False,
) -> Queue:
    """Write the specimens in the order in which an expert should see them, to look at and fill in.

    `queue.csv`: rank, id, image, sample, best, best_probability, second, second_probability,
    decision, reason, known, doubt, influence, priority, model (the hash of its weights), and an
    empty column `expert`, which `decisions_in` reads. `queue.html`: the first 300 with their
    pictures, beside the likeliest taxa and, where the collection of the reference_images is given, the
    pictures of the nearest ones of each.

    Parameters
    ----------
    decisions : Decisions, optional
        Specimens on which the reviewers have settled are left out.

    Raises
    ------
    InputError
        When nothing is left to ask, or no image can be read.
    ModelError
        For a model without calibration.
    """
    refuse_existing(output, overwrite)
    calibration = model.calibrated
    if decisions:
        found = consensus(decisions.history())
        settled = set(found.loc[found["verdict"] != "", "specimen"])
        collection = collection.select(~collection.specimens["id"].isin(settled).to_numpy())
        if not len(collection):
            raise InputError("every specimen of the collection has been settled.")
    got = model.embed(collection)
    skipped, shells = got.skipped, collection.select(got.rows)
    ranking = model.predict_proba(got)
    names = model.identifier.identify(got, scores=ranking)
    samples = shells.specimens["sample"].fillna("").astype(str).to_numpy(dtype=object)
    worth = priorities(names, samples, calibration)
    order = taking_turns(worth["priority"].to_numpy(), got.vectors)
    front = shells.specimens[["id", "image", "sample"]]
    table = pd.concat([front, names.drop(columns="probability"), worth.round(4)], axis=1)
    table = table.iloc[order].reset_index(drop=True).assign(model=model.weights_sha256, expert="")
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    known = (
        [] if reference_images is None else reference_images.specimens["id"].astype(str).tolist()
    )
    places = {name: row for row, name in enumerate(known)}
    with atomic_folder(output, overwrite) as temporary:
        table.to_csv(temporary / "queue.csv", index=False)
        if len(skipped):
            skipped.to_csv(temporary / "skipped.csv", index=False)
        write_json(temporary / "queue.json", {**model.embedder.origin, "specimens": len(table)})
        shown = [
            _card(model, shells, row, ranking[row], got.vectors[row], reference_images, places)
            for row in order[:PICTURED].tolist()
        ]
        write_page(
            temporary / "queue.html",
            "queue.html",
            title=f"To review: {collection.info.get('name', '')}",
            rows=[
                {**row, **card} for row, card in zip(table.to_dict("records"), shown, strict=False)
            ],
            count=len(table),
        )
    return Queue(table, skipped)


def _card(
    model: Model,
    shells: Collection,
    row: int,
    ranking: npt.NDArray[np.float32],
    vector: npt.NDArray[np.float32],
    reference_images: Collection | None,
    places: dict[str, int],
) -> dict[str, Any]:
    """A specimen's picture, and its likeliest taxa each with its nearest reference."""
    found = []
    for one in candidates(model.references, ranking, vector, CANDIDATES, 1):
        picture = ""
        if reference_images is not None:
            picture = thumbnail_url(reference_images, places.get(one["reference_images"][0]["id"]))
        found.append({"taxon": one["taxon"], "chance": one["probability"], "picture": picture})
    return {"picture": thumbnail_url(shells, row, 160), "candidates": found}
