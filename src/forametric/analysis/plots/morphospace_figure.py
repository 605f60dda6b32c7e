"""Drawings of the morphospace: the figure for print and the page for a browser.

Both share one `Legend`, so a taxon has the same number and color in each. What is drawn where is
decided by plain functions (`palette`, `medoid`, `exemplars`, `place_boxes`) that know nothing of
matplotlib.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forametric.analysis.plots.colors import (
    GREY,
    INK,
    Legend,
    make_legend,
)
from forametric.analysis.plots.placement import (
    Box,
    exemplars,
    place_boxes,
)
from forametric.errors import ImageError, InputError
from forametric.utils.files import atomic_path
from forametric.utils.text import literal, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Images = Callable[[int], NDArray[np.uint8]]
SUFFIXES = (".png", ".pdf", ".svg")
WIDTH = 7.2  # inches: a full page width in most journals
MAX_THUMBNAILS = 130
ROW = 0.145  # inches, a line of the legend
MAX_VECTOR_POINTS = 5000  # beyond this, PDF and SVG hold the points as a pixels


def thumbnail(images: Images, i: int, side: int) -> NDArray[np.uint8] | None:
    """Specimen i as (side, side, 3) uint8; None when its image cannot be read."""
    from PIL import Image

    try:
        pixels = Image.fromarray(np.asarray(images(i), np.uint8)).convert("RGB")
    except ImageError:
        return None
    return np.asarray(pixels.resize((side, side), Image.Resampling.LANCZOS), np.uint8)


def draw_map(
    path: Path | None,
    coordinates: NDArray[np.float32],
    taxa: Sequence[str] | None,
    images: Images | None,
    *,
    title: str | None,
    placed: tuple[ArrayLike, Sequence[str] | None] | None,
    seed: int,
) -> Figure:
    """Draw the figure of `Morphospace.plot`. One unit of the map's axes is one inch on paper."""
    from matplotlib import rc_context

    from forametric.utils.figures import NotebookFigure, missing_letters_allowed

    if path is not None and path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path.name}: a map is drawn as {', '.join(SUFFIXES)}; name one.")
    legend = make_legend(coordinates, taxa)
    new = np.zeros((0, 2)) if placed is None else np.asarray(placed[0], float).reshape(-1, 2)
    points, new, height = _to_paper(coordinates, new)
    top = 0.34 if title else 0.08
    note = 0.2 if len(new) or images is not None else 0.0

    settings: Any = {
        "font.family": "sans-serif",
        "font.sans-serif": ["Arial", "Helvetica", "DejaVu Sans"],
        "svg.fonttype": "none",
        "svg.hashsalt": "forametric",
        "pdf.fonttype": 42,
    }
    with rc_context(settings), missing_letters_allowed():
        table = _legend_table(legend.names, legend.counts)
        below = 0.12 + ROW * table.rows + note
        total = top + height + below
        figure = NotebookFigure(figsize=(WIDTH, total), dpi=300, facecolor="white")
        axes = figure.add_axes((0, below / total, 1, height / total))
        axes.set(xlim=(0, WIDTH), ylim=(0, height), xticks=[], yticks=[])
        axes.set_axis_off()
        _draw_points(axes, points, legend, seed)
        numbers = _number_boxes(points, legend, (0.03, 0.03, WIDTH - 0.03, height - 0.03))
        if images is not None:
            _draw_thumbnails(axes, points, legend, images, numbers, height, seed)
        _draw_placed(axes, new, None if placed is None else placed[1], legend)
        _draw_numbers(axes, points, legend, numbers)
        lower = figure.add_axes((0, 0, 1, below / total))
        lower.set(xlim=(0, WIDTH), ylim=(0, below))
        lower.set_axis_off()
        _draw_legend(lower, legend, table, below - 0.12)
        if note:
            _draw_note(lower, len(points), len(new), images is not None)
        if title:
            figure.text(
                0.14 / WIDTH, 1 - 0.1 / total, printable(title), fontsize=10, fontweight="bold",
                color=INK, va="top", parse_math=False,
            )  # fmt: skip
        dateless: dict[str, dict[str, Any]] = {
            ".png": {}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None},
        }  # fmt: skip
        if path is not None:
            with atomic_path(path) as temporary:
                figure.savefig(temporary, dpi=300, metadata=dateless[path.suffix.lower()])
    return figure


def _to_paper(
    coordinates: NDArray[np.float32], new: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Old and new points in inches at equal aspect, and the height of the map."""
    everything = np.concatenate([coordinates.astype(float), new])
    low, high = everything.min(0), everything.max(0)
    span = np.maximum(high - low, 1e-9)
    margin = 0.42
    height = float(np.clip((WIDTH - 2 * margin) * span[1] / span[0], 3.6, 7.4)) + 2 * margin
    scale = min((WIDTH - 2 * margin) / span[0], (height - 2 * margin) / span[1])
    middle = np.array([WIDTH, height]) / 2
    paper = (everything - (low + high) / 2) * scale + middle
    return paper[: len(coordinates)], paper[len(coordinates) :], height


@dataclass(frozen=True)
class _LegendLayout:
    """How the legend is set: `lefts` holds one more edge than there are columns, in inches."""

    rows: int
    lefts: list[float]
    size: float  # points


def _legend_table(names: list[str], counts: list[int]) -> _LegendLayout:
    """The most of 5 to 3 columns that hold the names whole; three with cut names if none do."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    if not names:
        return _LegendLayout(0, [], 6.6)
    font = FontProperties(style="italic")
    wide = [
        TextPath((0, 0), literal(name, len(name)), size=1, prop=font).get_extents().width / 72
        + max(0, len(f"{count:,}") - 3) * 0.64 / 72  # 0.6 inches below hold three digits
        for name, count in zip(names, counts, strict=True)
    ]
    space = WIDTH - 0.22
    for columns, size in [(5, 6.6), (5, 6.1), (4, 6.6), (4, 5.8), (3, 6.6), (3, 6.1)]:
        rows = ceil(len(names) / columns)
        longest = [max(wide[i : i + rows]) * size for i in range(0, len(names), rows)]
        needed = [0.6 + w for w in longest]
        if sum(needed) <= space or (columns, size) == (3, 6.1):
            break
    spare = (space - sum(needed)) / len(needed) if sum(needed) <= space else 0.0
    shares = [w + spare for w in needed] if spare else [space / len(needed)] * len(needed)
    return _LegendLayout(rows, [0.12 + float(v) for v in np.cumsum([0.0, *shares])], size)


def _draw_points(axes: Any, points: NDArray[np.float64], legend: Legend, seed: int) -> None:
    """All specimens, in seeded random order so that no taxon lies over the others."""
    order = np.random.default_rng(seed).permutation(len(points))
    if not legend.names:
        colors = ["#4a6fa5"] * len(points)
    else:
        colors = [legend.colors[t] if t >= 0 else GREY for t in legend.of[order]]
    axes.scatter(
        *points[order].T,
        s=float(np.clip(9000 / len(points), 1.6, 14)),
        c=colors,
        alpha=0.8,
        linewidths=0,
        zorder=1,
        rasterized=len(points) > MAX_VECTOR_POINTS,
    )


def _number_boxes(points: NDArray[np.float64], legend: Legend, frame: Box) -> list[Box]:
    """Where the taxa's numbers stand: at their medoids, or next to them where two would touch."""
    size = (0.07 + 0.068 * len(str(len(legend.names))), 0.14)
    anchors = points[legend.centroids]
    boxes = place_boxes(
        anchors, points, size, frame, reach=(0.0, 0.4, 0.7, 1.0, 1.5, 2.2, 3.0), hiding=0.0
    )
    at = [(x - size[0] / 2, y - size[1] / 2, x + size[0] / 2, y + size[1] / 2) for x, y in anchors]
    return [box or plain for box, plain in zip(boxes, at, strict=True)]


def _draw_numbers(axes: Any, points: NDArray[np.float64], legend: Legend, boxes: list[Box]) -> None:
    from matplotlib.patheffects import withStroke

    for i, (left, bottom, right, top) in enumerate(boxes):
        x, y = (left + right) / 2, (bottom + top) / 2
        axes.text(
            x, y, str(i + 1), fontsize=7.2, fontweight="bold", color=INK, ha="center",
            va="center_baseline", zorder=6,
            path_effects=[withStroke(linewidth=2.0, foreground="white")],
        )  # fmt: skip


def _draw_thumbnails(
    axes: Any,
    points: NDArray[np.float64],
    legend: Legend,
    images: Images,
    numbers: list[Box],
    height: float,
    seed: int,
) -> None:
    """Specimens next to their points, each joined to its point by a thin line."""
    from matplotlib.patches import Rectangle

    margin = 0.04
    side = float(np.clip(2.65 / max(len(legend.names), 1) ** 0.5, 0.31, 0.46)) + 2 * margin / 3
    frame = (margin, margin, WIDTH - margin, height - margin)
    shown = exemplars(points, legend.centroids, 0.4 * side, seed)
    shown = shown[: 4 * MAX_THUMBNAILS]
    boxes = place_boxes(points[shown], points, (side, side), frame, numbers)
    drawn = 0
    for i, box in zip(shown, boxes, strict=True):
        if box is None or drawn == MAX_THUMBNAILS:
            continue
        pixels = thumbnail(images, i, 112)
        if pixels is None:
            continue
        drawn += 1
        left, bottom = box[0] + margin / 3, box[1] + margin / 3
        right, top = box[2] - margin / 3, box[3] - margin / 3
        color = legend.colors[legend.of[i]] if legend.of[i] >= 0 else "#7b818c"
        x, y = points[i]
        axes.plot(
            [x, np.clip(x, left, right)], [y, np.clip(y, bottom, top)], color=color, lw=0.6,
            zorder=2, solid_capstyle="round",
        )  # fmt: skip
        axes.imshow(
            pixels, extent=(left, right, bottom, top), zorder=3, aspect="auto",
            interpolation="antialiased",
        )  # fmt: skip
        axes.add_patch(
            Rectangle(
                (left, bottom), right - left, top - bottom, fill=False, ec=color, lw=1.0,
                zorder=3.1, joinstyle="round",
            )
        )  # fmt: skip
    axes.set(xlim=(0, WIDTH), ylim=(0, height))


def _draw_placed(
    axes: Any, new: NDArray[np.float64], taxa: Sequence[str] | None, legend: Legend
) -> None:
    """New specimens as open rings edged dark; black where the taxon is not on the map."""
    from matplotlib.patheffects import withStroke

    if len(new) == 0:
        return
    if taxa is not None and len(taxa) != len(new):
        raise InputError(f"{len(new)} specimens were placed, but {len(taxa)} taxa given.")
    color_of = dict(zip(legend.names, legend.colors, strict=True))
    colors = [color_of.get(str(name), INK) for name in taxa or [""] * len(new)]
    axes.scatter(
        *new.T, s=20, facecolors="white", edgecolors=colors, linewidths=1.2, zorder=5,
        path_effects=[withStroke(linewidth=2.4, foreground=INK)],
    )  # fmt: skip


def _draw_legend(axes: Any, legend: Legend, table: _LegendLayout, top: float) -> None:
    """Number, dot, name and count of every taxon, down the columns."""
    for i, name in enumerate(legend.names):
        column, row = divmod(i, table.rows)
        x, end = table.lefts[column], table.lefts[column + 1] - 0.16
        y = top - ROW * (row + 0.5)
        count = f"{legend.counts[i]:,}"
        space = (end - x - 0.55) * 72 / table.size - 0.64 * max(0, len(count) - 3)
        letters = max(3, int(space / 0.55))
        fits = len(table.lefts) > 4 or len(name) <= letters
        short = name if fits else name[: letters - 1] + "…"
        style = {"fontsize": table.size, "va": "center_baseline", "parse_math": False}
        axes.text(x + 0.17, y, str(i + 1), ha="right", fontweight="bold", color=INK, **style)
        axes.scatter([x + 0.25], [y + 0.004], s=20, c=legend.colors[i], linewidths=0)
        axes.text(x + 0.32, y, short, fontstyle="italic", color=INK, **style)
        axes.text(end, y, count, ha="right", color="#7b818c", **style)


def _draw_note(axes: Any, count: int, new: int, with_images: bool) -> None:
    """One grey line at the foot: the number of specimens, and what the ring and the line are."""
    x = 0.14
    if new:
        axes.scatter([x + 0.06], [0.1], s=20, facecolors="white", edgecolors=INK, linewidths=1.4)
        x += 0.17
    parts = [f"{new:,} newly placed"] if new else []
    parts.append(f"{count:,} specimens, each a dot")
    if with_images:
        parts.append("lines join images to their dots")
    style = {"fontsize": 6.2, "color": "#7b818c", "va": "center_baseline"}
    axes.text(x, 0.1, "   ·   ".join(parts), **style)
