"""Simulated foraminiferal shells, for the demo and the tests: always *simulated*, never evidence.

After theoretical morphology: chambers are ellipsoids on a logarithmic spiral, each placed from the
one before by a growth ratio, a rotation about the coiling axis and a translation along it (Raup
1966, J. Paleontol. 40, 1178; for foraminifera Łabaj et al. 2003 and Tyszka 2006). They are drawn
under reflected light on a dark slide. No figure measured on them says anything of real shells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from forametric.errors import InputError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Form:
    """A growth form; lengths are relative to the radius of the chamber they belong to.

    chambers: how many are drawn, the last being the largest. growth: ratio of a chamber's radius to
    the one before. rotation: degrees about the axis from one to the next. spread: distance of a
    chamber lies from the axis. spire: how far below the apex. flattening: axial over
    tangential half-axis. elongation: radial over tangential half-axis, of the last `long_chambers`
    (0 = all). keel: width of a thin rim round the periphery. roughness, pores: of the wall.
    aperture: radius of the opening at the base of the last chamber. cover: radius of a bulla over
    the umbilicus.
    """

    chambers: int = 12
    growth: float = 1.15
    rotation: float = 80.0
    spread: float = 1.1
    spire: float = 0.4
    flattening: float = 1.0
    elongation: float = 1.0
    long_chambers: int = 0
    keel: float = 0.0
    roughness: float = 0.3
    pores: float = 0.3
    aperture: float = 0.45
    cover: float = 0.0


FORMS: dict[str, Form] = {
    "globular trochospiral": Form(11, 1.24, 88, 1.05, 0.45, aperture=0.6),
    "single sphere": Form(1, 1, 0, 0, 0, aperture=0, pores=0.8, roughness=0.15),
    "compressed keeled": Form(
        16, 1.12, 62, 1.75, 0.15, 0.34, 1.15, keel=0.16, roughness=0.12, aperture=0.3
    ),
    "digitate last chambers": Form(
        12, 1.13, 68, 1.3, 0.15, 0.85, 2.3, long_chambers=2, aperture=0.4
    ),
    "high spired": Form(18, 1.13, 100, 0.85, 1.75, aperture=0.4, roughness=0.15),
    "low spired many-chambered": Form(20, 1.09, 50, 1.85, 0.25, 0.9, roughness=0.2, aperture=0.35),
    "conical keeled": Form(
        16, 1.11, 70, 1.35, 0.75, 0.75, 1.1, keel=0.14, roughness=0.3, aperture=0.35
    ),
    "lobate planispiral": Form(14, 1.17, 66, 1.45, 0.0, 1.1, aperture=0.5, pores=0.5),
    "clavate radial": Form(11, 1.1, 72, 1.55, 0.05, 0.75, 1.8, aperture=0.3),
    "quadrate four-chambered": Form(9, 1.1, 90, 1.0, 0.3, 0.95, roughness=0.6, aperture=0.3),
    "compact encrusted": Form(12, 1.08, 85, 0.75, 0.3, 1.0, roughness=1.0, pores=0.0, aperture=0.2),
    "inflated three-chambered": Form(9, 1.28, 120, 0.8, 0.35, aperture=0.55, pores=0.6),
    "bulla-covered": Form(10, 1.16, 88, 1.0, 0.3, roughness=0.1, pores=0.1, aperture=0, cover=0.75),
    "smooth involute": Form(9, 1.35, 112, 0.55, 0.15, 0.95, roughness=0.03, pores=0, aperture=0.5),
}


def render_shell(form: str, seed: int, size: int = 160) -> npt.NDArray[np.uint8]:
    """Draw one simulated shell; the same form, seed and size give the same picture.

    Returns
    -------
    ndarray of uint8, shape (size, size, 3)

    Raises
    ------
    InputError
        For an unknown form.

    >>> render_shell("single sphere", 0, 32).shape
    (32, 32, 3)
    """
    if form not in FORMS:
        raise InputError(f"no simulated form {form!r}; there are {', '.join(FORMS)}.")
    rng = np.random.default_rng([list(FORMS).index(form), seed])
    bodies, mouth = _grow(FORMS[form], rng)
    bodies, mouth = _view(bodies, mouth, size, rng)
    surface = _surface(bodies, size)
    return _photograph(surface, mouth, FORMS[form], size, rng)


def write_shells(
    folder: Path,
    per_form: Sequence[int] | int,
    *,
    seed: int = 0,
    size: int = 160,
    forms: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """Write simulated shells as PNG files, one subfolder for each form.

    Parameters
    ----------
    per_form : int or sequence of int
        How many of each form, or of each in turn for a long tail.

    Returns
    -------
    DataFrame
        Columns image (below `folder`), label, sample, um_per_px, simulated.
    """
    names = list(FORMS) if forms is None else list(forms)
    counts = [per_form] * len(names) if isinstance(per_form, int) else list(per_form)
    if len(counts) != len(names):
        raise InputError(f"{len(counts)} counts were given for {len(names)} forms.")
    rows = []
    for name, count in zip(names, counts, strict=True):
        stem = name.replace(" ", "_")
        (folder / stem).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            picture = render_shell(name, seed * 1_000_003 + number, size)
            image = f"{stem}/{stem}_{number:04}.png"
            Image.fromarray(picture).save(folder / image)
            rows.append((image, name, f"simulated-{number % 5}", round(400 / size, 3), True))
            if progress:
                progress(1)
    return pd.DataFrame(rows, columns=["image", "label", "sample", "um_per_px", "simulated"])


@dataclass(frozen=True)
class _Body:
    """An ellipsoid: its centre (3,) and its half-axes as the columns of a (3, 3) matrix."""

    centre: Floats
    axes: Floats
    rim: bool = False


def _grow(form: Form, rng: np.random.Generator) -> tuple[list[_Body], tuple[Floats, float]]:
    """Place the chambers in shell coordinates: coiling axis along z, apex up."""

    def vary(value: float, share: float) -> float:
        return value * (1 + share * float(rng.normal()))

    growth, turn = vary(form.growth, 0.012), np.deg2rad(vary(form.rotation, 0.03))
    spread, spire = vary(form.spread, 0.05), vary(form.spire, 0.1)
    flattening = vary(form.flattening, 0.05)
    chambers = max(1, form.chambers + (int(rng.integers(-1, 2)) if form.chambers > 1 else 0))
    bodies: list[_Body] = []
    for i in range(chambers):
        radius = growth ** (i - chambers + 1) * (1 + 0.03 * float(rng.normal()))
        angle = i * turn
        outward = np.array([np.cos(angle), np.sin(angle), 0.0])
        along = np.array([-np.sin(angle), np.cos(angle), 0.0])
        long = form.elongation if i >= chambers - (form.long_chambers or chambers) else 1.0
        centre = radius * (spread + 0.6 * (long - 1)) * outward
        centre[2] = -radius * spire * 2
        axes = radius * np.stack([long * outward, along, [0.0, 0.0, flattening]], axis=1)
        bodies.append(_Body(centre, axes))
        if form.keel:
            wide = radius * (1 + form.keel)
            rim = np.stack([long * wide * outward, wide * along, [0, 0, 0.1 * radius]], axis=1)
            bodies.append(_Body(centre, rim, rim=True))
    last = next(b for b in reversed(bodies) if not b.rim)
    if form.cover:
        bodies.append(_Body(np.array([0.0, 0.0, last.centre[2] - 0.75]), np.eye(3) * form.cover))
    inward = np.array([-last.centre[0], -last.centre[1], -0.55])
    inward /= np.linalg.norm(inward) + 1e-9
    reach = 1 / np.linalg.norm(np.linalg.solve(last.axes, inward))
    return bodies, (last.centre + inward * reach, form.aperture)


def _view(
    bodies: list[_Body], mouth: tuple[Floats, float], size: int, rng: np.random.Generator
) -> tuple[list[_Body], tuple[Floats, float]]:
    """Turn the shell to a view (umbilical, spiral, side, or any) and fit it into the frame."""
    tilt = float(rng.choice([180.0, 0.0, 90.0], p=[0.5, 0.28, 0.22])) + float(rng.normal(0, 14))
    turn = Rotation.from_euler(
        "zxz", [rng.uniform(0, 360), tilt, rng.uniform(0, 360)], degrees=True
    )
    matrix = turn.as_matrix()
    turned = [_Body(matrix @ b.centre, matrix @ b.axes, b.rim) for b in bodies]
    half = [np.sqrt((b.axes[:2] ** 2).sum(1)) for b in turned]
    low = np.min([b.centre[:2] - h for b, h in zip(turned, half, strict=True)], axis=0)
    high = np.max([b.centre[:2] + h for b, h in zip(turned, half, strict=True)], axis=0)
    scale = size * float(rng.uniform(0.7, 0.9)) / float((high - low).max())
    shift = np.append(size / 2 - scale * (low + high) / 2 + rng.uniform(-2, 2, 2), 0.0)
    placed = [_Body(scale * b.centre + shift, scale * b.axes, b.rim) for b in turned]
    return placed, (scale * (matrix @ mouth[0]) + shift, scale * mouth[1])


@dataclass(frozen=True)
class _Surface:
    """What is seen at each pixel: depth (-inf where the slide is), normal, whether it is a rim."""

    depth: Floats
    normal: Floats
    rim: npt.NDArray[np.bool_]


def _surface(bodies: list[_Body], size: int) -> _Surface:
    """Depth buffer of the ellipsoids, seen along z from above (orthographic)."""
    depth = np.full((size, size), -np.inf)
    normal = np.zeros((size, size, 3))
    rim = np.zeros((size, size), bool)
    for body in bodies:
        half = np.sqrt((body.axes[:2] ** 2).sum(1))
        x0, y0 = np.maximum(np.floor(body.centre[:2] - half), 0).astype(int)
        x1, y1 = np.minimum(np.ceil(body.centre[:2] + half) + 1, size).astype(int)
        if x1 <= x0 or y1 <= y0:
            continue
        inverse = np.linalg.inv(body.axes)
        y, x = np.mgrid[y0:y1, x0:x1]
        across = np.stack([x - body.centre[0], y - body.centre[1]], axis=-1) @ inverse[:, :2].T
        rise = inverse[:, 2]
        # |across + rise * z|² = 1: the nearer of the two crossings of the line of sight.
        a, b, c = rise @ rise, across @ rise, (across**2).sum(-1) - 1
        inside = b * b - a * c
        z = (-b + np.sqrt(np.maximum(inside, 0))) / a
        seen = (inside > 0) & (z + body.centre[2] > depth[y0:y1, x0:x1])
        facing = (across + z[..., None] * rise) @ inverse
        facing /= np.linalg.norm(facing, axis=-1, keepdims=True) + 1e-12
        depth[y0:y1, x0:x1][seen] = (z + body.centre[2])[seen]
        normal[y0:y1, x0:x1][seen] = facing[seen]
        rim[y0:y1, x0:x1][seen] = body.rim
    return _Surface(depth, normal, rim)


def _photograph(
    surface: _Surface, mouth: tuple[Floats, float], form: Form, size: int, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Light the surface obliquely, give it a wall, and take a slightly imperfect picture."""
    shell = np.isfinite(surface.depth)
    depth = np.where(shell, surface.depth, surface.depth[shell].min())
    unit = size / 100
    grain = gaussian_filter(rng.normal(size=(size, size)), 0.9 * unit)
    grain /= grain.std()
    bump = form.roughness * float(rng.uniform(0.7, 1.3)) * 0.16
    slope = np.stack([np.gradient(grain, axis=1), np.gradient(grain, axis=0)], -1) * unit
    normal = surface.normal.copy()
    normal[..., :2] -= bump * 3 * slope
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-12

    around, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.7, 1.2)
    key = np.array([np.cos(around), np.sin(around), height]) / np.hypot(1, height)
    lit = np.clip(normal @ key, 0, None)
    wrapped = np.clip(normal @ key * 0.5 + 0.5, 0, None)  # calcite lets light through
    shade = 0.5 * lit + 0.34 * wrapped + 0.22 * np.clip(normal[..., 2], 0, None)
    halfway = key + np.array([0.0, 0.0, 1.0])
    gloss = np.clip(normal @ (halfway / np.linalg.norm(halfway)), 0, None) ** 30
    shade += float(rng.uniform(0.02, 0.16)) * gloss * (1 - min(form.roughness, 0.9))
    # Sutures lie lower than what surrounds them, and get less of the sky.
    for reach, weight in ((2.0, 0.075), (5.0, 0.03)):
        sunk = (gaussian_filter(depth, reach * unit) - depth) / unit
        shade *= np.clip(1 - weight * np.clip(sunk, 0, None), 0.35, 1)
    if form.pores:
        pits = gaussian_filter(rng.normal(size=(size, size)), 0.55 * unit)
        shade *= 1 - 0.3 * form.pores * (pits > 1.15 * pits.std())
    shade = np.where(surface.rim, shade * 1.12 + 0.08, shade)
    if mouth[1] > 0:
        y, x = np.mgrid[:size, :size]
        away = np.sqrt((x - mouth[0][0]) ** 2 + (y - mouth[0][1]) ** 2 + (depth - mouth[0][2]) ** 2)
        shade *= 1 - 0.82 / (1 + np.exp((away - mouth[1]) / (0.05 * mouth[1] + 0.4)))
    patches = gaussian_filter(rng.normal(size=(size, size)), 9 * unit)
    shade *= 1 + float(rng.uniform(0, 0.12)) * patches / patches.std()

    tint = np.array([[1, 0.98, 0.94], [1, 0.94, 0.83], [0.98, 0.9, 0.84], [0.93, 0.96, 1.0]])
    colour = tint[rng.choice(4, p=[0.4, 0.3, 0.15, 0.15])] + rng.normal(0, 0.015, 3)
    brightness = float(rng.uniform(0.72, 0.98))
    edge = gaussian_filter(shell.astype(float), 0.5)[..., None]
    picture = edge * np.clip(shade, 0, 1.25)[..., None] * colour * brightness
    picture += (1 - edge) * rng.uniform(0.02, 0.07) * np.array([1, 1, 1.05])
    picture = gaussian_filter(picture, (*(float(rng.uniform(0.25, 0.75)) * unit,) * 2, 0))
    picture += rng.normal(0, rng.uniform(0.006, 0.018), picture.shape)
    return np.asarray(np.clip(picture, 0, 1) ** 0.9 * 255, dtype=np.uint8)
