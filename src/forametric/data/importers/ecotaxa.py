"""Import from EcoTaxa: tables `ecotaxa_*.tsv` next to their images, in folders or ZIP archives.

The format is that of EcoTaxa's import and export. The first line has the column names, the second
in imports the types, as `[t]` or `[f]`. There is one row for each image, and an object may have
several images. `object_annotation_category` becomes the label and `sample_id` the sample. The
images of an object share a group. All columns are kept.
"""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pandas as pd

from forametric.data.collection import taxon_of
from forametric.data.ecotaxa_format import PIXEL_SIZE_MM
from forametric.data.importers.archive import names_in, unpack
from forametric.data.importers.listing import SourceListing
from forametric.data.tables import parse_number, read_text_table, without_control_characters
from forametric.errors import InputError

NAMED = ("ecotaxa_*.tsv", "ecotaxa_*.txt")
PATTERNS = (*NAMED, "*.tsv")
TYPE = re.compile(r"\[\w*\]")  # a cell of the row of types


def ecotaxa_tables(folder: Path) -> list[Path]:
    """The tables of an EcoTaxa export below `folder`."""
    for pattern in PATTERNS:
        tables = sorted(
            p for p in folder.rglob(pattern) if p.is_file() and not p.name.startswith(".")
        )
        if pattern not in NAMED:
            tables = [p for p in tables if _is_ecotaxa(p)]
        if tables:
            return tables
    return []


def ecotaxa_archives(folder: Path) -> list[Path]:
    """The ZIP archives in `folder` that hold a table of EcoTaxa."""
    archives = sorted(p for p in folder.glob("*.zip") if not p.name.startswith("."))
    return [archive for archive in archives if _holds_table(archive)]


def read_ecotaxa(source: Path, work: Path) -> SourceListing:
    """List the images of a folder, a ZIP archive or a folder of archives.

    Archives are unpacked below `work`. A table without rows is left out with a note.

    Raises
    ------
    InputError
        When there is no such table, one lacks `img_file_name`, or none has rows.
    """
    folder = source
    if source.is_file():
        folder = work / "images"
        unpack(source, folder)
    tables = ecotaxa_tables(folder)
    if not tables and source.is_dir() and (archives := ecotaxa_archives(source)):
        folder = work / "images"
        for archive in archives:
            unpack(archive, folder / archive.stem)
        tables = ecotaxa_tables(folder)
    if not tables:
        raise InputError(f"{source} holds no EcoTaxa table (ecotaxa_*.tsv).")
    parts, notes = [], []
    for path in tables:
        rows, table_notes = _read(path)
        notes += table_notes
        if rows is None or rows.empty:
            notes.append(f"{path.relative_to(folder)} has no rows; it is left out.")
            continue
        rows.insert(0, "image", [_below(folder, path, name) for name in rows["img_file_name"]])
        parts.append(rows)
    if not parts:
        raise InputError(f"{source}: its EcoTaxa tables have no rows.")
    table = pd.concat(parts, ignore_index=True).fillna("")
    return SourceListing(_with_core_columns(table), folder, notes)


def _with_core_columns(table: pd.DataFrame) -> pd.DataFrame:
    label = table.get("object_annotation_category", pd.Series("", index=table.index, dtype=object))
    rest = table.drop(columns=["image", "label", "taxon"], errors="ignore")
    # EcoTaxa writes a child of an ambiguous name as "child<parent".
    taxon = label.str.split("<").str[0].map(taxon_of)
    first = {"image": table["image"], "label": label.replace("", None)}
    table = pd.DataFrame(first | {"taxon": taxon.replace("", None)}, dtype=object)
    table = pd.concat([table, rest], axis=1)
    if "sample_id" in table:
        table["sample"] = table["sample_id"]
    if "object_id" in table:
        several = table["object_id"].duplicated(keep=False) & (table["object_id"] != "")
        table["group"] = table["object_id"].where(several, "")
    if PIXEL_SIZE_MM in table:
        table["um_per_px"] = table[PIXEL_SIZE_MM].map(_um_of_mm)
    return table


def _um_of_mm(text: str) -> str:
    """A pixel size in µm; what is not a number stays, to be named by the import."""
    try:
        return f"{parse_number(text) * 1000:.9g}"
    except ValueError:
        return text


def _read(path: Path) -> tuple[pd.DataFrame | None, list[str]]:
    """The rows of a table; None for an empty file."""
    if not path.read_bytes().strip():
        return None, []
    table = read_text_table(path, delimiter="\t")
    rows, notes = without_control_characters(table.rows, path)
    if "img_file_name" not in rows:
        raise InputError(
            f"{path} has no column img_file_name, so it is not an EcoTaxa table. "
            f"It has: {', '.join(rows.columns[:12])}."
        )
    first = [cell for cell in rows.iloc[0] if cell] if len(rows) else []
    has_types = bool(first) and all(TYPE.fullmatch(cell.strip()) for cell in first)
    return (rows.iloc[1:] if has_types else rows), [*table.notes, *notes]


def _is_ecotaxa(path: Path) -> bool:
    with path.open("rb") as file:
        return b"img_file_name" in file.readline(1_000_000)


def _holds_table(archive: Path) -> bool:
    try:
        names = [PurePosixPath(name).name for name in names_in(archive)]
    except InputError:
        return False
    return any(fnmatch(name, pattern) for name in names for pattern in NAMED)


def _below(folder: Path, table: Path, name: str) -> str:
    return (table.parent.relative_to(folder) / name.strip().replace("\\", "/")).as_posix()
