"""Files that a review offers for download: specimens, counts, figures, the history."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from forametric._typing import PathLike
from forametric.data.collection import Collection
from forametric.data.exporters import EXPORTERS, export
from forametric.data.verdicts import NOT_COUNTED, REVIEWERS_COLUMN, VERDICT_COLUMN
from forametric.errors import NotFoundError
from forametric.review.decisions import consensus
from forametric.review.samples import SampleCounts
from forametric.review.workspace import ReviewWorkspace

HISTORY, FIGURE, BOOK = "history", "figure", "assemblage"
SUFFIXES = {name: exporter.suffix for name, exporter in EXPORTERS.items()} | {
    BOOK: ".xlsx",
    "abundances": ".csv",
    "counts": ".csv",
    "fractions": ".csv",
    HISTORY: ".csv",
    FIGURE: ".png",
}


def export_suffix(kind: str) -> str:
    """How the file of an export ends; `NotFoundError` when there is no such export."""
    if kind not in SUFFIXES:
        raise NotFoundError(f"export {kind} does not exist; there are {', '.join(SUFFIXES)}.")
    return SUFFIXES[kind]


def write_export(samples: SampleCounts, kind: str, path: PathLike) -> Path:
    """Write one of the files of `SUFFIXES`; returns its path."""
    export_suffix(kind)
    workspace, path = samples.workspace, Path(path)
    if kind == HISTORY:
        workspace.store.write_csv(path)
    elif kind in EXPORTERS:
        collection, names = labelled_and_identified(workspace)
        if kind == "darwin-core":  # what is not an organism, or is counted already, is left out
            verdicts = collection.specimens[VERDICT_COLUMN]
            collection = collection.select(~verdicts.isin(NOT_COUNTED).to_numpy())
        export(
            collection,
            path,
            format=kind,
            identifications=names if len(names) else None,
            identified_by=workspace.embedded.model.title,
        )
    else:
        counts = samples.assemblages()
        if kind == BOOK:
            counts.to_excel(path)
        elif kind == FIGURE:
            counts.plot().savefig(path, dpi=200)
        else:
            counts.tables()[kind].to_csv(path, index=False)
    return path


def labelled_and_identified(workspace: ReviewWorkspace) -> tuple[Collection, pd.DataFrame]:
    """The collection with its settled names, and the model's names of specimens without one.

    A specimen that the collection itself names keeps that name until a reviewer decides otherwise.
    """
    with workspace.lock:
        table, settled = workspace.collection.specimens.copy(), workspace.settled.copy()
        identified = workspace.identification.table
        agreed = consensus(workspace.store.history()).set_index("specimen")
    table["taxon"] = table["taxon"].astype(object)
    table.loc[settled.is_settled, "taxon"] = None
    table.loc[settled.is_taxon, "taxon"] = settled.taxa[settled.is_taxon]
    reviewers = agreed["agreeing"].reindex(table["id"]).fillna("").to_numpy()
    table[VERDICT_COLUMN] = settled.verdicts
    table[REVIEWERS_COLUMN] = np.where(settled.is_settled, reviewers, "")
    unnamed = ~settled.is_settled & (table["taxon"].fillna("") == "").to_numpy()
    names = identified[unnamed].assign(image=table["image"][unnamed])
    return Collection(table, workspace.collection.images, workspace.collection.info), names
