"""Export a collection: join the identifications to the specimens, then write one format."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from forametric._typing import BoolArray, PathLike
from forametric._version import __version__
from forametric.data.collection import Collection
from forametric.data.exporters.darwin_core import write_darwin_core
from forametric.data.exporters.ecotaxa import write_ecotaxa
from forametric.data.exporters.records import ExportTable
from forametric.data.exporters.tables import write_csv, write_excel, write_particle_trieur
from forametric.data.inputs import check_output_file
from forametric.data.sources import open_collection
from forametric.data.tables import Column, check_table, read_table, text_table
from forametric.data.taxonomy import Taxonomy
from forametric.data.verdicts import (
    NOT_COUNTED,
    REVIEWERS_COLUMN,
    Verdict,
    name_no_specimens,
    verdicts_in,
)
from forametric.errors import InputError
from forametric.utils.files import atomic_path
from forametric.utils.results import Result


@dataclass(frozen=True)
class Exporter:
    """The function that writes a format, and the suffix of its files.

    `only_specimens`: whether it leaves out duplicates and what is not a specimen.
    """

    suffix: str
    write: Callable[[ExportTable, Path], None]
    only_specimens: bool = False


EXPORTERS = {
    "csv": Exporter(".csv", write_csv),
    "excel": Exporter(".xlsx", write_excel),
    "particle-trieur": Exporter(".csv", write_particle_trieur),
    "ecotaxa": Exporter(".zip", write_ecotaxa),
    "darwin-core": Exporter(".zip", write_darwin_core, only_specimens=True),
}
# What `identify` writes.
IDENTIFICATIONS = [
    Column("image", required=True, filled=True),
    Column("taxon", required=True),
    Column("probability", "probability"),
    Column("score", "number"),
]


class Named(Protocol):
    """The part of the result of `Model.identify` that an export needs."""

    @property
    def table(self) -> pd.DataFrame:
        """image, taxon, decision, probability, reason."""

    @property
    def model(self) -> str:
        """The title of the model."""


@dataclass(frozen=True, eq=False, repr=False)
class ExportReport(Result):
    """The result of an export.

    Attributes
    ----------
    path : Path
    format : str
        A key of `EXPORTERS`.
    table : DataFrame
        The records.
    """

    path: Path
    format: str
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.table)

    def __str__(self) -> str:
        return f"{len(self)} records as {self.format}"

    @property
    def summary(self) -> dict[str, Any]:
        """format, records."""
        return {"format": self.format, "records": len(self)}


def export(
    collection: Collection | PathLike,
    output: PathLike,
    *,
    format: str = "csv",
    identifications: Named | pd.DataFrame | PathLike | None = None,
    identified_by: str = "",
    taxonomy: Taxonomy | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Write a collection for another program.

    Parameters
    ----------
    format : str
        A key of `EXPORTERS`.
    identifications : Identifications, DataFrame, or CSV, Excel or Parquet file, optional
        From `Model.identify`: image, taxon ("" for none), decision, probability, reason. They
        replace the collection's taxa of the specimens that they list, which are marked as
        predicted.
    identified_by : str
        The source of these names, by default the title of the model that is stored in
        `identifications`, or this software.

    Raises
    ------
    InputError
        For an unknown format, a wrong suffix, or identifications of other specimens.

    Examples
    --------
    >>> export("core", "core.zip", format="darwin-core")  # doctest: +SKIP
    """
    source, output = collection, Path(output)
    if format not in EXPORTERS:
        raise InputError(f"no format {format!r}; the formats are {', '.join(EXPORTERS)}.")
    if output.suffix.lower() != EXPORTERS[format].suffix:
        raise InputError(f"{output} should end in {EXPORTERS[format].suffix} for {format}.")
    table_file = identifications if isinstance(identifications, str | os.PathLike) else None
    check_output_file(output, overwrite, source, table_file)
    collection = open_collection(source)
    names: pd.DataFrame | None
    if isinstance(identifications, str | os.PathLike):
        names = read_table(identifications, IDENTIFICATIONS).rows
    elif isinstance(identifications, pd.DataFrame):
        rows = text_table(identifications, "the table of identifications")
        names = check_table(rows, IDENTIFICATIONS, "the table of identifications")
    elif identifications is None:
        names = None
    else:
        names, identified_by = identifications.table, identified_by or identifications.model
    table = _join(collection, names, identified_by or f"forametric {__version__}")
    if EXPORTERS[format].only_specimens:
        table = table[_are_specimens(table)].reset_index(drop=True)
    with atomic_path(output) as temporary:
        exported = ExportTable(table, collection, taxonomy or Taxonomy.load())
        EXPORTERS[format].write(exported, temporary)
    return ExportReport(output, format, table)


def _are_specimens(table: pd.DataFrame) -> BoolArray:
    """Which rows neither an expert nor a model calls something else, or a duplicate."""
    by_expert = np.isin(verdicts_in(table), NOT_COUNTED)
    by_model = (table["decision"] == Verdict.NOT_A_SPECIMEN).to_numpy()
    return np.asarray(~(by_expert | by_model | name_no_specimens(table["taxon"])))


def _join(collection: Collection, names: pd.DataFrame | None, by: str) -> pd.DataFrame:
    table = collection.specimens.copy()
    for column in ("score", "decision", "reason", "identification_qualifier"):
        table[column] = ""
    # The reviewers of a collection that was labelled by `forametric apply-decisions`.
    table["identified_by"] = table.get(REVIEWERS_COLUMN, pd.Series("", table.index)).fillna("")
    table["predicted"] = False
    if names is None:
        return table
    predictions = names.drop_duplicates("image").set_index("image")
    named = table["image"].isin(predictions.index)
    if not named.any():
        raise InputError("the identifications list none of this collection's specimens.")
    images = table.loc[named, "image"]
    table["taxon"] = table["taxon"].astype(object)
    table.loc[named, "taxon"] = images.map(predictions["taxon"])
    table.loc[named, "identified_by"], table.loc[named, "predicted"] = by, True
    for column in ("probability", "score"):
        if column in predictions:
            scores = images.map(predictions[column])
            table.loc[named, "score"] = scores.map(lambda s: "" if pd.isna(s) else f"{s:.4f}")
            break
    for column in ("decision", "reason"):
        if column in predictions:
            found = images.map(predictions[column])
            table.loc[named, column] = found.astype(object).fillna("")
    if "best" in predictions:
        best = table["image"].map(predictions["best"]).astype(object).fillna("")
        table["identification_qualifier"] = [
            {"genus": "indet.", "ambiguous": f"cf. {name}" if name else ""}.get(decision, "")
            for decision, name in zip(table["decision"], best, strict=True)
        ]
    return table
