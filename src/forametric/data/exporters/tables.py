"""Export plain tables: CSV, Excel, and the CSV of ParticleTrieur."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from forametric.data.exporters.records import ExportTable
from forametric.utils.excel import write_sheets


def write_csv(records: ExportTable, path: Path) -> None:
    """Write all columns as CSV; `import` can read it from the folder of the images.

    Text is as it is in the collection, for programs: it is not protected against spreadsheets,
    which evaluate text that looks like a formula.
    """
    records.table.to_csv(path, index=False)


def write_excel(records: ExportTable, path: Path) -> None:
    """Write one sheet; text that looks like a formula or a number stays text."""
    write_sheets(path, {"specimens": records.table})


def write_particle_trieur(records: ExportTable, path: Path) -> None:
    """Write the columns of ParticleTrieur's export; resolution in pixels per mm."""
    table = records.table
    um = table["um_per_px"].to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        resolution = np.where(um > 0, 1000 / um, 0.0)
    by = records.text("identified_by")
    pd.DataFrame(
        {
            "id": np.arange(1, len(table) + 1),
            "filename": [p.as_posix() for p in records.collection.paths()],
            "label": records.text("taxon").where(records.text("taxon") != "", "unlabeled"),
            "sample": records.text("sample").where(records.text("sample") != "", "unknown"),
            "index1": 0.0,
            "index2": 0.0,
            "resolution": resolution.round(6),
            "GUID": records.text("id"),
            "labeled_by": by,
            "validated_by": "",
        }
    ).to_csv(path, index=False)
