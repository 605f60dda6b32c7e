"""Import from EcoTaxa: tables `ecotaxa_*.tsv` next to their images, in folders or a ZIP archive.

The format is that of EcoTaxa's import and export. The first line has the column names, the second
in imports the types `[t]` or `[f]`. There is one row for each image, and an object may have several
images. `object_annotation_category` becomes the label and `sample_id` the sample. The images of an
object share a group. All columns are kept.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from forametric.data.collection import taxon_of
from forametric.data.ecotaxa_format import PIXEL_SIZE_MM
from forametric.data.importers.archive import unpack
from forametric.data.importers.listing import SourceListing
from forametric.data.importers.table import read_cells
from forametric.errors import InputError

PATTERNS = ("ecotaxa_*.tsv", "ecotaxa_*.txt", "*.tsv")


def ecotaxa_tables(folder: Path) -> list[Path]:
    """The tables of an EcoTaxa export below `folder`."""
    for pattern in PATTERNS:
        tables = sorted(p for p in folder.rglob(pattern) if not p.name.startswith("."))
        if pattern == "*.tsv":
            tables = [p for p in tables if _is_ecotaxa(p)]
        if tables:
            return tables
    return []


def read_ecotaxa(source: Path, work: Path) -> SourceListing:
    """List the images of a folder or a ZIP archive, which is unpacked below `work`.

    Raises
    ------
    InputError
        When there is no such table, or one lacks `img_file_name`.
    """
    folder = source
    if source.is_file():
        folder = work / "images"
        unpack(source, folder)
    tables = ecotaxa_tables(folder)
    if not tables:
        raise InputError(f"{source} holds no EcoTaxa table (ecotaxa_*.tsv).")
    parts, notes = [], []
    for path in tables:
        rows, table_notes = _read(path)
        rows.insert(0, "image", [_below(folder, path, name) for name in rows["img_file_name"]])
        parts.append(rows)
        notes += table_notes
    table = pd.concat(parts, ignore_index=True).fillna("")
    label = table.get("object_annotation_category", pd.Series("", index=table.index))
    table.insert(1, "label", label.replace("", None))
    # EcoTaxa writes a child of an ambiguous name as "child<parent".
    table.insert(2, "taxon", label.str.split("<").str[0].map(taxon_of).replace("", None))
    if "sample_id" in table:
        table["sample"] = table["sample_id"]
    if "object_id" in table:
        several = table["object_id"].duplicated(keep=False) & (table["object_id"] != "")
        table["group"] = table["object_id"].where(several, "")
    if PIXEL_SIZE_MM in table:
        size = pd.to_numeric(table[PIXEL_SIZE_MM].str.replace(",", "."), errors="coerce") * 1000
        table["um_per_px"] = size.map(lambda um: "" if pd.isna(um) else f"{um:.9g}")
    return SourceListing(table, folder, notes)


def _read(path: Path) -> tuple[pd.DataFrame, list[str]]:
    rows, notes = read_cells(path, delimiter="\t")
    if "img_file_name" not in rows:
        raise InputError(
            f"{path} has no column img_file_name, so it is not an EcoTaxa table. "
            f"It has: {', '.join(rows.columns[:12])}."
        )
    typed = len(rows) and rows.iloc[0].isin(("[t]", "[f]", "")).all()
    return (rows.iloc[1:] if typed else rows).reset_index(drop=True), notes


def _is_ecotaxa(path: Path) -> bool:
    with path.open("rb") as file:
        return b"img_file_name" in file.readline()


def _below(folder: Path, table: Path, name: str) -> str:
    return (table.parent.relative_to(folder) / name.replace("\\", "/")).as_posix()
