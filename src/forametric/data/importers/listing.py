"""What every source gives: a table of image paths and labels, and the folder they start from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class SourceListing:
    """The specimens of a source, before any image was looked at.

    Attributes
    ----------
    rows : DataFrame
        Text columns; at least `image` (path below `folder`) and `label` (missing when unknown), and
        `taxon` where the source knows a better name than its label.
    folder : Path
    notes : list of str
        What the user should know: a sentence each.
    tables : dict of str to DataFrame
        Further tables to keep with the collection, as CSV under these names.
    info : dict of str to str
        licence, citation, …
    """

    rows: pd.DataFrame
    folder: Path
    notes: list[str] = field(default_factory=list)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
