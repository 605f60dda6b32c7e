"""Export a ZIP archive for import in EcoTaxa: `ecotaxa_forametric.tsv` and the images."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from forametric.data.ecotaxa_format import PIXEL_SIZE_MM
from forametric.data.exporters.records import ExportTable
from forametric.errors import ImageError, InputError
from forametric.images import decode
from forametric.utils.progress import bar

PREFIXES = ("object_", "sample_", "acq_", "process_", "img_")
TABLE = "ecotaxa_forametric.tsv"
STATUS, PERSON = "object_annotation_status", "object_annotation_person_name"


def write_ecotaxa(records: ExportTable, path: Path) -> None:
    """Write the table and the image files; `InputError` if one is not an image that decodes."""
    table = ecotaxa_table(records)
    types = ["[f]" if pd.api.types.is_numeric_dtype(table[c]) else "[t]" for c in table.columns]
    body = table.to_csv(sep="\t", index=False).split("\n", 1)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(TABLE, "\n".join([body[0], "\t".join(types), body[1]]))
        with bar("packing images", len(table)) as advance:
            names = dict(zip(table["img_file_name"], records.collection.paths(), strict=True))
            for name, image in names.items():
                _require_image(image)
                archive.write(image, name)
                advance(1)


def _require_image(path: Path) -> None:
    """Raise `InputError` for any other file: a collection made by others may name one."""
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the collection first.")
    try:
        decode(path)
    except ImageError as error:
        raise InputError(f"{path} is not packed: {error}; check the collection first.") from None


def ecotaxa_table(records: ExportTable) -> pd.DataFrame:
    """The table of an export, without its line of types."""
    rows = records.table
    sample = records.text("sample").where(records.text("sample") != "", "unknown")
    table = pd.DataFrame(
        {
            "object_id": records.text("id"),
            "img_file_name": rows["image"].astype(str),
            "img_rank": 0,
            "object_annotation_category": records.text("taxon"),
            STATUS: np.where(rows["predicted"], "predicted", "validated"),
            PERSON: records.text("identified_by"),
            "object_label": records.text("label"),
            "sample_id": sample,
            "acq_id": sample,
            "process_id": sample,
        }
    )
    # Names that neither a model nor a reviewer has changed keep their status and author.
    untouched = ~rows["predicted"] & (table[PERSON] == "")
    for column in {STATUS, PERSON} & set(rows):
        original = records.text(column)
        table[column] = table[column].mask(untouched & (original != ""), original)
    table[STATUS] = table[STATUS].where(table["object_annotation_category"] != "", "")
    if rows["um_per_px"].notna().any():
        table[PIXEL_SIZE_MM] = rows["um_per_px"].astype(float) / 1000
    for column in records.extra():
        plain = re.sub(r"\W+", "_", column).strip("_").lower()
        name = column if column.startswith(PREFIXES) else f"object_{plain}"
        if name not in table:
            table[name] = records.text(column).str.replace(r"[\t\r\n]", " ", regex=True)
    return table
