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
from sklearn.cluster import MiniBatchKMeans

from forametric.calibration import Calibration
from forametric.collection import Collection
from forametric.embedder import Embedder
from forametric.errors import InputError
from forametric.files import atomic_folder, refuse_existing, write_json
from forametric.gallery import Gallery
from forametric.identify import embed_readable, name_vectors
from forametric.page import thumbnail_url, write_page
from forametric.review.decisions import Decisions, consensus
from forametric.strangers import chance_known

PICTURED = 300  # specimens on the page at most
CANDIDATES = 3  # taxa shown for each
Floats = npt.NDArray[np.float64]


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


def priorities(
    names: pd.DataFrame, samples: npt.NDArray[np.object_], calibration: Calibration
) -> pd.DataFrame:
    """How much an expert's word on each specimen is worth.

    Parameters
    ----------
    names : DataFrame
        `identify.name_vectors` of the specimens.
    samples : ndarray of str, shape (n,)
        Which sample each is of; "" where that is not known.

    Returns
    -------
    DataFrame
        known: the chance that it is of a known taxon; doubt: the chance that the decision is
        wrong; influence: how much of its sample's standard
        error one specimen makes, 1 in the smallest sample; priority: their product.
    """
    known = chance_known(names["novelty"].to_numpy(np.float32), calibration)
    right = known * names["probability"].to_numpy(float)
    doubt = np.where(names["decision"] == "unknown", known, 1 - right)
    size = pd.Series(samples).map(pd.Series(samples).value_counts()).to_numpy(dtype=float)
    influence = np.sqrt(size.min() / size)
    return pd.DataFrame(
        {"known": known, "doubt": doubt, "influence": influence, "priority": doubt * influence}
    )


def taking_turns(priority: Floats, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The order in which to ask: by priority, but specimens that look alike take turns.

    Of each of √n groups of like specimens the n-th counts 1/√√n: enough that half as many taxa
    more are among the first fifty, at the cost of a few of the likeliest errors. The same specimens
    always come in the same order.
    """
    groups = MiniBatchKMeans(max(1, round(len(vectors) ** 0.5)), random_state=0, n_init=1)
    of = pd.Series(groups.fit_predict(vectors))
    turn = pd.Series(-priority).groupby(of).rank(method="first").to_numpy()
    return np.argsort(-priority / turn**0.25, kind="stable")


def queue_of_collection(
    model: Embedder,
    collection: Collection,
    output: Path,
    *,
    decisions: Decisions | None = None,
    references: Collection | None = None,
    overwrite: bool = False,
) -> Queue:
    """Write the specimens in the order in which an expert should see them, to look at and fill in.

    `queue.csv`: rank, id, image, sample, best, best_probability, second, second_probability,
    decision, reason, known, doubt, influence, priority, model (the hash of its weights), and an
    empty column `expert`, which `decisions_in` reads. `queue.html`: the first 300 with their
    pictures, beside the likeliest taxa and, where the collection of the references is given, the
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
    got, skipped = embed_readable(model, collection.specimens["image"], collection.paths())
    shells = collection.select(got.rows)
    ranking = model.predict_proba(got)
    names = name_vectors(model, got, ranking)
    samples = shells.specimens["sample"].fillna("").astype(str).to_numpy(dtype=object)
    worth = priorities(names, samples, calibration)
    order = taking_turns(worth["priority"].to_numpy(), got.vectors)
    front = shells.specimens[["id", "image", "sample"]]
    table = pd.concat([front, names.drop(columns="probability"), worth.round(4)], axis=1)
    table = table.iloc[order].reset_index(drop=True).assign(model=model.weights, expert="")
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    known = [] if references is None else references.specimens["id"].astype(str).tolist()
    places = {name: row for row, name in enumerate(known)}
    with atomic_folder(output, overwrite) as temporary:
        table.to_csv(temporary / "queue.csv", index=False)
        if len(skipped):
            skipped.to_csv(temporary / "skipped.csv", index=False)
        write_json(temporary / "queue.json", {**model.about, "specimens": len(table)})
        shown = [
            _card(model, shells, row, ranking[row], got.vectors[row], references, places)
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
    model: Embedder,
    shells: Collection,
    row: int,
    ranking: npt.NDArray[np.float32],
    vector: npt.NDArray[np.float32],
    references: Collection | None,
    places: dict[str, int],
) -> dict[str, Any]:
    """A specimen's picture, and its likeliest taxa each with its nearest reference."""
    found = []
    for one in candidates(model.gallery, ranking, vector, CANDIDATES, 1):
        picture = ""
        if references is not None:
            picture = thumbnail_url(references, places.get(one["references"][0]["id"]))
        found.append({"taxon": one["taxon"], "chance": one["probability"], "picture": picture})
    return {"picture": thumbnail_url(shells, row, 160), "candidates": found}


def candidates(
    gallery: Gallery,
    ranking: npt.NDArray[np.float32],
    vector: npt.NDArray[np.float32],
    taxa: int,
    references: int,
    without: str = "",
) -> list[dict[str, Any]]:
    """A specimen's likeliest taxa, each with its references that lie nearest to it.

    Parameters
    ----------
    ranking : ndarray of float32, shape (gallery's taxa,)
    taxa, references : int
        How many taxa, and references of each.
    without : str
        The specimen's own id, where it may be a reference itself.

    Returns
    -------
    list of dict
        taxon, probability, references (each with id and distance).
    """
    names = gallery.classes_
    return [
        {
            "taxon": names[number],
            "probability": round(float(ranking[number]), 4),
            "references": nearest_of(gallery, names[number], vector, references, without),
        }
        for number in np.argsort(-ranking, kind="stable")[:taxa]
    ]


def nearest_of(
    gallery: Gallery, taxon: str, vector: npt.NDArray[np.float32], most: int, without: str = ""
) -> list[dict[str, Any]]:
    """A taxon's references that lie nearest to a vector: id and distance, nearest first."""
    own = np.flatnonzero(gallery.taxa == taxon)
    own = own[[gallery.ids[i] != without for i in own]]
    away = np.linalg.norm(gallery.vectors[own] - vector, axis=1)
    return [
        {"id": gallery.ids[own[i]], "distance": round(float(away[i]), 3)}
        for i in np.argsort(away, kind="stable")[:most]
    ]
