"""Simulate published plates: a shell with border, label strip and scale bars, as JPEG.

They replace the Endless Forams library where it is not available, to test the cropping of plates
and the whole workflow. Results on them do not apply to the library.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from forametric._typing import BoolArray, Pixels
from forametric.simulation import FORMS, simulate_shell

Style = Literal["automorph", "dark below", "dark above", "grey below", "none"]
STYLES: tuple[Style, ...] = ("automorph", "dark below", "dark above", "grey below")
STRIP, PLATE_WIDTH = 160, 640  # in pixels, as AutoMorph's
BAR_UM = 100.0  # the only scale bar of the other styles


@dataclass(frozen=True)
class SimulatedPlate:
    """A plate and the truth about it.

    Attributes
    ----------
    picture : ndarray of uint8, shape (height, width, 3)
    shell, strip : ndarray of bool, shape (height, width)
        The pixels of the shell, and those of the label strip with everything printed on it.
    box : tuple of int
        The image of the shell: first row, row after the last, first column, column after the last.
    um_per_px : float
    """

    picture: Pixels
    shell: BoolArray
    strip: BoolArray
    box: tuple[int, int, int, int]
    um_per_px: float


def simulate_plate(form: str, seed: int, style: Style, *, near: bool = False) -> SimulatedPlate:
    """Simulate a plate; `near` crops the image so that the shell nearly touches its edges.

    >>> plate = simulate_plate("single sphere", 1, "automorph")
    >>> plate.picture.shape[1], bool((plate.shell & plate.strip).any())
    (640, False)
    """
    rng = np.random.default_rng([seed, 11])
    side = int(rng.integers(140, 420))
    shell = simulate_shell(form, seed, side)
    image, mask = shell.picture, shell.mask
    if near:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        gap = rng.integers(1, 4, 4)
        cut = (
            slice(max(0, rows[0] - gap[0]), rows[-1] + 1 + gap[1]),
            slice(max(0, columns[0] - gap[2]), columns[-1] + 1 + gap[3]),
        )
        image, mask = image[cut], mask[cut]
    # A slide is not quite black, and a camera has noise.
    dark = float(rng.uniform(6, 26))
    noise = rng.normal(dark, rng.uniform(1.0, 2.5), image.shape)
    image = np.clip(np.maximum(image.astype(float), noise), 0, 255).astype(np.uint8)
    um_per_px = float(rng.uniform(350, 750)) / side
    if style == "none":
        return _encoded(
            image, mask, np.zeros(mask.shape, bool), (0, 0), image.shape, um_per_px, rng
        )
    width = max(PLATE_WIDTH, image.shape[1]) if style == "automorph" else image.shape[1] + 240
    left = (width - image.shape[1]) // 2
    border = 0 if style == "automorph" else int(rng.integers(0, 12))
    strip = _label(style, width, um_per_px, seed, rng)
    above = len(strip) if style == "dark above" else 0
    total = len(strip) + len(image) + 2 * border
    plate = np.zeros((total, width, 3), np.uint8)
    first = above + border
    plate[first : first + len(image), left : left + image.shape[1]] = image
    where = slice(0, above) if above else slice(total - len(strip), total)
    plate[where] = strip
    whole_mask, whole_strip = np.zeros((2, total, width), bool)
    whole_mask[first : first + len(image), left : left + image.shape[1]] = mask
    whole_strip[where] = True
    return _encoded(plate, whole_mask, whole_strip, (first, left), image.shape, um_per_px, rng)


def _encoded(
    plate: Pixels,
    mask: BoolArray,
    strip: BoolArray,
    corner: tuple[int, int],
    shape: tuple[int, ...],
    um_per_px: float,
    rng: np.random.Generator,
) -> SimulatedPlate:
    buffer = io.BytesIO()
    Image.fromarray(plate).save(buffer, "JPEG", quality=int(rng.integers(75, 97)))
    picture = np.asarray(Image.open(buffer).convert("RGB"))
    box = (corner[0], corner[0] + shape[0], corner[1], corner[1] + shape[1])
    return SimulatedPlate(picture, mask, strip, box, um_per_px)


def _label(
    style: Style, width: int, um_per_px: float, seed: int, rng: np.random.Generator
) -> Pixels:
    """A label strip in the style of AutoMorph, or in another style."""
    ground, ink = {"automorph": (255, 0), "grey below": (200, 20)}.get(style, (0, 245))
    height = STRIP if style == "automorph" else int(rng.integers(54, 114))
    strip = Image.new("RGB", (width, height), (ground,) * 3)
    draw = ImageDraw.Draw(strip)
    name = str(rng.choice(["DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral"]))
    lines = [
        f"Object {seed:05} of sample MP{int(rng.integers(1, 99))}",
        f"Specimen number {int(rng.integers(100000, 999999))}",
        "Atlantic Ocean, core top",
        f"File: plane{seed:04}.tif",
        "Imaged at 160x, 3-D reconstruction",
    ]
    if style == "automorph":
        for offset, um in ((7, 100.0), (17, 25.0)):
            start, length = int(width / 2 - um / um_per_px / 2), um / um_per_px
            draw.line((start, offset, start + length, offset), fill=(ink,) * 3, width=2)
            end = start + length + 10
            draw.text((end, offset - 4), f"{um:.0f} um", fill=(ink,) * 3, font=_font(name, 10))
        places = zip((24, 44, 64, 94, 109), (14, 14, 14, 9, 9), lines, strict=True)
    else:
        step = int(rng.integers(16, 24))
        count = max(1, min(4, (height - 20) // step))
        start, foot = int(rng.integers(4, 20)), height - 3
        end = start + BAR_UM / um_per_px - 1
        draw.rectangle((start, foot - 1, end, foot), fill=(ink,) * 3)
        font = _font(name, 10)
        draw.text((end + 6, foot - 10), f"{BAR_UM:.0f} µm", fill=(ink,) * 3, font=font)
        sizes = [int(rng.integers(10, 15))] * 4
        places = zip(range(4, height - 14, step), sizes, lines[:count], strict=False)
    for y, size, line in places:
        font = _font(name, size)
        x = (width - font.getlength(line)) / 2
        draw.text((x, y), line, fill=(ink,) * 3, font=font)
    return np.asarray(strip)


@cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    from matplotlib import get_data_path

    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"), size)


def any_form(rng: np.random.Generator) -> str:
    """One of the simulator's forms, drawn at random."""
    return str(rng.choice(list(FORMS)))


def write_endless_forams(folder: Path, *, most: int | None = None, seed: int = 0) -> pd.DataFrame:
    """Write simulated plates in the layout of the Endless Forams library, with its class imbalance.

    Each species is replaced by the simulated form that is modelled on it.

    Parameters
    ----------
    most : int, optional
        Greatest number of plates of a species; by default the portal's numbers, 27,729 in all.

    Returns
    -------
    DataFrame
        image (below `folder`), species, form, um_per_px; also written as `truth.csv`.
    """
    from forametric.data.importers.endless_forams import facts

    form_of = {form.after: name for name, form in FORMS.items()}
    rows = []
    for number, species, images, _ in facts().itertuples(index=False):
        form = form_of[species]
        subfolder = folder / species.replace(" ", "_")
        subfolder.mkdir(parents=True, exist_ok=True)
        for i in range(min(images, most or images)):
            plate = simulate_plate(form, seed * 1_000_003 + number * 10_007 + i, "automorph")
            image = f"{subfolder.name}/{number:02}{i:05}.jpg"
            Image.fromarray(plate.picture).save(folder / image, quality=95)
            rows.append((image, species, form, plate.um_per_px))
    table = pd.DataFrame(rows, columns=["image", "species", "form", "um_per_px"])
    table.to_csv(folder / "truth.csv", index=False)
    return table
