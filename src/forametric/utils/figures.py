"""Matplotlib figures that notebooks display, without the global state of pyplot."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from matplotlib.figure import Figure


class NotebookFigure(Figure):
    """A figure that a notebook displays as PNG, and that is drawn whatever letters its font has."""

    def savefig(self, *arguments: Any, **settings: Any) -> None:
        """As in matplotlib; a letter that the font lacks is drawn as a box, without a warning."""
        with missing_letters_allowed():
            super().savefig(*arguments, **settings)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


@contextmanager
def missing_letters_allowed() -> Iterator[None]:
    """Without matplotlib's warning for each letter that a font lacks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+", UserWarning)
        yield
