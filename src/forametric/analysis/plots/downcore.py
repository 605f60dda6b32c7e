"""The down-core figure: abundances against depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from forametric.identification.identifier import UNKNOWN
from forametric.utils.text import literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_PANELS = 12  # taxa in the figure
LEAST_ABUNDANCE = 0.02  # of a taxon in some sample, to get a panel


def downcore_figure(abundances: pd.DataFrame, samples: pd.DataFrame, depth: str = "") -> Figure:
    """The most common taxa down the samples, each in its own panel with its interval.

    Parameters
    ----------
    abundances, samples : DataFrame
        As in `Assemblages`.
    depth : str
        The column of `samples` with the depth or age; "" draws samples in their order.
    """
    from forametric.utils.figures import NotebookFigure

    greatest = abundances.groupby("taxon", sort=False)["abundance"].max()
    known = greatest.drop(UNKNOWN).sort_values(ascending=False)
    taxa = [*known.index[known >= LEAST_ABUNDANCE][:MAX_PANELS], UNKNOWN]
    levels = samples[depth] if depth else pd.Series(range(len(samples)))
    figure = NotebookFigure(
        figsize=(1.6 + 1.25 * len(taxa), max(3.2, 0.28 * len(levels) + 1.9)), layout="constrained"
    )
    panels = figure.subplots(1, len(taxa), sharey=True, squeeze=False)[0]
    for axes, taxon in zip(panels, taxa, strict=True):
        part = abundances[abundances["taxon"] == taxon]
        color = "#8a919e" if taxon == UNKNOWN else "#2f6f9f"
        axes.fill_betweenx(levels, part["low"] * 100, part["high"] * 100, color=color, alpha=0.25)
        axes.plot(part["abundance"] * 100, levels, "-o", color=color, ms=3, lw=1.2)
        axes.plot(part["raw"] * 100, levels, "x", color="#1d2430", ms=4, mew=0.8)
        style = "normal" if taxon == UNKNOWN else "italic"
        title = literal(taxon) if taxon == UNKNOWN else literal(taxon).replace(" ", "\n", 1)
        axes.set_title(title, fontsize=8, rotation=45, ha="left", va="bottom", style=style)
        axes.set_xlim(0, None)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    first = figure.axes[0]
    first.invert_yaxis()
    if depth:
        first.set_ylabel(literal(depth))
    else:
        first.set_yticks(list(levels), [literal(sample) for sample in samples["sample"]])
    figure.supxlabel("% of specimens: estimate with 95 % interval; × raw count", fontsize=8)
    return figure
