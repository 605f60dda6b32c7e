"""Look a collection over: unreadable files, duplicates, classes too small to learn."""

from __future__ import annotations

from typing import Any

from forametric.collection import Collection
from forametric.errors import InputError
from forametric.images import decode
from forametric.progress import bar
from forametric.sources.importing import find_duplicates
from forametric.splits import small_taxa


def check_collection(collection: Collection) -> dict[str, Any]:
    """Read every image again and report what is wrong.

    Returns
    -------
    dict
        `specimens`, `taxa`, `unlabelled`; `unreadable` (image → reason); `duplicates` and
        `conflicting` (the duplicates that are filed under two names), each a list of rows with id,
        image, same_as, label, same_as_label; `small` (taxon → number, fewer than three specimens).
    """
    unreadable: dict[str, str] = {}
    with bar("reading images", len(collection)) as advance:
        for row, image in enumerate(collection.specimens["image"].astype(str)):
            try:
                decode(collection.path(row))
            except InputError as error:
                unreadable[image] = str(error)
            advance(1)
    duplicates = find_duplicates(collection.specimens)
    labels = duplicates[["label", "same_as_label"]].fillna("")
    conflicting = duplicates[labels["label"] != labels["same_as_label"]]
    taxa = collection.taxa()
    return {
        "specimens": len(collection),
        "taxa": len(set(taxa) - {""}),
        "unlabelled": int((taxa == "").sum()),
        "unreadable": unreadable,
        "duplicates": duplicates.to_dict("records"),
        "conflicting": conflicting.to_dict("records"),
        "small": small_taxa(collection),
    }
