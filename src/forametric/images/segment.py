"""Find the specimens on the image of a slide, and crop each one.

The search uses a reduced image (its longer side at most `LONGEST` px), so that memory stays small.
The cropped images have the full resolution of the slide.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from skimage.filters import apply_hysteresis_threshold, threshold_otsu
from skimage.measure import label, regionprops
from skimage.morphology import reconstruction
from skimage.segmentation import find_boundaries, watershed

from forametric._typing import BoolArray, FloatArray, Pixels

if TYPE_CHECKING:
    from skimage.measure._regionprops import RegionProperties

LabelImage = npt.NDArray[np.int32]

LONGEST = 4000  # greatest side of the reduced image that is searched, in pixels
NECK = 0.7  # parts are split at a neck narrower than this share of the smaller part's width
SPECK = 0.25  # objects below this share of the typical diameter are dust
MARGIN = 0.12  # space around a cropped specimen, as a share of its longer side
_COLUMNS = (
    "x_px",
    "y_px",
    "left_px",
    "top_px",
    "width_px",
    "height_px",
    "area_px2",
    "equivalent_diameter_px",
    "major_axis_px",
    "minor_axis_px",
    "circularity",
    "solidity",
)


@dataclass(frozen=True)
class Slide:
    """The specimens found on one slide.

    Attributes
    ----------
    specimens : DataFrame
        One row for each specimen, from the top left, with `x_px`, `y_px` (its center), `left_px`,
        `top_px`, `width_px`, `height_px` (the cropped image), `area_px2`, `equivalent_diameter_px`,
        `major_axis_px`, `minor_axis_px` (of the ellipse of equal second moments), `circularity`
        (4π area / perimeter², at most 1), `solidity` (area over that of the convex hull) and
        `touching` (it was split from another); lengths in pixels of the slide.
    labels : ndarray of int32, shape (height / factor, width / factor)
        The number of the specimen (row + 1) at each pixel of the reduced image, 0 elsewhere.
    factor : int
        Pixels of the slide for each pixel of the reduced image, along one side.
    cut : int
        The number of specimens left out because the edge of the image cuts them.
    dark : bool
        Whether the specimens are darker than the slide.
    """

    specimens: pd.DataFrame
    labels: LabelImage
    factor: int
    cut: int
    dark: bool


def find_specimens(image: Pixels, *, smallest: float | None = None) -> Slide:
    """Find the specimens on a slide, whether they are brighter or darker than it.

    Specimens are regions that stand out from the local tone of the slide. Regions joined by a neck
    narrower than `NECK` of the smaller one's width are split by a watershed on the distance to the
    outline.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)
    smallest : float, optional
        Least equivalent diameter in pixels; by default a quarter of the slide's typical diameter.

    >>> slide = np.full((200, 300, 3), 20, np.uint8)
    >>> slide[50:90, 60:100] = slide[120:170, 200:250] = 200
    >>> find_specimens(slide).specimens[["x_px", "y_px"]].round().values.tolist()
    [[80.0, 70.0], [225.0, 145.0]]
    """
    factor = max(1, -(-max(image.shape[:2]) // LONGEST))
    contrast, dark = _contrast(np.asarray(Image.fromarray(image).reduce(factor).convert("L")))
    inside = _foreground(contrast)
    least = None if smallest is None else smallest / factor
    labels, touching = _label_specimens(inside, least)
    labels, touching, cut = _drop_cut(labels, touching)
    rows = [
        _measured(region, factor, image.shape) | {"touching": region.label in touching}
        for region in regionprops(labels)
    ]
    columns = [*_COLUMNS, "touching"]
    return Slide(pd.DataFrame(rows, columns=columns), labels, factor, cut, dark)


def crop(image: Pixels, slide: Slide, row: int) -> Pixels:
    """The image of one specimen with a margin; neighbors are painted over with the slide's tone.

    Returns
    -------
    ndarray of uint8, shape (height_px, width_px, 3)
    """
    box = slide.specimens.iloc[row]
    top, left = int(box["top_px"]), int(box["left_px"])
    bottom, right = top + int(box["height_px"]), left + int(box["width_px"])
    part = image[top:bottom, left:right].copy()
    rows = np.minimum(np.arange(top, bottom) // slide.factor, slide.labels.shape[0] - 1)
    columns = np.minimum(np.arange(left, right) // slide.factor, slide.labels.shape[1] - 1)
    here = slide.labels[np.ix_(rows, columns)]
    own, others = here == row + 1, (here > 0) & (here != row + 1)
    if others.any():
        reach = 2 * slide.factor  # covers the blurred edge of a neighbor
        others = ndimage.binary_dilation(others, iterations=reach) & ~own
        free = ~own & ~others
        tone = np.median(part[free], axis=0) if free.any() else np.zeros(3)
        part[others] = tone.astype(np.uint8)
    return part


def overlay(image: Pixels, slide: Slide, longest: int = 2400) -> Pixels:
    """The slide with numbered outlines, in another color for specimens split from one another.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3), the longer side at most `longest`
    """
    scale = min(1.0, longest / max(image.shape[:2]))
    width, height = (max(1, round(side * scale)) for side in image.shape[1::-1])
    drawn = np.array(Image.fromarray(image).resize((width, height), reducing_gap=2.0))
    resized = Image.fromarray(slide.labels).resize((width, height), Image.Resampling.NEAREST)
    labels = np.asarray(resized)
    edge = find_boundaries(labels, mode="outer")
    edge |= ndimage.binary_dilation(edge) & (max(width, height) > 1200)
    split = np.concatenate([[False], slide.specimens["touching"].to_numpy(bool)])
    near = ndimage.grey_dilation(labels, 5)[edge]
    drawn[edge] = np.where(split[near][:, None], (255, 140, 0), (0, 200, 255))
    canvas = Image.fromarray(drawn)
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(max(11, round(max(width, height) / 110)))
    for number, specimen in enumerate(slide.specimens.itertuples(), 1):
        spot = (float(str(specimen.x_px)) * scale, float(str(specimen.y_px)) * scale)
        pen.text(
            spot, str(number), (255, 255, 0), font, "mm", stroke_width=2, stroke_fill=(0, 0, 0)
        )
    return np.asarray(canvas)


def _contrast(grey: Pixels) -> tuple[FloatArray, bool]:
    """Each pixel's difference from the slide around it, and whether the specimens are darker."""
    tile = max(32, min(grey.shape) // 6)
    rows = np.linspace(0, grey.shape[0], max(1, round(grey.shape[0] / tile)) + 1).astype(int)
    columns = np.linspace(0, grey.shape[1], max(1, round(grey.shape[1] / tile)) + 1).astype(int)
    tones = np.array(
        [[np.median(grey[a:b, c:d]) for c, d in pairwise(columns)] for a, b in pairwise(rows)],
        dtype=np.float32,
    )
    # A tile that specimens cover gets the tone of the tiles around it.
    tones = ndimage.median_filter(tones, 3, mode="nearest")
    tone = np.asarray(Image.fromarray(tones).resize(grey.shape[::-1], Image.Resampling.BILINEAR))
    contrast = grey.astype(np.float32) - tone
    dark = float(np.mean(np.clip(contrast, -128, 128) ** 3)) < 0
    return (-contrast if dark else contrast), dark


def _foreground(contrast: FloatArray) -> BoolArray:
    """The pixels of specimens: well above the noise, and connected to pixels of high contrast."""
    contrast = ndimage.gaussian_filter(contrast, 0.7)
    noise = 1.4826 * float(np.median(np.abs(contrast)))
    high = float(threshold_otsu(np.clip(contrast, 0, None)))
    bright = contrast[contrast > high]
    if not len(bright) or high < 5 * noise:
        return np.zeros(contrast.shape, bool)
    low = max(4 * noise, 5.0, 0.05 * float(np.median(bright)))
    inside = apply_hysteresis_threshold(contrast, min(low, high), high)
    inside = ndimage.binary_fill_holes(inside)
    # The outline lies where the tone is half-way between the slide and the specimen.
    core = ndimage.binary_erosion(inside, iterations=2)
    inside &= core | (contrast >= 0.5 * ndimage.maximum_filter(contrast, 5))
    return np.asarray(ndimage.binary_opening(inside, iterations=2), dtype=bool)


def _label_specimens(inside: BoolArray, least: float | None) -> tuple[LabelImage, set[int]]:
    """Label the specimens, and split those that touch; also the labels of the split ones."""
    labels = label(inside, connectivity=1).astype(np.int32)
    regions = regionprops(labels)
    if least is None:
        diameters = np.array([r.equivalent_diameter_area for r in regions])
        # The median weighted by area: a hundred specks of dust count little.
        order = np.argsort(diameters)
        share = np.cumsum(diameters[order] ** 2)
        typical = diameters[order][np.searchsorted(share, share[-1] / 2)] if len(order) else 0.0
        least = SPECK * float(typical)
    touching: set[int] = set()
    count = len(regions)
    for region in regions:
        window = labels[region.slice]
        if region.equivalent_diameter_area < least:
            window[region.image] = 0
            continue
        if region.solidity > 0.97:
            continue
        parts = _parts(region.image, least)
        for number in range(2, int(parts.max()) + 1):
            count += 1
            window[parts == number] = count
            touching |= {region.label, count}
    return labels, touching


def _parts(shape: BoolArray, least: float) -> LabelImage:
    """Split one connected shape at its necks; the parts are labelled from 1."""
    shape = np.pad(shape, 1)
    reach = ndimage.gaussian_filter(ndimage.distance_transform_edt(shape), 1.0)
    reach = np.where(shape, np.maximum(reach, 0.5), 0.5)
    # A peak of the distance counts if every path to a higher peak passes through a neck. On the
    # logarithm a neck is a fall of a fixed depth, independent of size.
    depth = np.log(reach)
    filled = reconstruction(depth + np.log(NECK), depth)
    peaks = label((depth - filled) > -np.log(NECK) - 1e-6)
    while True:
        parts = watershed(-reach, peaks, mask=shape)[1:-1, 1:-1]
        sizes = np.bincount(parts.ravel(), minlength=int(peaks.max()) + 1)[1:]
        small = 1 + np.flatnonzero(np.sqrt(4 * sizes / np.pi) < least)
        if not len(small) or len(sizes) - len(small) < 1:
            break
        peaks[np.isin(peaks, small)] = 0
        peaks = _renumbered(peaks)
    return np.asarray(parts, dtype=np.int32)


def _drop_cut(labels: LabelImage, touching: set[int]) -> tuple[LabelImage, set[int], int]:
    """Drop the specimens that the image's edge cuts; number the others from the top left."""
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    cut = set(np.unique(edge).tolist()) - {0}
    kept = [r for r in regionprops(labels) if r.label not in cut]
    band = max(1, labels.shape[0] // 20)
    kept.sort(key=lambda r: (r.centroid[0] // band, r.centroid[1]))
    numbers = np.zeros(int(labels.max()) + 1, np.int32)
    for new, region in enumerate(kept, 1):
        numbers[region.label] = new
    return numbers[labels], {int(numbers[n]) for n in touching} - {0}, len(cut)


def _renumbered(labels: npt.NDArray[np.integer]) -> LabelImage:
    numbers = np.unique(labels, return_inverse=True)[1]
    return np.asarray(numbers.reshape(labels.shape), np.int32)


def _measured(region: RegionProperties, factor: int, shape: tuple[int, ...]) -> dict[str, float]:
    """Position and shape of one region, in pixels of the slide."""
    top, left, bottom, right = (side * factor for side in region.bbox)
    margin = round(MARGIN * max(bottom - top, right - left))
    top, left = max(0, top - margin), max(0, left - margin)
    bottom, right = min(shape[0], bottom + margin), min(shape[1], right + margin)
    perimeter = region.perimeter_crofton
    values = (
        (region.centroid[1] + 0.5) * factor,
        (region.centroid[0] + 0.5) * factor,
        left,
        top,
        right - left,
        bottom - top,
        region.area * factor**2,
        region.equivalent_diameter_area * factor,
        region.axis_major_length * factor,
        region.axis_minor_length * factor,
        min(1.0, 4 * np.pi * region.area / perimeter**2) if perimeter else 1.0,
        region.solidity,
    )
    return {name: round(float(v), 4) for name, v in zip(_COLUMNS, values, strict=True)}
