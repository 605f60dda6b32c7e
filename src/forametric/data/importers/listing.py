"""The result of reading a source: a table of image paths and labels, and their folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class SourceListing:
    """The specimens of a source, before their images are read.

    Attributes
    ----------
    rows : DataFrame
        Text columns: at least `image` (path below `folder`) and `label` (missing if unknown), and
        `taxon` if the source has another name than its label.
    folder : Path
    notes : list of str
        Sentences for the user about the source.
    tables : dict of str to DataFrame
        Further tables to save with the collection, as CSV files with these names.
    info : dict of str to str
        licence, citation, …
    """

    rows: pd.DataFrame
    folder: Path
    notes: list[str] = field(default_factory=list)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
