"""The findings of the check of a reviewed collection, kept in a file of the project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from forametric.analysis.check import COLUMNS, check_embedded
from forametric.data.tables import Column, read_table
from forametric.errors import InputError
from forametric.review.workspace import ReviewWorkspace
from forametric.utils.outputs import write_csv

FILE = "findings.csv"
TABLE = [Column(c, "number" if c == "score" else "text", required=True) for c in COLUMNS]


def check_workspace(workspace: ReviewWorkspace, path: Path) -> int:
    """Check the collection and write the findings as CSV; returns their number."""
    collection = workspace.collection
    has_labels = (collection.taxa() != "").any()
    report = check_embedded(collection, workspace.embeddings if has_labels else None)
    write_csv(report.table, path, overwrite=True)
    return len(report)


def open_findings(workspace: ReviewWorkspace, path: Path) -> pd.DataFrame | None:
    """The findings about specimens that are not settled; None before the first check.

    Returns
    -------
    DataFrame
        `CheckReport.table`, with `taxon` and `other_taxon`: the accepted names of the labels.

    Raises
    ------
    InputError
        When the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        table = read_table(path, TABLE).rows.reset_index(drop=True)
    except InputError as error:
        raise InputError(f"{error} Or check the collection again.") from None
    known = table[table["id"].isin(workspace.row_of)]
    rows = np.array([workspace.row_of[i] for i in known["id"]], int)
    findings: pd.DataFrame = known[~workspace.settled.is_settled[rows]].copy()
    taxon_of = dict(zip(workspace.ids, workspace.collection.taxa(), strict=True))
    findings["taxon"] = findings["id"].map(taxon_of)
    findings["other_taxon"] = findings["other_id"].map(taxon_of).fillna("")
    return findings
