"""Render a shell's surface: wall texture, light, and the camera of a microscope."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter, zoom

from forametric._typing import AnyArray, FloatArray, Pixels
from forametric.simulation.forms import Form
from forametric.simulation.growth import LAST, RIM, Opening, SimulatedSpecimen
from forametric.simulation.surface import Surface, length

CELLS, TEXELS = 32, 64  # period of the solid noise in cells, and its resolution
PATCHES = 8  # period of the large, smooth patches of corrosion and sediment, in cells
SEDIMENT = np.array([0.78, 0.66, 0.5])  # its color; white is 1
WHITE = 195  # grey level of light 1 before the camera's curve, so that 8 bits reach 1.3
SPARE = 97  # margin of the noise image from which that of an image is cropped, in pixels


def render(
    surface: Surface,
    form: Form,
    one: SimulatedSpecimen,
    openings: list[Opening],
    holes: list[Opening],
    rng: np.random.Generator,
) -> Pixels:
    """The image of a shell (uint8, shape (size, size, 3)) under oblique reflected light."""
    unit = len(surface.mask) / 100
    offset = rng.uniform(0, CELLS, (3, 1)).astype(np.float32)
    positions = surface.point / np.float32(unit)
    roughness = min(1.0, form.roughness + 0.35 * one.dissolution)
    bump = np.float32(roughness * float(rng.uniform(0.7, 1.3)) * 0.34 + 0.03)
    grain, *slopes = _sample_noise(
        _noise(), positions * np.float32(1 / (0.5 + 0.5 * roughness)) + offset
    )
    normal: FloatArray = (surface.normal - bump * np.stack(slopes)).astype(np.float32, copy=False)
    normal /= length(normal)

    light = _lit(surface, normal, form, one, roughness, unit)
    pits = np.clip(-grain - np.float32(1.0 - 0.5 * one.dissolution), 0, 1)
    light *= 1 - np.float32(0.32 * (form.pores + 0.5 * one.dissolution)) * pits
    light *= 1 + np.float32(0.045 * (1 + roughness)) * grain
    light[surface.kind == RIM] = 1.06 * light[surface.kind == RIM] + 0.06
    dirt = np.zeros(len(light), np.float32)
    if one.dissolution or one.sediment:
        (patches,) = _sample_noise(_patches(), positions / np.float32(7.0) + offset)
        corroded = np.clip(patches - np.float32(1.6 - 1.6 * one.dissolution), 0, 1)
        light *= 1 - np.float32(0.3 * one.dissolution) * corroded
        if one.sediment:
            dirt = np.clip(patches + 0.5 * grain - np.float32(1.9 - 1.5 * one.sediment), 0, 1)
    for opening in openings:
        _open(light, dirt, surface, opening, one.infill, unit)
    for hole in holes:
        _open(light, dirt, surface, hole, 0.5 * one.infill, unit, grain)
    return _expose(light, dirt, surface, form, one, rng)


@cache
def _noise() -> FloatArray:
    """Periodic solid noise with standard deviation 1: its value and its three slopes per cell.

    Shape (4, TEXELS, TEXELS, TEXELS).
    """
    value = _smooth(CELLS, TEXELS // CELLS)
    per_cell = TEXELS / CELLS / 2
    slopes = [(np.roll(value, -1, k) - np.roll(value, 1, k)) * per_cell for k in range(3)]
    return np.stack([value, *slopes]).astype(np.float32)


@cache
def _patches() -> FloatArray:
    """The same with fewer cells and without slopes: shape (1, TEXELS, TEXELS, TEXELS)."""
    return _smooth(PATCHES, TEXELS // PATCHES)[None].astype(np.float32)


def _smooth(cells: int, texels: int) -> FloatArray:
    raw = np.random.default_rng(0).normal(size=(cells,) * 3)
    value = gaussian_filter(raw, 0.9, mode="wrap") - gaussian_filter(raw, 2.2, mode="wrap")
    return np.asarray(
        zoom(value / value.std(), texels, order=3, mode="grid-wrap", grid_mode=True), np.float32
    )


def _sample_noise(noise: FloatArray, positions: FloatArray) -> FloatArray:
    """The noise at positions in cells, which have the shape (3, n); shape (channels, n)."""
    per_cell = TEXELS // (CELLS if len(noise) > 1 else PATCHES)
    x, y, z = (positions * np.float32(per_cell)).astype(np.int32) & (TEXELS - 1)
    index = (x * TEXELS + y) * TEXELS + z
    return np.stack([channel.take(index) for channel in noise.reshape(len(noise), -1)])


def _lit(
    surface: Surface,
    normal: FloatArray,
    form: Form,
    one: SimulatedSpecimen,
    roughness: float,
    unit: float,
) -> FloatArray:
    """The light: key light with shadow, translucency, light from above, gloss, dark sutures."""
    around = np.deg2rad(one.light_deg)
    key = np.array([np.cos(around), np.sin(around), one.light_height])
    key = (key / np.linalg.norm(key)).astype(np.float32)
    toward = key @ normal
    wrapped = np.maximum(toward * 0.6 + 0.4, 0)  # calcite is translucent
    # Shadows and sutures are soft: half the resolution is enough.
    half = np.ascontiguousarray(surface.depth[::2, ::2])
    rows, columns = np.divmod(surface.where, len(surface.mask))
    at_half = (rows // 2) * half.shape[1] + columns // 2
    shadow = _shadow(half, around, one.light_height, unit)
    open_to_key = 1 - 0.6 * (1 - 0.5 * form.glassy) * shadow.ravel()[at_half]
    light = 0.42 * np.maximum(toward, 0) + 0.28 * wrapped
    light = light * open_to_key + 0.16 + 0.26 * np.maximum(normal[2], 0)
    halfway = key + np.array([0, 0, 1], np.float32)
    halfway /= np.linalg.norm(halfway)
    gloss = np.maximum(halfway @ normal, 0)
    gloss = gloss**2 * gloss
    gloss = (gloss * gloss) ** 2
    gloss = gloss * gloss  # the 24th power
    shine = (form.gloss + 0.9 * max(0.0, form.gloss - 0.15)) * (1 - one.dissolution)
    light += shine * gloss * (1 - 0.8 * roughness)
    depth = surface.point[2]
    for reach, weight in ((1.6, 0.13), (5.0, 0.045)):
        around_it = gaussian_filter(half, reach * unit / 2, truncate=2.5).ravel()[at_half]
        sunk = np.maximum(around_it - depth, 0) / np.float32(unit)
        light *= np.clip(1 - weight * (1 - 0.5 * form.glassy) * sunk, 0.3, 1)
    if form.glassy:
        # A thin wall is darkest where it faces the camera: the dark slide is seen through it.
        light *= 1 - 0.3 * form.glassy * np.maximum(normal[2], 0)
    return np.asarray(light, np.float32)


def _shadow(half: FloatArray, around: float, height: float, unit: float) -> FloatArray:
    shadow = np.zeros_like(half)
    for step in unit * np.array([2.0, 4.0, 7.0, 11.0, 16.0, 22.0]):
        dx, dy = np.rint(step / 2 * np.array([np.cos(around), np.sin(around)])).astype(int)
        over = np.roll(half, (-dy, -dx), (0, 1)) - half
        over -= np.float32(step * height)
        over /= np.float32(1.5 * unit + 0.2 * step)
        np.maximum(shadow, over, out=shadow)
    return np.asarray(gaussian_filter(np.minimum(shadow, 1), 0.45 * unit), np.float32)


def _open(
    light: FloatArray,
    dirt: FloatArray,
    surface: Surface,
    opening: Opening,
    infill: float,
    unit: float,
    ragged: FloatArray | None = None,
) -> None:
    """Darken an opening, brighten its lip, or fill it with sediment; in place."""
    reach = 1.6 * np.sqrt((opening.axes**2).sum(1)).astype(np.float32)
    center = opening.center.astype(np.float32)
    close = np.abs(surface.point[0] - center[0]) < reach[0]
    for axis in (1, 2):
        close &= np.abs(surface.point[axis] - center[axis]) < reach[axis]
    near = np.flatnonzero(close)
    if not len(near):
        return
    inverse = np.linalg.inv(opening.axes).astype(np.float32)
    distance = length(inverse @ (surface.point[:, near] - center[:, None]))
    if ragged is not None:
        distance = distance * (1 + 0.1 * ragged[near])
    edge = np.clip((1 - distance) * np.linalg.norm(opening.axes[:, 0]) / unit + 0.5, 0, 1)
    if opening.of_last:
        last = surface.kind[near] == LAST
        # The umbilicus next to the opening is in shadow.
        edge = np.where(last, 0.88 * edge, 0.55 * np.exp(-((distance / 0.8) ** 2)))
    else:
        last, edge = np.ones(len(near), bool), 0.85 * edge
    rim = opening.lip * np.exp(-(((distance - 1.1) / 0.08) ** 2)) * last
    light[near] *= (1 - edge * (1 - 0.55 * infill)) * (1 + 0.35 * rim)
    dirt[near] = np.maximum(dirt[near], infill * edge)


def _expose(
    light: FloatArray,
    dirt: FloatArray,
    surface: Surface,
    form: Form,
    one: SimulatedSpecimen,
    rng: np.random.Generator,
) -> Pixels:
    """Blur, add noise, and color the lit shell with lookup tables."""
    size, unit = len(surface.mask), len(surface.mask) / 100
    tints = [[1, 0.985, 0.95], [1, 0.955, 0.87], [0.98, 0.975, 0.97], [0.95, 0.97, 0.98]]
    mood = int(rng.choice(4, p=[0.45, 0.3, 0.12, 0.13]))
    color = np.array(tints[mood]) + rng.normal(0, 0.012) * np.array([0.3, 0.0, -1.0])
    if one.pink:
        color = np.array([1.0, 0.8, 0.74])
    color = color * (1 - one.stain) + np.array([0.92, 0.7, 0.42]) * one.stain
    light = light * np.float32(one.exposure * (0.8 if mood == 3 else 1.0))
    grey = np.full(size * size, float(rng.uniform(0.015, 0.06)) * WHITE, np.float32)
    grey[surface.where] = np.clip(light, 0.02, 1.3) * WHITE
    sharp = Image.fromarray(grey.astype(np.uint8).reshape(size, size))
    blurred = sharp.filter(ImageFilter.GaussianBlur(one.blur * unit))
    if one.focus > 0.15:
        # The flanks are below the plane of focus.
        soft = sharp.filter(ImageFilter.GaussianBlur((one.blur + 1.6 * one.focus) * unit))
        low, high = float(surface.depth.min()), float(surface.depth.max())
        height = (surface.depth - low) * np.float32(255 / max(high - low, 1e-6))
        blurred = Image.composite(blurred, soft, Image.fromarray(height.astype(np.uint8)))
    top, left = (int(v) for v in rng.integers(0, SPARE, 2))
    noise = _grain(size)[top : top + size, left : left + size]
    grainy = np.float32(WHITE * one.noise) * noise
    grainy += np.asarray(blurred)
    level = np.clip(grainy, 0, 255, out=grainy).astype(np.uint8)
    image = _table(color).take(level, axis=0)
    if not dirt.any():
        return np.asarray(image)
    share = np.zeros(size * size, np.uint8)
    share[surface.where] = 255 * dirt
    sediment = Image.fromarray(_table(SEDIMENT).take(level, axis=0))
    where = Image.fromarray(share.reshape(size, size))
    return np.asarray(Image.composite(sediment, Image.fromarray(image), where))


def _table(color: AnyArray) -> Pixels:
    """The camera's curve: the color of a wall for each grey level (uint8, shape (256, 3))."""
    light = np.arange(256)[:, None] / WHITE
    # Thin parts in shadow are lit through the wall, so their color is a little warmer.
    warm = 1 + np.array([0.05, 0.0, -0.06]) * (1 - np.minimum(light, 1))
    lit = light * np.where(light < 0.08, 1.0, color * warm)
    lit = lit / (1 + 0.12 * lit**4)  # highlights saturate softly
    return np.asarray(np.clip(lit, 0, 1) ** 0.92 * 255, np.uint8)


@cache
def _grain(size: int) -> FloatArray:
    rng = np.random.default_rng(size)
    return rng.standard_normal((size + SPARE, size + SPARE), dtype=np.float32)
