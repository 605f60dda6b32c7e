"""Grow a simulated shell: draw its parameters, place its chambers, and orient it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from forametric._typing import Float64Array
from forametric.simulation.forms import Form

CHAMBER, LAST, RIM = 1, 2, 3


@dataclass(frozen=True)
class SimulatedSpecimen:
    """The parameters of one simulated shell, which determine its image.

    Attributes
    ----------
    stage : float
        Growth stage; 1 for an adult.
    chambers, growth, rotation_deg, spread, spire, flattening, elongation
        As in `Form`, of this shell.
    last_ratio : float
        Size of the last chamber relative to that expected from `growth`.
    diameter_um : float
        In the plane of the spiral.
    coiling : str
        dextral (new chambers clockwise, seen from the spiral side) or sinistral.
    view : str
        umbilical, spiral or side.
    tilt_deg, azimuth_deg, roll_deg : float
        The orientation.
    fill : float
        Longer side of the shell as a share of the image's side.
    broken : str
        whole, last chamber lost, or hole.
    infill, dissolution, stain, sediment : float
        0 to 1.
    pink : bool
    light_deg, light_height : float
        The direction of the light.
    exposure, blur, focus, noise : float
        Of the camera.
    """

    stage: float
    chambers: int
    growth: float
    rotation_deg: float
    spread: float
    spire: float
    flattening: float
    elongation: float
    last_ratio: float
    diameter_um: float
    coiling: str
    view: str
    tilt_deg: float
    azimuth_deg: float
    roll_deg: float
    fill: float
    broken: str
    infill: float
    dissolution: float
    stain: float
    sediment: float
    pink: bool
    light_deg: float
    light_height: float
    exposure: float
    blur: float
    focus: float
    noise: float


@dataclass(frozen=True)
class Body:
    """An ellipsoid: center (3,), half-axes as columns (3, 3), and a plane that cuts it.

    Of a cut body only the part below the plane is left: (point - center) @ cut <= 0.
    """

    center: Float64Array
    axes: Float64Array
    kind: int = 0
    cut: Float64Array | None = None


@dataclass(frozen=True)
class Opening:
    """An opening in the wall: an ellipsoid that is dark inside; `lip`: strength of its rim."""

    center: Float64Array
    axes: Float64Array
    lip: float
    of_last: bool = False


def draw_specimen(form: Form, rng: np.random.Generator) -> SimulatedSpecimen:
    """Draw the parameters of one shell of a form, with variation as within a species."""

    def vary(value: float, share: float) -> float:
        return value * (1 + share * float(rng.normal()))

    # Sieved samples have mostly adults.
    stage = 1.0 - 0.45 * float(rng.beta(1.0, 4.0))
    growth = max(1.0, vary(form.growth, 0.012))
    whole = form.chambers + (int(rng.integers(-1, 2)) if form.chambers > 1 else 0)
    chambers = max(1, round(whole * stage)) if form.chambers > 1 else 1
    kummerform = form.chambers > 1 and rng.random() < 0.12
    view = str(
        rng.choice(
            ["umbilical", "spiral", "side"],
            p=[0.62 * (1 - form.side), 0.38 * (1 - form.side), form.side],
        )
    )
    worn = rng.random() < 0.25
    return SimulatedSpecimen(
        stage=stage,
        chambers=chambers,
        growth=growth,
        rotation_deg=vary(form.rotation, 0.03),
        spread=vary(form.spread, 0.05),
        spire=vary(form.spire, 0.1),
        flattening=vary(form.flattening, 0.06 if form.chambers > 1 else 0.015),
        # The last chambers become longer with age.
        elongation=vary(1 + (form.elongation - 1) * stage**2, 0.05 if form.chambers > 1 else 0.01),
        last_ratio=float(rng.uniform(0.7, 0.9)) if kummerform else 1.0,
        diameter_um=form.um * float(np.exp(0.13 * rng.normal())) * growth ** (chambers - whole),
        coiling="dextral" if rng.random() < form.dextral else "sinistral",
        view=view,
        tilt_deg={"umbilical": 180.0, "spiral": 0.0, "side": 90.0}[view] + float(rng.normal(0, 14)),
        azimuth_deg=float(rng.uniform(0, 360)),
        roll_deg=float(rng.uniform(0, 360)),
        fill=float(rng.uniform(0.68, 0.9)),
        broken=str(rng.choice(["whole", "last chamber lost", "hole"], p=[0.91, 0.04, 0.05]))
        if form.chambers > 1
        else str(rng.choice(["whole", "hole"], p=[0.93, 0.07])),
        infill=float(rng.uniform(0.3, 1)) if rng.random() < 0.15 else 0.0,
        dissolution=float(rng.beta(1.5, 2.0)) if worn else 0.0,
        stain=float(rng.uniform(0.1, 0.7)) if rng.random() < 0.1 else 0.0,
        sediment=float(rng.uniform(0.1, 1)) if rng.random() < 0.15 else 0.0,
        pink=bool(rng.random() < form.pink),
        light_deg=float(rng.uniform(0, 360)),
        light_height=float(rng.uniform(0.8, 1.5)),
        exposure=float(rng.uniform(0.76, 1.02)),
        blur=float(rng.uniform(0.3, 0.6)),
        focus=float(rng.uniform(0.0, 0.6)),
        noise=float(rng.uniform(0.005, 0.014)),
    )


def grow(
    form: Form, one: SimulatedSpecimen, rng: np.random.Generator
) -> tuple[list[Body], list[Opening], list[Opening]]:
    """Place the chambers in shell coordinates, with the coiling axis along z and the apex up.

    Returns the chambers with their keels, the natural openings, and the openings made by damage.
    Units are radii of an adult's last chamber.
    """
    turn = np.deg2rad(one.rotation_deg)
    up = np.array([0.0, 0.0, 1.0])
    last = one.chambers - 1
    lost = one.broken == "last chamber lost" and last > 2
    bodies: list[Body] = []
    for i in range(one.chambers - lost):
        radius = one.growth ** (i - last) * (1 + 0.03 * float(rng.normal()))
        radius *= one.last_ratio if i == last else 1.0
        outward = np.array([np.cos(i * turn), np.sin(i * turn), 0.0])
        along = np.array([-outward[1], outward[0], 0.0])
        long = 1.0
        if i >= one.chambers - (form.long_chambers or one.chambers):
            long = 1 + (one.elongation - 1) * (1 + 0.15 * float(rng.normal()))
        center = radius * (one.spread + 0.6 * (long - 1)) * outward * (i > 0)
        center[2] = -radius * one.spire * 2
        lean = up * one.flattening + form.cone * one.spread * outward  # leans to the axis below
        axes = radius * np.stack([long * outward, along, lean], axis=1)
        kind = LAST if i == last - lost else CHAMBER
        bodies.append(Body(center, axes, kind, up + 0.22 * outward if form.cone else None))
        if form.keel:
            wide = radius * (1 + form.keel)
            sunk = 0.09 * radius * up * (form.cone > 0)
            rim = np.stack([long * wide * outward, wide * along, 0.09 * radius * up], axis=1)
            bodies.append(Body(center - sunk, rim, RIM))
    chambers = [b for b in bodies if b.kind != RIM]
    openings = _openings(form, chambers, lost, up, rng)
    if form.cover:
        under = np.array([0.0, 0.0, chambers[-1].center[2] - 0.7 * one.flattening])
        bodies.append(Body(under, np.diag([1.15, 1.0, 0.6]) * form.cover, CHAMBER))
    holes = []
    for _ in range((one.broken == "hole") + int(rng.poisson(2.0 * max(0, one.dissolution - 0.5)))):
        body = chambers[max(0, len(chambers) - 1 - int(rng.integers(0, 4)))]
        way = rng.normal(size=3)
        spot = body.axes @ (way / np.linalg.norm(way))
        size = float(rng.uniform(0.25, 0.6)) * np.linalg.norm(body.axes[:, 1])
        holes.append(Opening(body.center + spot, size * np.diag([1.0, 1.0, 1.0]), 0.0))
    return bodies, openings, holes


def _openings(
    form: Form, chambers: list[Body], lost: bool, up: Float64Array, rng: np.random.Generator
) -> list[Opening]:
    """The aperture of the last chamber, and the arches along the sutures of the spiral side."""
    last = chambers[-1]
    openings = []
    # The aperture is a low arch where the last chamber meets the umbilicus and older chambers.
    spot = last.axes @ np.array([-0.76, -0.34, -0.55])
    inward = spot / np.linalg.norm(spot)
    across = np.cross(inward, up) / np.linalg.norm(np.cross(inward, up))
    arch = np.stack([form.slit * across, 0.6 * np.cross(across, inward), 0.7 * inward], axis=1)
    radius = form.aperture * (1 + 0.12 * float(rng.normal()))
    if lost:  # the broken face shows the round foramen of the previous chamber
        spot, radius = last.axes @ np.array([0.2, 0.9, -0.35]), 0.5
        arch = 0.8 * np.eye(3)
    size = np.linalg.norm(last.axes[:, 1])
    if radius:
        openings.append(
            Opening(last.center + spot, size * radius * arch, form.lip * (not lost), True)
        )
    for n in range(form.arches):
        body = chambers[max(0, len(chambers) - 1 - n // 3)]
        side = (0.35, -0.5, 0.0)[n % 3] if form.arches > 3 else -0.45
        height = 0.62 if form.arches <= 3 else (0.75, 0.2, 0.55)[n % 3]
        spot = body.axes @ np.array([-0.55 if form.arches <= 3 else -0.25, side - 0.3, height])
        small = (0.12 if form.arches > 3 else 0.3) * float(rng.uniform(0.8, 1.2))
        width = np.linalg.norm(body.axes[:, 1])
        openings.append(Opening(body.center + spot, small * width * np.eye(3), 0.5 * form.lip))
    return openings


def orient(
    one: SimulatedSpecimen,
    bodies: list[Body],
    openings: list[Opening],
    size: int,
    rng: np.random.Generator,
) -> tuple[list[Body], list[Opening], float]:
    """Rotate the shell and fit it into an image of `size` px; also returns µm per pixel."""
    turn = Rotation.from_euler(
        "zxz", [one.azimuth_deg, one.tilt_deg, one.roll_deg], degrees=True
    ).as_matrix()
    matrix = turn @ np.diag([1.0, 1.0 if one.coiling == "dextral" else -1.0, 1.0])
    low, high = _extent(bodies, matrix)
    scale = size * one.fill / float((high - low).max())
    offset = size / 2 - scale * (low + high) / 2 + size * rng.uniform(-0.015, 0.015, 2)
    shift = np.append(offset, 0.0)

    def body(b: Body) -> Body:
        cut = None if b.cut is None else matrix @ b.cut
        return Body(scale * (matrix @ b.center) + shift, scale * (matrix @ b.axes), b.kind, cut)

    def opening(o: Opening) -> Opening:
        center, axes = scale * (matrix @ o.center) + shift, scale * (matrix @ o.axes)
        return Opening(center, axes, o.lip, o.of_last)

    flat_low, flat_high = _extent(bodies, np.eye(3))
    um_per_px = one.diameter_um / float((flat_high - flat_low).max()) / scale
    return [body(b) for b in bodies], [opening(o) for o in openings], um_per_px


def _extent(bodies: list[Body], matrix: Float64Array) -> tuple[Float64Array, Float64Array]:
    """The corners of the rotated shell's bounding box, seen along z."""
    centers = np.array([b.center for b in bodies]) @ matrix[:2].T
    axes = np.einsum("ij,njk->nik", matrix[:2], np.array([b.axes for b in bodies]))
    half = np.sqrt((axes**2).sum(2))
    return (centers - half).min(0), (centers + half).max(0)
