"""The columns by which the map can be colored."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pandas as pd

from forametric._typing import AnyArray
from forametric.data.collection import CORE_COLUMNS
from forametric.errors import NotFoundError
from forametric.review.morphotypes import ReviewMorphotypes
from forametric.review.views import MapColumn
from forametric.review.workspace import ReviewWorkspace

MAX_LEVELS = 300  # a text column with more different values is not offered
# Computed from identifications and decisions; the others are columns of the collection.
COMPUTED = ("taxon", "state", "probability", "error_probability", "novelty", "morphotype")


class MapColumns:
    """The columns of a workspace, computed and recorded."""

    def __init__(self, workspace: ReviewWorkspace, morphotypes: ReviewMorphotypes) -> None:
        self.workspace, self.morphotypes = workspace, morphotypes

    @cached_property
    def names(self) -> list[str]:
        """The columns: the computed ones, sample and label where there are any, then the others."""
        table = self.workspace.collection.specimens
        others = [
            str(name)
            for name in table.columns
            if name not in (*CORE_COLUMNS, *COMPUTED)
            and table[name].notna().any()
            and (
                pd.api.types.is_numeric_dtype(table[name])
                or table[name].astype(str).nunique() <= MAX_LEVELS
            )
        ]
        sample = ["sample"] if (self.workspace.samples != "").any() else []
        label = ["label"] if table["label"].notna().any() else []
        return [*COMPUTED, *sample, *label, *others]

    def column(self, name: str) -> MapColumn:
        """One of `names`, in the order of the collection; `NotFoundError` for another."""
        if name not in self.names:
            raise NotFoundError(f"there is no column {name}.")
        values = self._values(name)
        if pd.api.types.is_numeric_dtype(values):
            return MapColumn([], np.asarray(values, np.float32))
        texts = pd.Series(np.asarray(values, dtype=object)).fillna("").astype(str)
        codes, levels = pd.factorize(texts, sort=True)
        return MapColumn([str(level) for level in levels], codes.astype(np.uint16))

    def _values(self, name: str) -> pd.Series | AnyArray:
        identified = self.workspace.identification.table
        match name:
            case "taxon":
                return self.workspace.taxa()
            case "state":
                return self.workspace.states()
            case "morphotype":
                return self.morphotypes.labels()
            case "probability":
                return identified["best_probability"]
            case "error_probability" | "novelty":
                return identified[name]
            case _:
                return self.workspace.collection.specimens[name]
