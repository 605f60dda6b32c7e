"""The base class of result objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forametric.utils.html import table_html

if TYPE_CHECKING:
    import pandas as pd


class Result:
    """Base of result objects, whose `str` is one line of plain English.

    Every result also has `table` (DataFrame), `skipped` (DataFrame: image, reason) where images
    were read, and `len`.
    """

    @property
    def summary(self) -> dict[str, Any]:
        """The figures of the result, ready for JSON."""
        raise NotImplementedError

    @property
    def preview(self) -> pd.DataFrame | None:
        """The most informative part of the result as a table; None if there is nothing to show."""
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self})"

    def _repr_html_(self) -> str:
        preview = self.preview
        return f"<p>{self}</p>" if preview is None else table_html(preview, str(self))
