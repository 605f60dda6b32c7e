"""The input of all exporters: a table of specimens and their collection."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from forametric.data.collection import CORE_COLUMNS, Collection
from forametric.data.taxonomy import Taxonomy

ADDED = ("identified_by", "score", "decision", "reason", "identification_qualifier", "predicted")


@dataclass(frozen=True)
class ExportTable:
    """The specimens to write, with the columns of `ADDED`, and their collection."""

    table: pd.DataFrame
    collection: Collection
    taxonomy: Taxonomy

    def text(self, column: str) -> pd.Series:
        """A column as text, "" for missing values."""
        values = self.table[column]
        return values.astype(object).map(lambda v: "" if pd.isna(v) else str(v))

    def extra(self) -> list[str]:
        """The columns that the lab or another program added."""
        return [c for c in self.table.columns if c not in (*CORE_COLUMNS, *ADDED)]
