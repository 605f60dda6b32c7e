"""Crop a published plate to the image of its specimen: without border, label strip and scale bars.

A network that sees the printed label learns to read it and ignores the specimen. AutoMorph
(Hsiang et al. 2017, Palaeontologia Electronica 21.1.2A), which made the Endless Forams images, pads
an image with black to 640 px and adds a white strip of 160 px below it. The strip has a bar of
100 µm, a bar of 25 µm under it, and lines of text. Other plates print light text on a dark strip,
or above the image.

A label is recognized by its text: at least one line of seven or more marks of the same color and
similar height, on a common baseline, on a flat ground that reaches the edge and shows nothing
else. An image without such a line, and without a border of one flat color with straight edges, is
not changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from forametric._typing import BoolArray, Pixels

Grey = npt.NDArray[np.int16]
Box = tuple[int, int, int, int]

FLAT = 14  # grey levels by which JPEG artifacts may change a flat ground
INK = 70  # least difference of ink from its ground, in grey levels
BOLD = 120  # least difference of a line of text from its ground, in grey levels
LINE = 7  # least number of marks in a line of text
TALLEST = 0.09  # greatest height of a letter, as a share of the image's height
SMALLEST = 96  # least side of a plate, in pixels
LONGEST = 4000  # greatest side of the reduced image in which a label is looked for, in pixels
MANY = 20_000  # marks; more are noise, not a label
STRIP = 1 << 20  # pixels that are reduced at once
BORDER = 4  # greatest deviation within a border, in grey levels
UM_BARS = (100.0, 25.0)  # the lengths of AutoMorph's two bars


@dataclass(frozen=True)
class Plate:
    """The position of the specimen's image on a plate, and the scale that its label states.

    Attributes
    ----------
    box : tuple of int
        First row, row after the last, first column, column after the last.
    um_per_px : float or None
        From the strip's scale bar; None if no bar is found or its length is not known.
    """

    box: Box
    um_per_px: float | None = None


@dataclass(frozen=True)
class _Mark:
    """The box of a connected patch of ink, and its greatest difference from the ground."""

    top: int
    bottom: int
    left: int
    right: int
    peak: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left


def crop_plate(image: Pixels) -> Pixels:
    """The image of the specimen on a plate; an image that is not a plate is returned unchanged.

    >>> image = np.full((40, 30, 3), 90, np.uint8)
    >>> crop_plate(image) is image
    True
    """
    top, bottom, left, right = read_plate(image).box
    if (top, bottom, left, right) == (0, image.shape[0], 0, image.shape[1]):
        return image
    return np.ascontiguousarray(image[top:bottom, left:right])


def read_plate(image: Pixels, bar_um: float | None = None) -> Plate:
    """Find the image of the specimen and the scale on a plate.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)
    bar_um : float, optional
        The length of the strip's only scale bar in µm. Without it only AutoMorph's pair of bars
        is understood.

    Returns
    -------
    Plate
        Its box is the whole image if there is neither a label nor a border.
    """
    whole = Plate((0, image.shape[0], 0, image.shape[1]))
    factor = max(1, -(-max(image.shape[:2]) // LONGEST))
    if min(image.shape[:2]) < SMALLEST * factor:
        return whole
    found = _read_grey(_grey(image, factor), bar_um)
    if found is None:
        return whole
    (top, bottom, left, right), scale = found
    height, width = (side // factor for side in image.shape[:2])
    bottom, right = (
        whole.box[1] if bottom == height else bottom * factor,
        whole.box[3] if right == width else right * factor,
    )
    return Plate((top * factor, bottom, left * factor, right), scale and scale / factor)


def _grey(image: Pixels, factor: int) -> Grey:
    """The mean of the colors, and of `factor` by `factor` pixels."""
    height, width = (side // factor for side in image.shape[:2])
    grey = np.empty((height, width), np.int16)
    at_once = max(1, STRIP // (width * factor**2))
    for top in range(0, height, at_once):
        bottom = min(top + at_once, height)
        strip = image[top * factor : bottom * factor, : width * factor]
        # Adding slices is five times as fast as the mean over an axis.
        total = np.zeros((bottom - top, width), np.int16 if factor <= 6 else np.int32)
        for row, column, channel in np.ndindex(factor, factor, 3):
            total += strip[row::factor, column::factor, channel]
        grey[top:bottom] = total // total.dtype.type(3 * factor**2)
    return grey


def _read_grey(grey: Grey, bar_um: float | None) -> tuple[Box, float | None] | None:
    """The box of the specimen's image and the scale; None if hardly anything would be left."""
    height = len(grey)
    below, scale_below = _strip(grey, bar_um)
    above, scale_above = _strip(grey[::-1], bar_um)
    top, bottom = above, height - below
    if bottom - top < 8:
        return None
    box = _without_border(grey[top:bottom])
    return (top + box[0], top + box[1], box[2], box[3]), scale_below or scale_above


def _strip(grey: Grey, bar_um: float | None) -> tuple[int, float | None]:
    """The height of the label strip at the lower edge (0 for none), and its µm per pixel."""
    height = len(grey)
    ground = int(np.median(grey[-2:]))
    if (np.abs(grey[-2:] - ground) <= FLAT).mean() < 0.95:
        return 0, None
    contrast = np.abs(grey - ground)
    marks = _marks(contrast)
    tallest = max(12, round(TALLEST * height))
    small = [m for m in marks if m.height <= tallest]
    lines = _lines([m for m in small if m.height >= 3 and m.width <= 6 * tallest])
    content = contrast > FLAT
    edge = height
    # A row of chambers may look like a line of text. Text has only label below and next to it;
    # a line with other content there belongs to the specimen's image.
    while lines:
        label_top = min(m.top for line in lines for m in line)
        label = [m for m in small if m.bottom > label_top - 4 * tallest]
        edge = _lowest_row(content & ~_printed(label, grey.shape))
        kept = [line for line in lines if min(m.top for m in line) >= edge]
        if len(kept) == len(lines):
            break
        lines = kept
    if not lines or edge > height - 6:
        return 0, None
    under = [m for m in small if m.top >= edge]
    cut = _edge_row(grey, edge, min(m.top for m in under), ground)
    bars = [m for m in under if m.height <= max(4, 0.012 * height) and m.width > 2 * m.height]
    return height - cut, _scale(bars) if bar_um is None else _scale_of_one(bars, bar_um)


def _marks(contrast: Grey) -> list[_Mark]:
    """The patches of ink; none if they are too few for a line of text, or far too many."""
    ink = contrast >= INK
    numbered, count = ndimage.label(ink, np.ones((3, 3), int))
    if not LINE <= count <= MANY:
        return []
    peaks = np.zeros(count + 1, contrast.dtype)
    np.maximum.at(peaks, numbered[ink], contrast[ink])
    return [
        _Mark(rows.start, rows.stop, columns.start, columns.stop, int(peak))
        for (rows, columns), peak in zip(ndimage.find_objects(numbered), peaks[1:], strict=True)
    ]


def _printed(label: list[_Mark], shape: tuple[int, ...]) -> BoolArray:
    """The pixels of the label's marks, with a margin for JPEG artifacts."""
    printed = np.zeros(shape, bool)
    for m in label:
        printed[max(0, m.top - 7) : m.bottom + 7, max(0, m.left - 9) : m.right + 9] = True
    return printed


def _lowest_row(content: BoolArray) -> int:
    """The row after the lowest row with at least three pixels of content."""
    rows = np.flatnonzero(content.sum(1) >= 3)
    return int(rows[-1]) + 1 if len(rows) else 0


def _lines(marks: list[_Mark]) -> list[list[_Mark]]:
    """Lines of text: marks of similar size that overlap in height, each near the previous one."""
    lines: list[list[_Mark]] = []
    tallest: list[int] = []
    open_lines: list[int] = []  # those that a mark may still be near to
    gap = 2.5 * max((m.height for m in marks), default=0)
    for mark in sorted(marks, key=lambda m: m.left):
        open_lines = [n for n in open_lines if mark.left - lines[n][-1].right <= gap]
        for number in open_lines:
            line = lines[number]
            last, tall = line[-1], tallest[number]
            shared = min(mark.bottom, last.bottom) - max(mark.top, last.top)
            if (
                shared >= 0.5 * min(mark.height, last.height)
                and mark.height <= 2.2 * tall
                and tall <= 3.5 * mark.height
                and mark.left - last.right <= 2.5 * max(tall, mark.height)
            ):
                line.append(mark)
                tallest[number] = max(tall, mark.height)
                break
        else:
            open_lines.append(len(lines))
            lines.append([mark])
            tallest.append(mark.height)
    return [line for line in lines if _is_text(line)]


def _is_text(line: list[_Mark]) -> bool:
    """Whether the marks are enough, of one color, and most on a common baseline (or top line)."""
    if len(line) < LINE:
        return False
    peaks = np.array([m.peak for m in line])
    bold = float(np.median(peaks))
    if bold < BOLD or (peaks >= 0.6 * bold).mean() < 0.85:
        return False
    if max(m.bottom for m in line) - min(m.top for m in line) > 1.6 * max(m.height for m in line):
        return False
    near = max(1.0, 0.08 * max(m.height for m in line))
    ends = (np.array([m.bottom for m in line]), np.array([m.top for m in line]))
    return max(float((np.abs(e - np.median(e)) <= near).mean()) for e in ends) >= 0.62


def _edge_row(grey: Grey, edge: int, text_top: int, ground: int) -> int:
    """The first row of the strip, between the image's last content and the first ink.

    If the image ends in a straight edge, that edge. If the image has the strip's color, and so no
    visible edge, the middle of the gap, so that a faint rim of the specimen is not cut.
    """
    if edge == 0:
        return 0
    # A dim image still differs a little from a flat strip: follow it down to its last row.
    dim = (np.abs(grey[edge:text_top] - ground) > BORDER).mean(1) >= 0.2
    if dim.any() and dim[0]:
        return edge + (int(np.argmin(dim)) if not dim.all() else len(dim))
    rows = np.abs(grey[max(0, edge - 3) : edge] - ground) > FLAT
    span = np.flatnonzero(rows.any(0))
    straight = rows[:, span[0] : span[-1] + 1].mean() > 0.85
    if straight and span[-1] - span[0] >= 0.2 * grey.shape[1]:
        return edge
    return (edge + text_top + 1) // 2


def _scale(bars: list[_Mark]) -> float | None:
    """µm per pixel from a bar and, below it, a bar of a quarter of its length."""
    for long in bars:
        for short in bars:
            centered = abs((long.left + long.right) - (short.left + short.right)) <= 8
            if short.top > long.top and centered and abs(long.width - 4 * short.width) <= 6:
                return UM_BARS[0] / long.width
    return None


def _scale_of_one(bars: list[_Mark], bar_um: float) -> float | None:
    """µm per pixel from the longest bar that is much longer than a dash."""
    longest = max((bar.width for bar in bars if bar.width >= 5 * bar.height), default=None)
    return bar_um / longest if longest else None


def _without_border(grey: Grey) -> Box:
    """The box inside a flat black or white border with straight edges."""
    height, width = grey.shape
    sides = (grey[:, :2], grey[:, -2:], grey[:2], grey[-2:])
    for side in sides:
        color = int(np.median(side))
        if 6 < color < 249 or (np.abs(side - color) > BORDER).mean() > 0.02:
            continue
        inside = np.abs(grey - color) > BORDER
        rows, columns = inside.mean(1), inside.mean(0)
        # The middle of the sorted profile is inside the image unless the border fills half of it.
        high = np.flatnonzero(rows > 0.5 * np.quantile(rows, 0.75))
        wide = np.flatnonzero(columns > 0.5 * np.quantile(columns, 0.75))
        if not len(high) or not len(wide):
            continue
        box = (int(high[0]), int(high[-1]) + 1, int(wide[0]), int(wide[-1]) + 1)
        framed = inside[box[0] : box[1], box[2] : box[3]]
        outside = inside.sum() - framed.sum()
        rest = inside.size - framed.size
        if rest and outside <= 0.02 * rest and _is_rectangle(framed):
            return box
    return 0, height, 0, width


def _is_rectangle(framed: BoolArray) -> bool:
    """Whether the edges and corners are filled too, as in an image but not in a specimen."""
    if min(framed.shape) < 8:
        return False
    edges = np.concatenate([framed[1], framed[-2], framed[:, 1], framed[:, -2]])
    corners = np.concatenate(
        [framed[i : i + 4 or None, j : j + 4 or None].ravel() for i in (0, -4) for j in (0, -4)]
    )
    return bool(framed.mean() >= 0.9 and edges.mean() >= 0.85 and corners.mean() >= 0.75)
