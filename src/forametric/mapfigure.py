"""Drawings of the morphospace: the figure for print and the page for a browser.

Both share one `Legend`, so a taxon has the same number and colour in each. What is drawn where is
decided by plain functions (`palette`, `medoid`, `exemplars`, `place_boxes`) that know nothing of
matplotlib.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forametric.errors import ImageError, InputError
from forametric.files import atomic_path, write_text
from forametric.page import data_url, render

Images = Callable[[int], NDArray[np.uint8]]
Box = tuple[float, float, float, float]  # left, bottom, right, top

SUFFIXES = (".png", ".pdf", ".svg")
WIDTH = 7.2  # inches: a full page width in most journals
MOST_THUMBNAILS = 130
ROW = 0.145  # inches, a line of the legend
MOST_VECTOR_POINTS = 5000  # beyond this, PDF and SVG hold the points as a picture
SPRITE = 48  # pixels
MOST_SPRITES = 4000
GREY = "#b4b8bf"
INK = "#1d2430"


@dataclass(frozen=True)
class Legend:
    """Taxa in alphabetical order, their colours and where their numbers stand.

    of
        (N,) int: the taxon of each specimen, −1 for an unnamed one.
    centres
        (K,) int: the specimen at each taxon's medoid.
    """

    names: list[str]
    colours: list[str]
    counts: list[int]
    of: NDArray[np.intp]
    centres: NDArray[np.intp]


def make_legend(coordinates: NDArray[np.float32], taxa: Sequence[str] | None) -> Legend:
    """Number the taxa and give neighbours on the map colours that differ much."""
    if taxa is None:
        taxa = [""] * len(coordinates)
    if len(taxa) != len(coordinates):
        raise InputError(f"The map has {len(coordinates)} specimens, but {len(taxa)} taxa.")
    clean = [" ".join(str(taxon or "").split()) for taxon in taxa]
    names = sorted({name for name in clean if name}, key=lambda name: (name.lower(), name))
    number = {name: i for i, name in enumerate(names)}
    of = np.array([number.get(name, -1) for name in clean], dtype=np.intp)
    members = [np.flatnonzero(of == i) for i in range(len(names))]
    centres = np.array([m[medoid(coordinates[m])] for m in members], dtype=np.intp)
    colours = _apart(palette(len(names)), coordinates[centres])
    return Legend(names, [_hex(c) for c in colours], [len(m) for m in members], of, centres)


def medoid(points: NDArray[np.float32]) -> int:
    """The row of (N, 2) nearest to all others; judged against at most 500 of them."""
    others = points[:: ceil(len(points) / 500)]
    distance = np.zeros(len(points))
    for other in others:
        distance += np.hypot(*(points - other).T)
    return int(distance.argmin())


def palette(count: int, seed: int = 0) -> NDArray[np.float64]:
    """`count` colours, (count, 3) sRGB in 0…1, each as far as can be from those before it.

    Distances are Euclidean in CIELAB (CIE 1976, D65), among colours neither pale nor near black
    nor grey. The first k colours are the same whatever `count` is.
    """
    draws = np.random.default_rng(seed).uniform([32, -90, -100], [76, 95, 95], (40_000, 3))
    rgb = lab_to_rgb(draws)
    chroma = np.hypot(draws[:, 1], draws[:, 2])
    usable = ((rgb >= 0) & (rgb <= 1)).all(1) & (chroma > 22)
    lab, rgb = draws[usable], rgb[usable]
    first = int(np.linalg.norm(lab - [48, 10, -55], axis=1).argmin())  # a quiet blue
    chosen = [first]
    nearest = np.linalg.norm(lab - lab[first], axis=1)
    for _ in range(count - 1):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
    return rgb[chosen[:count]]


def lab_to_rgb(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3) CIELAB under D65 to sRGB; outside 0…1 means outside the gamut."""
    y = (lab[:, 0] + 16) / 116
    f = np.stack([y + lab[:, 1] / 500, y, y - lab[:, 2] / 200], axis=1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.95047, 1.0, 1.08883]
    linear = xyz @ np.linalg.inv(_RGB_TO_XYZ).T
    gamma = 1.055 * np.abs(linear) ** (1 / 2.4) - 0.055
    return np.asarray(np.where(linear > 0.0031308, gamma, 12.92 * linear))


def rgb_to_lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3) sRGB in 0…1 to CIELAB under D65."""
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = linear @ _RGB_TO_XYZ.T / [0.95047, 1.0, 1.08883]
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack(
        [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1
    )


# IEC 61966-2-1 (sRGB)
_RGB_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def _apart(colours: NDArray[np.float64], centres: NDArray[np.float32]) -> NDArray[np.float64]:
    """The colours reordered by seeded swaps so that taxa near each other differ most."""
    count = len(colours)
    if count < 3:
        return colours
    lab = rgb_to_lab(colours)
    alike = 1 / (1 + np.linalg.norm(lab[:, None] - lab[None], axis=2)) ** 2
    near = 1 / (0.02 * np.ptp(centres) + np.linalg.norm(centres[:, None] - centres, axis=2)) ** 2
    np.fill_diagonal(near, 0)
    order = np.arange(count)
    random = np.random.default_rng(0)
    for i, j in random.integers(0, count, (min(6000, 60 * count), 2)):
        swapped = order.copy()
        swapped[[i, j]] = swapped[[j, i]]
        before = near[[i, j]] * alike[order[[i, j]]][:, order]
        after = near[[i, j]] * alike[swapped[[i, j]]][:, swapped]
        if after.sum() < before.sum():
            order = swapped
    return colours[order]


def _hex(colour: NDArray[np.float64]) -> str:
    return "#" + "".join(f"{round(float(part) * 255):02x}" for part in colour)


def exemplars(
    points: NDArray[np.float64], first: NDArray[np.intp], spacing: float, seed: int
) -> list[int]:
    """Specimens to show, the best first: `first`, then others at least `spacing` from all chosen.

    The others come in seeded random order, so dense and sparse parts of the map are both shown.
    """
    chosen = [int(i) for i in first]
    seen: dict[tuple[int, int], list[int]] = {}

    def cell(i: int) -> tuple[int, int]:
        return int(points[i, 0] // spacing), int(points[i, 1] // spacing)

    def crowded(i: int) -> bool:
        x, y = cell(i)
        around = [(x + dx, y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
        return any(
            np.hypot(*(points[i] - points[j])) < spacing for c in around for j in seen.get(c, [])
        )

    for i in chosen:
        seen.setdefault(cell(i), []).append(i)
    for i in np.random.default_rng(seed).permutation(len(points)):
        if not crowded(int(i)):
            chosen.append(int(i))
            seen.setdefault(cell(int(i)), []).append(int(i))
    return chosen


def overlap(a: Box, b: Box) -> bool:
    """Whether two boxes share any area.

    >>> overlap((0, 0, 1, 1), (0.5, 0.5, 2, 2)), overlap((0, 0, 1, 1), (1, 0, 2, 1))
    (True, False)
    """
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def place_boxes(
    anchors: NDArray[np.float64],
    points: NDArray[np.float64],
    size: tuple[float, float],
    frame: Box,
    taken: Sequence[Box] = (),
    *,
    reach: Sequence[float] = (0.0, 0.8, 1.1, 1.45, 1.9),
    hiding: float = 3.0,
) -> list[Box | None]:
    """A box of `size` near each of the (K, 2) anchors that overlaps no other; None if none fits.

    In the order given. Of the places within `reach` (in box heights) inside `frame`, each anchor
    gets the one that is nearest and hides the fewest of the (N, 2) points; `hiding` weighs the
    second against the first.
    """
    counts, edge = _summed(points, frame, min(size) / 4)
    usual = max(1.0, 4 * len(points) * size[0] * size[1] / _area(frame))
    angles = np.arange(16) * (np.pi / 8)
    offsets = (
        np.array(
            [(0.0, 0.0)] * (reach[0] == 0)
            + [(r * np.cos(a), r * np.sin(a)) for r in reach if r > 0 for a in angles]
        )
        * size[1]
    )
    done = list(taken)
    boxes: list[Box | None] = []
    for anchor in anchors:
        best: Box | None = None
        best_cost = np.inf
        for offset in offsets:
            x, y = anchor + offset
            box = (x - size[0] / 2, y - size[1] / 2, x + size[0] / 2, y + size[1] / 2)
            if not (frame[0] <= box[0] and box[2] <= frame[2]):
                continue
            if not (frame[1] <= box[1] and box[3] <= frame[3]):
                continue
            hidden = _inside(counts, edge, frame, box)
            cost = hiding * hidden / usual + 0.5 * float(np.hypot(*offset)) / size[1]
            if cost < best_cost and not any(overlap(box, other) for other in done):
                best, best_cost = box, cost
        boxes.append(best)
        if best is not None:
            done.append(best)
    return boxes


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _summed(
    points: NDArray[np.float64], frame: Box, edge: float
) -> tuple[NDArray[np.float64], float]:
    """Running sums of the points counted on a grid of cells `edge` wide."""
    nx, ny = ceil((frame[2] - frame[0]) / edge), ceil((frame[3] - frame[1]) / edge)
    grid, _, _ = np.histogram2d(
        points[:, 0],
        points[:, 1],
        bins=(nx, ny),
        range=((frame[0], frame[0] + nx * edge), (frame[1], frame[1] + ny * edge)),
    )
    return np.pad(grid.cumsum(0).cumsum(1), ((1, 0), (1, 0))), edge


def _inside(sums: NDArray[np.float64], edge: float, frame: Box, box: Box) -> float:
    """About how many points lie in `box`."""
    x0, x1 = (min(max(round((v - frame[0]) / edge), 0), len(sums) - 1) for v in (box[0], box[2]))
    y0, y1 = (
        min(max(round((v - frame[1]) / edge), 0), sums.shape[1] - 1) for v in (box[1], box[3])
    )
    return float(sums[x1, y1] - sums[x0, y1] - sums[x1, y0] + sums[x0, y0])


def thumbnail(images: Images, i: int, side: int) -> NDArray[np.uint8] | None:
    """Specimen i as (side, side, 3) uint8; None when its picture cannot be read."""
    from PIL import Image

    try:
        picture = Image.fromarray(np.asarray(images(i), np.uint8)).convert("RGB")
    except ImageError:
        return None
    return np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS), np.uint8)


def draw_map(
    path: Path,
    coordinates: NDArray[np.float32],
    taxa: Sequence[str] | None,
    images: Images | None,
    *,
    title: str | None,
    placed: tuple[ArrayLike, Sequence[str] | None] | None,
    seed: int,
) -> None:
    """Draw the figure of `Morphospace.plot`. One unit of the map's axes is one inch on paper."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    if path.suffix.lower() not in SUFFIXES:
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
    with rc_context(settings), atomic_path(path) as temporary:
        table = _legend_table(legend.names, legend.counts)
        below = 0.12 + ROW * table.rows + note
        total = top + height + below
        figure = Figure(figsize=(WIDTH, total), dpi=300, facecolor="white")
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
                0.14 / WIDTH, 1 - 0.1 / total, title, fontsize=10, fontweight="bold",
                color=INK, va="top", parse_math=False,
            )  # fmt: skip
        dateless: dict[str, dict[str, Any]] = {
            ".png": {}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None},
        }  # fmt: skip
        figure.savefig(temporary, dpi=300, metadata=dateless[path.suffix.lower()])


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
class _Table:
    """How the legend is set: `lefts` holds one more edge than there are columns, in inches."""

    rows: int
    lefts: list[float]
    size: float  # points


def _legend_table(names: list[str], counts: list[int]) -> _Table:
    """The most of 5 to 3 columns that hold the names whole; three with cut names if none do."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    if not names:
        return _Table(0, [], 6.6)
    font = FontProperties(style="italic")
    wide = [
        TextPath((0, 0), name.replace("$", "S"), size=1, prop=font).get_extents().width / 72
        + max(0, len(f"{count:,}") - 3) * 0.64 / 72  # 0.6 inches below hold three digits
        for name, count in zip(names, counts, strict=True)
    ]
    room = WIDTH - 0.22
    for columns, size in [(5, 6.6), (5, 6.1), (4, 6.6), (4, 5.8), (3, 6.6), (3, 6.1)]:
        rows = ceil(len(names) / columns)
        longest = [max(wide[i : i + rows]) * size for i in range(0, len(names), rows)]
        needed = [0.6 + w for w in longest]
        if sum(needed) <= room or (columns, size) == (3, 6.1):
            break
    spare = (room - sum(needed)) / len(needed) if sum(needed) <= room else 0.0
    shares = [w + spare for w in needed] if spare else [room / len(needed)] * len(needed)
    return _Table(rows, [0.12 + float(v) for v in np.cumsum([0.0, *shares])], size)


def _draw_points(axes: Any, points: NDArray[np.float64], legend: Legend, seed: int) -> None:
    """All specimens, in seeded random order so that no taxon lies over the others."""
    order = np.random.default_rng(seed).permutation(len(points))
    if not legend.names:
        colours = ["#4a6fa5"] * len(points)
    else:
        colours = [legend.colours[t] if t >= 0 else GREY for t in legend.of[order]]
    axes.scatter(
        *points[order].T,
        s=float(np.clip(9000 / len(points), 1.6, 14)),
        c=colours,
        alpha=0.8,
        linewidths=0,
        zorder=1,
        rasterized=len(points) > MOST_VECTOR_POINTS,
    )


def _number_boxes(points: NDArray[np.float64], legend: Legend, frame: Box) -> list[Box]:
    """Where the taxa's numbers stand: at their medoids, or beside them where two would touch."""
    size = (0.07 + 0.068 * len(str(len(legend.names))), 0.14)
    anchors = points[legend.centres]
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
    """Specimens beside their points, each tied to its point by a hair line."""
    from matplotlib.patches import Rectangle

    margin = 0.04
    side = float(np.clip(2.65 / max(len(legend.names), 1) ** 0.5, 0.31, 0.46)) + 2 * margin / 3
    frame = (margin, margin, WIDTH - margin, height - margin)
    shown = exemplars(points, legend.centres, 0.4 * side, seed)
    shown = shown[: 4 * MOST_THUMBNAILS]
    boxes = place_boxes(points[shown], points, (side, side), frame, numbers)
    drawn = 0
    for i, box in zip(shown, boxes, strict=True):
        if box is None or drawn == MOST_THUMBNAILS:
            continue
        picture = thumbnail(images, i, 112)
        if picture is None:
            continue
        drawn += 1
        left, bottom = box[0] + margin / 3, box[1] + margin / 3
        right, top = box[2] - margin / 3, box[3] - margin / 3
        colour = legend.colours[legend.of[i]] if legend.of[i] >= 0 else "#7b818c"
        x, y = points[i]
        axes.plot(
            [x, np.clip(x, left, right)], [y, np.clip(y, bottom, top)], color=colour, lw=0.6,
            zorder=2, solid_capstyle="round",
        )  # fmt: skip
        axes.imshow(
            picture, extent=(left, right, bottom, top), zorder=3, aspect="auto",
            interpolation="antialiased",
        )  # fmt: skip
        axes.add_patch(
            Rectangle(
                (left, bottom), right - left, top - bottom, fill=False, ec=colour, lw=1.0,
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
    colour_of = dict(zip(legend.names, legend.colours, strict=True))
    colours = [colour_of.get(str(name), INK) for name in taxa or [""] * len(new)]
    axes.scatter(
        *new.T, s=20, facecolors="white", edgecolors=colours, linewidths=1.2, zorder=5,
        path_effects=[withStroke(linewidth=2.4, foreground=INK)],
    )  # fmt: skip


def _draw_legend(axes: Any, legend: Legend, table: _Table, top: float) -> None:
    """Number, dot, name and count of every taxon, down the columns."""
    for i, name in enumerate(legend.names):
        column, row = divmod(i, table.rows)
        x, end = table.lefts[column], table.lefts[column + 1] - 0.16
        y = top - ROW * (row + 0.5)
        count = f"{legend.counts[i]:,}"
        room = (end - x - 0.55) * 72 / table.size - 0.64 * max(0, len(count) - 3)
        letters = max(3, int(room / 0.55))
        fits = len(table.lefts) > 4 or len(name) <= letters
        short = name if fits else name[: letters - 1] + "…"
        style = {"fontsize": table.size, "va": "center_baseline", "parse_math": False}
        axes.text(x + 0.17, y, str(i + 1), ha="right", fontweight="bold", color=INK, **style)
        axes.scatter([x + 0.25], [y + 0.004], s=20, c=legend.colours[i], linewidths=0)
        axes.text(x + 0.32, y, short, fontstyle="italic", color=INK, **style)
        axes.text(end, y, count, ha="right", color="#7b818c", **style)


def _draw_note(axes: Any, count: int, new: int, pictured: bool) -> None:
    """One grey line at the foot: how many specimens, and what the ring and the hair line are."""
    x = 0.14
    if new:
        axes.scatter([x + 0.06], [0.1], s=20, facecolors="white", edgecolors=INK, linewidths=1.4)
        x += 0.17
    parts = [f"{new:,} newly placed"] if new else []
    parts.append(f"{count:,} specimens, each a dot")
    if pictured:
        parts.append("lines join pictures to their dots")
    style = {"fontsize": 6.2, "color": "#7b818c", "va": "center_baseline"}
    axes.text(x, 0.1, "   ·   ".join(parts), **style)


def write_page(
    path: Path,
    coordinates: NDArray[np.float32],
    ids: Sequence[str],
    taxa: Sequence[str] | None,
    images: Images | None,
    *,
    title: str,
    seed: int,
) -> None:
    """Write the page of `Morphospace.write_html`.

    Its pictures are JPEGs of 48 pixels in one sheet: of every specimen up to 4,000, else of 4,000
    drawn at random with `seed`, which the page says.
    """
    from markupsafe import Markup

    legend = make_legend(coordinates, taxa)
    low = coordinates.min(0).astype(float)
    span = max(float(np.ptp(coordinates, axis=0).max()), 1e-9)
    flat = np.round((coordinates - low) / span, 5)
    sheet, pictured, columns = _sprite_sheet(len(ids), images, seed)
    data = {
        "x": flat[:, 0].tolist(),
        "y": flat[:, 1].tolist(),
        "ids": list(ids),
        "of": legend.of.tolist(),
        "names": legend.names,
        "colours": legend.colours,
        "counts": legend.counts,
        "centres": legend.centres.tolist(),
        "pictured": pictured,
        "columns": columns,
        "sprite": SPRITE,
        "sheet": sheet,
        "seed": seed,
    }
    write_text(path, render("map.html", title=title, data=Markup(script_json(data))))


def script_json(data: Any) -> str:
    """JSON that cannot leave a script element: <, > and & are escaped.

    >>> script_json("</script>")
    '"\\\\u003c/script\\\\u003e"'
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _sprite_sheet(count: int, images: Images | None, seed: int) -> tuple[str, list[int], int]:
    """A data URL of the sheet, the specimens on it row by row, and how many make a row."""
    from PIL import Image

    if images is None:
        return "", [], 1
    wanted = np.random.default_rng(seed).permutation(count)[:MOST_SPRITES]
    tiles = [(int(i), thumbnail(images, int(i), SPRITE)) for i in wanted]
    readable = [(i, tile) for i, tile in tiles if tile is not None]
    if not readable:
        return "", [], 1
    columns = ceil(len(readable) ** 0.5)
    sheet = np.zeros((ceil(len(readable) / columns) * SPRITE, columns * SPRITE, 3), np.uint8)
    for k, (_, tile) in enumerate(readable):
        row, column = divmod(k, columns)
        sheet[row * SPRITE :, column * SPRITE :][:SPRITE, :SPRITE] = tile
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "JPEG", quality=82, subsampling=0)
    return data_url(buffer.getvalue(), "jpeg"), [i for i, _ in readable], columns
