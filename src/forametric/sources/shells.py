"""Simulated foraminiferal shells, for the demo and the tests: always *simulated*, never evidence.

After theoretical morphology: chambers are ellipsoids on a logarithmic spiral, each placed from the
one before by a growth ratio, a rotation about the coiling axis and a translation along it (Raup
1966, J. Paleontol. 40, 1178; for foraminifera Łabaj et al. 2003 and Tyszka 2006). They are drawn
under reflected light on a dark slide. Nothing measured on them may be quoted as accuracy on real
shells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial.transform import Rotation

from forametric.errors import InputError

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Form:
    """A growth form; lengths are relative to the radius of the chamber they belong to.

    chambers: how many are drawn, the last being the largest. growth: ratio of a chamber's radius to
    the one before. rotation: degrees about the axis from one to the next. spread: distance of a
    chamber's centre from the axis. spire: how far each chamber lies below the apex. flattening:
    axial over tangential half-axis. elongation: radial over tangential half-axis, of the last
    `long_chambers` (0 = all). keel: width of a thin rim round the periphery. roughness, pores: of
    the wall. aperture: radius of the opening at the base of the last chamber. cover: radius of a
    bulla over the umbilicus. cone: how far chambers cut flat on the spiral side lean together
    towards the umbilicus (0 = not cut). side: share of side views.
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
    cone: float = 0.0
    side: float = 0.22


FORMS: dict[str, Form] = {
    "globular trochospiral": Form(11, 1.2, 89, 1.08, 0.45, aperture=0.75, pores=0.5),
    "single sphere": Form(1, 1, 0, 0, 0, aperture=0, pores=0.9, roughness=0.2),
    "compressed keeled": Form(
        17, 1.13, 59, 1.18, 0.16, 0.4, 1.02, keel=0.08, roughness=0.12, pores=0.2, aperture=0.4
    ),
    "digitate last chambers": Form(
        12, 1.13, 70, 1.25, 0.15, 0.85, 2.1, long_chambers=2, aperture=0.4
    ),
    "high spired": Form(17, 1.13, 103, 0.8, 1.65, 0.95, aperture=0.5, roughness=0.2, side=0.6),
    "low spired many-chambered": Form(20, 1.08, 50, 1.7, 0.3, 0.9, roughness=0.2, aperture=0.45),
    "conical keeled": Form(
        18, 1.1, 63, 0.95, 0.22, 1.75, 1.05, keel=0.06, aperture=0.3, cone=0.55, side=0.45
    ),
    "lobate planispiral": Form(14, 1.17, 66, 1.4, 0.0, 1.1, aperture=0.6, pores=0.5),
    "clavate radial": Form(14, 1.12, 74, 1.25, 0.08, 0.8, 1.6, long_chambers=4, aperture=0.35),
    "quadrate four-chambered": Form(11, 1.07, 91, 0.95, 0.25, 0.95, roughness=0.7, aperture=0.4),
    "compact encrusted": Form(12, 1.05, 85, 0.68, 0.3, roughness=1.0, pores=0.0, aperture=0.25),
    "inflated three-chambered": Form(9, 1.25, 121, 0.85, 0.4, aperture=0.65, pores=0.8),
    "bulla-covered": Form(10, 1.14, 90, 1.0, 0.3, roughness=0.15, pores=0.1, aperture=0, cover=0.7),
    "smooth involute": Form(
        12, 1.2, 76, 0.62, 0.15, 0.95, roughness=0.04, pores=0.0, aperture=0.65
    ),
}


@dataclass(frozen=True)
class Shell:
    """A simulated shell with what is true of it.

    Attributes
    ----------
    picture : ndarray of uint8, shape (size, size, 3)
    mask : ndarray of bool, shape (size, size)
        The pixels that show the shell.
    """

    picture: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]


def simulate_shell(form: str, seed: int, size: int = 160) -> Shell:
    """Draw one simulated shell; the same form, seed and size give the same picture.

    Raises
    ------
    InputError
        For an unknown form, or a picture of fewer than 16 pixels.

    >>> shell = simulate_shell("compressed keeled", seed=3, size=64)
    >>> shell.picture.shape, bool(shell.mask[32, 32])
    ((64, 64, 3), True)
    """
    _check(form)
    if size < 16:
        raise InputError(f"a picture of {size} pixels is too small for a shell: give 16 or more.")
    rng = np.random.default_rng([crc32(form.encode()), seed])
    bodies, mouth = _grow(FORMS[form], rng)
    bodies, mouth = _view(bodies, mouth, FORMS[form].side, size, rng)
    surface = _surface(bodies, size)
    return Shell(_photograph(surface, mouth, FORMS[form], rng), surface[2] > 0)


def render_shell(form: str, seed: int, size: int = 160) -> npt.NDArray[np.uint8]:
    """The picture of `simulate_shell`."""
    return simulate_shell(form, seed, size).picture


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

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     table = write_shells(Path(folder), [2, 1], size=32, forms=list(FORMS)[:2])
    >>> table["label"].tolist()
    ['globular trochospiral', 'globular trochospiral', 'single sphere']
    """
    names = list(FORMS) if forms is None else list(forms)
    counts = [per_form] * len(names) if isinstance(per_form, int) else list(per_form)
    if len(counts) != len(names):
        raise InputError(f"{len(counts)} counts were given for {len(names)} forms.")
    for name in names:
        _check(name)
    rows = []
    for name, count in zip(names, counts, strict=True):
        stem = name.replace(" ", "_")
        (folder / stem).mkdir(parents=True, exist_ok=True)
        widths = np.random.default_rng([crc32(name.encode()), seed, 1]).uniform(350, 750, count)
        for number in range(count):
            picture = render_shell(name, seed * 1_000_003 + number, size)
            image = f"{stem}/{stem}_{number:04}.png"
            Image.fromarray(picture).save(folder / image)
            um_per_px = round(widths[number] / size, 3)
            rows.append((image, name, f"simulated-{number % 5}", um_per_px, True))
            if progress:
                progress(1)
    return pd.DataFrame(rows, columns=["image", "label", "sample", "um_per_px", "simulated"])


def _check(form: str) -> None:
    if form not in FORMS:
        raise InputError(f"no simulated form {form!r}; there are {', '.join(FORMS)}.")


@dataclass(frozen=True)
class _Body:
    """An ellipsoid: centre (3,), half-axes as columns (3, 3), and where a plane cuts it.

    Of a cut body only what lies below the plane, (point - centre) @ cut <= 0, is left.
    """

    centre: Floats
    axes: Floats
    kind: int = 0
    cut: Floats | None = None


_CHAMBER, _LAST, _RIM = 1, 2, 3


def _grow(form: Form, rng: np.random.Generator) -> tuple[list[_Body], _Body]:
    """Place the chambers in shell coordinates, coiling axis along z, apex up; and the aperture."""

    def vary(value: float, share: float) -> float:
        return value * (1 + share * float(rng.normal()))

    growth, turn = vary(form.growth, 0.012), np.deg2rad(vary(form.rotation, 0.03))
    spread, spire = vary(form.spread, 0.05), vary(form.spire, 0.1)
    flattening, elongation = vary(form.flattening, 0.06), vary(form.elongation, 0.05)
    chambers = max(1, form.chambers + (int(rng.integers(-1, 2)) if form.chambers > 1 else 0))
    up = np.array([0.0, 0.0, 1.0])
    bodies: list[_Body] = []
    for i in range(chambers):
        radius = growth ** (i - chambers + 1) * (1 + 0.03 * float(rng.normal()))
        outward = np.array([np.cos(i * turn), np.sin(i * turn), 0.0])
        along = np.array([-outward[1], outward[0], 0.0])
        long = 1.0
        if i >= chambers - (form.long_chambers or chambers):
            long = 1 + (elongation - 1) * (1 + 0.15 * float(rng.normal()))
        centre = radius * (spread + 0.6 * (long - 1)) * outward * (i > 0)
        centre[2] = -radius * spire * 2
        lean = up * flattening + form.cone * spread * outward  # the lower end leans to the axis
        axes = radius * np.stack([long * outward, along, lean], axis=1)
        kind = _LAST if i == chambers - 1 else _CHAMBER
        bodies.append(_Body(centre, axes, kind, up + 0.22 * outward if form.cone else None))
        if form.keel:
            wide = radius * (1 + form.keel)
            sunk = 0.09 * radius * up * (form.cone > 0)
            rim = np.stack([long * wide * outward, wide * along, 0.09 * radius * up], axis=1)
            bodies.append(_Body(centre - sunk, rim, _RIM))
    last = next(b for b in bodies if b.kind == _LAST)
    if form.cover:
        under = np.array([0.0, 0.0, last.centre[2] - 0.7 * flattening])
        bodies.append(_Body(under, np.diag([1.15, 1.0, 0.6]) * form.cover, _CHAMBER))
    # The opening is a low arch where the last chamber meets the umbilicus and its predecessors.
    spot = last.axes @ np.array([-0.76, -0.34, -0.55])
    inward = spot / np.linalg.norm(spot)
    across = np.cross(inward, up) / np.linalg.norm(np.cross(inward, up))
    arch = np.stack([across, 0.6 * np.cross(across, inward), 0.7 * inward], axis=1)
    return bodies, _Body(last.centre + spot, vary(form.aperture, 0.12) * arch)


def _view(
    bodies: list[_Body], mouth: _Body, side: float, size: int, rng: np.random.Generator
) -> tuple[list[_Body], _Body]:
    """Turn the shell to a view (umbilical, spiral, side, or any) and fit it into the frame."""
    share = [0.62 * (1 - side), 0.38 * (1 - side), side]
    tilt = float(rng.choice([180.0, 0.0, 90.0], p=share)) + float(rng.normal(0, 14))
    turn = Rotation.from_euler(
        "zxz", [rng.uniform(0, 360), tilt, rng.uniform(0, 360)], degrees=True
    ).as_matrix()
    mirror = np.diag([1.0, 1.0 if rng.random() < 0.5 else -1.0, 1.0])  # left- or right-coiling
    matrix = turn @ mirror
    centres = np.array([matrix @ b.centre for b in bodies])[:, :2]
    half = np.array([np.sqrt(((matrix @ b.axes)[:2] ** 2).sum(1)) for b in bodies])
    low, high = (centres - half).min(0), (centres + half).max(0)
    scale = size * float(rng.uniform(0.68, 0.9)) / float((high - low).max())
    away = size / 2 - scale * (low + high) / 2 + size * rng.uniform(-0.015, 0.015, 2)
    shift = np.append(away, 0.0)

    def place(b: _Body) -> _Body:
        cut = None if b.cut is None else matrix @ b.cut
        return _Body(scale * (matrix @ b.centre) + shift, scale * (matrix @ b.axes), b.kind, cut)

    return [place(b) for b in bodies], place(mouth)


def _surface(bodies: list[_Body], size: int) -> tuple[Floats, Floats, npt.NDArray[np.int8]]:
    """Depth (-inf on the slide), normal and kind of body at each pixel, seen along z."""
    depth = np.full((size, size), -np.inf)
    normal = np.zeros((size, size, 3))
    kind = np.zeros((size, size), np.int8)
    for body in bodies:
        half = np.sqrt((body.axes[:2] ** 2).sum(1))
        x0, y0 = np.maximum(np.floor(body.centre[:2] - half), 0).astype(int)
        x1, y1 = np.minimum(np.ceil(body.centre[:2] + half) + 1, size).astype(int)
        if x1 <= x0 or y1 <= y0:
            continue
        # |inverse @ (x, y, z)|² = 1 has two crossings with the line of sight: z near and z far.
        inverse = np.linalg.inv(body.axes)
        shape = inverse.T @ inverse
        x = np.arange(x0, x1)[None, :] - body.centre[0]
        y = np.arange(y0, y1)[:, None] - body.centre[1]
        a, b = shape[2, 2], shape[0, 2] * x + shape[1, 2] * y
        c = shape[0, 0] * x * x + 2 * shape[0, 1] * x * y + shape[1, 1] * y * y - 1
        inside = b * b - a * c
        root = np.sqrt(np.maximum(inside, 0))
        near = (root - b) / a
        seen, flat = inside > 0, None
        if body.cut is not None:
            plane = -(body.cut[0] * x + body.cut[1] * y) / body.cut[2]
            if body.cut[2] > 0:
                flat = plane < near
                near = np.minimum(near, plane)
                seen &= near > (-root - b) / a
            else:
                seen &= near > plane
        seen &= near + body.centre[2] > depth[y0:y1, x0:x1]
        rows, columns = np.nonzero(seen)
        z = near[rows, columns]
        facing = np.stack([x[0, columns], y[rows, 0], z], axis=-1) @ shape
        if flat is not None and body.cut is not None:
            facing[flat[rows, columns]] = body.cut
        facing /= np.sqrt((facing * facing).sum(-1, keepdims=True))
        depth[rows + y0, columns + x0] = z + body.centre[2]
        normal[rows + y0, columns + x0] = facing
        kind[rows + y0, columns + x0] = body.kind
    return depth, normal, kind


@cache
def _noise(cells: int = 40) -> npt.NDArray[np.float32]:
    """Solid noise that repeats, of about one standard deviation: value, then its three slopes."""
    raw = np.random.default_rng(0).normal(size=(cells,) * 3)
    value = gaussian_filter(raw, 0.9, mode="wrap") - gaussian_filter(raw, 2.2, mode="wrap")
    value /= value.std()
    slopes = [(np.roll(value, -1, k) - np.roll(value, 1, k)) / 2 for k in range(3)]
    return np.stack([value, *slopes]).astype(np.float32)


def _photograph(
    surface: tuple[Floats, Floats, npt.NDArray[np.int8]],
    mouth: _Body,
    form: Form,
    rng: np.random.Generator,
) -> npt.NDArray[np.uint8]:
    """Give the surface a wall and light it: oblique key light, fill, gloss, shadow, sutures."""
    seen_depth, smooth, kind = surface
    unit = len(kind) / 100
    shell = kind > 0
    depth = np.where(shell, seen_depth, seen_depth[shell].min()).astype(np.float32)
    rows, columns = np.nonzero(shell)
    point = np.stack([columns, rows, depth[shell]]) / unit

    def wall(scale: float, channel: int = 0) -> Floats:
        offset = shift[:, None]
        sampled = map_coordinates(
            _noise()[channel], point / scale + offset, order=1, mode="grid-wrap"
        )
        return np.asarray(sampled, dtype=np.float32)

    shift = rng.uniform(0, 40, 3)
    normal = smooth[shell].astype(np.float32)
    bump = form.roughness * float(rng.uniform(0.7, 1.3)) * 0.34 + 0.03
    grain = 0.6 + 0.55 * form.roughness
    slope = np.stack([wall(grain, k) for k in (1, 2, 3)], axis=-1)
    normal = normal - bump * slope
    normal /= np.sqrt((normal * normal).sum(-1, keepdims=True))

    around, height = rng.uniform(0, 2 * np.pi), float(rng.uniform(0.8, 1.5))
    key = np.array([np.cos(around), np.sin(around), height]) / np.hypot(1, height)
    toward = normal @ key
    wrapped = np.clip(toward * 0.6 + 0.4, 0, None)  # calcite lets some light through
    shadow = np.zeros_like(depth)
    for step in unit * np.array([2.0, 4.0, 7.0, 11.0, 16.0, 22.0]):
        dx, dy = np.rint(step * np.array([np.cos(around), np.sin(around)])).astype(int)
        over = np.roll(depth, (-dy, -dx), (0, 1)) - depth - step * height
        shadow = np.maximum(shadow, np.clip(over / (1.5 * unit + 0.2 * step), 0, 1))
    open_to_key = 1 - 0.6 * gaussian_filter(shadow, 0.9 * unit)[shell]
    light = 0.42 * np.clip(toward, 0, None) + 0.28 * wrapped
    light = light * open_to_key + 0.16 + 0.26 * np.clip(normal[:, 2], 0, None)
    halfway = key + np.array([0.0, 0.0, 1.0])
    halfway /= np.linalg.norm(halfway)
    gloss = np.clip(normal @ halfway, 0, None) ** 24
    light += float(rng.uniform(0.0, 0.1)) * gloss * (1 - 0.8 * form.roughness)
    # Sutures lie lower than what surrounds them, and get less of the sky.
    for reach, weight in ((1.6, 0.13), (5.0, 0.045)):
        sunk = (gaussian_filter(depth, reach * unit, truncate=2.5) - depth)[shell] / unit
        light *= np.clip(1 - weight * np.clip(sunk, 0, None), 0.3, 1)
    fine = wall(0.62)
    if form.pores:
        light *= 1 - 0.42 * form.pores * np.clip(fine - 0.9, 0, 1)
    corroded = np.clip(wall(7.0) - rng.uniform(0.2, 1.6), 0, 1) * rng.uniform(0, 0.3)
    light *= (1 - corroded) * (1 + 0.045 * (1 + form.roughness) * fine)
    light = np.where(kind[shell] == _RIM, light * 1.06 + 0.06, light)
    if form.aperture:
        local = np.linalg.inv(mouth.axes) @ (point * unit - mouth.centre[:, None])
        away = np.linalg.norm(local, axis=0)
        edge = np.clip((1 - away) * np.linalg.norm(mouth.axes[:, 0]) / unit + 0.5, 0, 1)
        last = kind[shell] == _LAST
        lip = np.exp(-(((away - 1.1) / 0.08) ** 2)) * last
        hollow = 0.55 * np.exp(-((away / 0.8) ** 2))  # the umbilicus beside it lies in shadow
        light *= (1 - np.where(last, 0.88 * edge, hollow)) * (1 + 0.14 * lip)

    return _expose(light, shell, rng)


def _expose(
    light: Floats, shell: npt.NDArray[np.bool_], rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Colour the lit shell (white, cream, pinkish, glassy), blur, saturate and add noise."""
    size, unit = len(shell), len(shell) / 100
    tint = np.array([[1, 0.985, 0.95], [1, 0.955, 0.87], [1, 0.93, 0.87], [0.95, 0.97, 0.98]])
    mood = int(rng.choice(4, p=[0.45, 0.3, 0.12, 0.13]))
    colour = tint[mood] + rng.normal(0, 0.012) * np.array([0.3, 0.0, -1.0])
    light = light * float(rng.uniform(0.76, 1.02)) * (0.8 if mood == 3 else 1.0)
    # What is thin and in shadow is lit through the wall, and so a little warmer.
    warmth = 1 + np.array([0.05, 0.0, -0.06]) * (1 - np.clip(light, 0, 1))[:, None]
    picture = np.empty((size, size, 3), np.float32)
    picture[:] = float(rng.uniform(0.015, 0.06)) * np.array([1, 1, 1.06])
    picture[shell] = np.clip(light, 0.02, 1.3)[:, None] * colour * warmth
    blur = float(rng.uniform(0.3, 0.6)) * unit
    picture = gaussian_filter(picture, (blur, blur, 0))
    picture = picture / (1 + 0.12 * picture**4)  # highlights saturate softly
    noise = rng.standard_normal((size, size, 1), dtype=np.float32)
    picture = picture + float(rng.uniform(0.005, 0.014)) * noise
    return np.asarray(np.clip(picture, 0, 1) ** 0.92 * 255, dtype=np.uint8)
