"""Render HTML pages from templates, with their images inside the page."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader

from forametric._version import __version__

if TYPE_CHECKING:
    import pandas as pd


def render(template: str, **content: Any) -> str:
    """A page from one of the package's templates; all content is escaped."""
    pages = Environment(loader=PackageLoader("forametric.utils"), autoescape=True)
    return pages.get_template(template).render(version=__version__, **content)


def write_page(path: Path, template: str, **content: Any) -> None:
    """Write `render(template, …)` as UTF-8."""
    path.write_text(render(template, **content), encoding="utf-8")


def data_url(data: bytes, kind: str) -> str:
    """The bytes of an image as a data URL.

    >>> data_url(b"x", "png")
    'data:image/png;base64,eA=='
    """
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def definition_list(items: Mapping[str, object]) -> str:
    """Names and values as an HTML fragment for a notebook; all text is escaped.

    >>> definition_list({"Taxa": 3})
    '<table><tr><th style="text-align:left">Taxa</th><td>3</td></tr></table>'
    """
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td>{escape(str(value))}</td></tr>'
        for name, value in items.items()
    )
    return f"<table>{rows}</table>"


def table_html(table: pd.DataFrame, title: str, rows: int = 20) -> str:
    """The first rows of a table as an HTML fragment for a notebook."""
    return f"<p>{escape(title)}</p>{table.head(rows).to_html(index=False, border=0)}"
