"""The one door out: join the names to the specimens, then write one of the formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from forametric.data.collection import Collection
from forametric.data.exporters.darwin_core import write_darwin_core
from forametric.data.exporters.ecotaxa import write_ecotaxa
from forametric.data.exporters.records import ExportTable
from forametric.data.exporters.tables import write_csv, write_excel, write_particle_trieur
from forametric.data.taxonomy import Taxonomy
from forametric.errors import InputError
from forametric.utils.files import atomic_path, refuse_existing


@dataclass(frozen=True)
class Format:
    """How a format is written, and how its files end."""

    suffix: str
    write: Callable[[ExportTable, Path], None]


FORMATS = {
    "csv": Format(".csv", write_csv),
    "excel": Format(".xlsx", write_excel),
    "particle-trieur": Format(".csv", write_particle_trieur),
    "ecotaxa": Format(".zip", write_ecotaxa),
    "darwin-core": Format(".zip", write_darwin_core),
}


def export_collection(
    collection: Collection,
    output: Path,
    kind: str,
    *,
    names: pd.DataFrame | None = None,
    identified_by: str = "",
    taxonomy: Taxonomy | None = None,
    overwrite: bool = False,
) -> int:
    """Write a collection for another program; returns the number of records.

    Parameters
    ----------
    kind : str
        A key of `FORMATS`.
    names : DataFrame, optional
        As `identify` gives them: image, taxon ("" where unknown), decision, probability, reason.
        They take the place of the collection's own taxa, whose specimens are then marked as
        predicted; specimens they do not list keep theirs.
    identified_by : str
        Who gave those names: the model and its version.

    Raises
    ------
    InputError
        For an unknown format, a wrong suffix, or names of none of the specimens.
    """
    if kind not in FORMATS:
        raise InputError(f"no format {kind!r}; there are {', '.join(FORMATS)}.")
    if output.suffix.lower() != FORMATS[kind].suffix:
        raise InputError(f"{output} should end in {FORMATS[kind].suffix} for {kind}.")
    refuse_existing(output, overwrite)
    records = ExportTable(
        _joined(collection, names, identified_by), collection, taxonomy or Taxonomy.load()
    )
    with atomic_path(output) as temporary:
        FORMATS[kind].write(records, temporary)
    return len(records.table)


def _joined(collection: Collection, names: pd.DataFrame | None, by: str) -> pd.DataFrame:
    table = collection.specimens.copy()
    for column in ("score", "decision", "reason"):
        table[column] = ""
    # What experts have settled is theirs: see `forametric.review.decisions.labelled`.
    table["identified_by"] = table.get("decided_by", pd.Series("", table.index)).fillna("")
    table["predicted"] = False
    if names is None:
        return table
    missing = {"image", "taxon"} - set(names.columns)
    if missing:
        raise InputError(
            f"the names lack the column {sorted(missing)[0]}; they come from identify."
        )
    given = names.drop_duplicates("image").set_index("image")
    named = table["image"].isin(given.index)
    if not named.any():
        raise InputError("the names are of none of this collection's specimens.")
    images = table.loc[named, "image"]
    table["taxon"] = table["taxon"].astype(object)
    table.loc[named, "taxon"] = images.map(given["taxon"])
    table.loc[named, "identified_by"], table.loc[named, "predicted"] = by, True
    for column in ("probability", "score"):
        if column in given:
            chances = images.map(given[column])
            table.loc[named, "score"] = chances.map(lambda s: "" if pd.isna(s) else f"{s:.4f}")
            break
    for column in ("decision", "reason"):
        if column in given:
            table.loc[named, column] = images.map(given[column]).fillna("")
    return table
