"""Simulate one shell: its image and the parameters that determine it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from zlib import crc32

import numpy as np
from PIL import Image

from forametric._typing import BoolArray, Pixels
from forametric.errors import InputError
from forametric.simulation.forms import FORMS, TWINS, Form
from forametric.simulation.growth import SimulatedSpecimen, draw_specimen, grow, orient
from forametric.simulation.rendering import render
from forametric.simulation.surface import visible
from forametric.utils.ranges import SIDE

MIN_DRAWN = 100  # smaller images are rendered larger and reduced


@dataclass(frozen=True)
class Shell:
    """A simulated shell and the truth about it.

    Attributes
    ----------
    picture : ndarray of uint8, shape (size, size, 3)
    mask : ndarray of bool, shape (size, size)
        The pixels that show the shell.
    form : str
    um_per_px : float
    individual : SimulatedSpecimen
        The parameters of its growth, view, preservation and image.
    """

    picture: Pixels
    mask: BoolArray
    form: str
    um_per_px: float
    individual: SimulatedSpecimen

    @property
    def truth(self) -> dict[str, float | str | bool]:
        """Form, scale and parameters as one row of a table."""
        return {"form": self.form, "um_per_px": self.um_per_px, **asdict(self.individual)}


def simulate_shell(form: str, seed: int, size: int = 160) -> Shell:
    """Simulate one shell; the same form, seed and size give the same image.

    Parameters
    ----------
    form : str
        One of `FORMS` or `TWINS`.

    Raises
    ------
    InputError
        For an unknown form, or a size below 16 pixels.

    >>> shell = simulate_shell("compressed keeled", seed=3, size=64)
    >>> shell.picture.shape, bool(shell.mask[32, 32]), shell.individual.view
    ((64, 64, 3), True, 'spiral')
    """
    check(form, size)
    rng = np.random.default_rng([crc32(form.encode()), seed])
    grown = FORMS.get(form) or TWINS[form]
    return _simulate(form, grown, draw_specimen(grown, rng), size, rng)


def render_shell(form: str, seed: int, size: int = 160) -> Pixels:
    """The image of `simulate_shell`."""
    return simulate_shell(form, seed, size).picture


def draw_form(
    form: Form, individual: SimulatedSpecimen, *, seed: int = 0, size: int = 160, name: str = ""
) -> Shell:
    """Simulate a shell of any form and parameters, for instance for a theoretical morphospace.

    >>> from dataclasses import replace
    >>> one = simulate_shell("globular trochospiral", 0).individual
    >>> flat = draw_form(FORMS["globular trochospiral"], replace(one, flattening=0.4), size=64)
    >>> flat.picture.shape
    (64, 64, 3)
    """
    return _simulate(name, form, individual, size, np.random.default_rng(seed))


def _simulate(
    name: str, form: Form, individual: SimulatedSpecimen, size: int, rng: np.random.Generator
) -> Shell:
    # The texture is finer than the pixels of a small image, which is rendered larger and reduced.
    factor = -(-MIN_DRAWN // size)
    drawn = size * factor
    bodies, openings, holes = grow(form, individual, rng)
    bodies, placed, um_per_px = orient(individual, bodies, openings + holes, drawn, rng)
    surface = visible(bodies, drawn)
    own, made = placed[: len(openings)], placed[len(openings) :]
    picture, mask = render(surface, form, individual, own, made, rng), surface.mask
    if factor > 1:
        picture = np.asarray(Image.fromarray(picture).reduce(factor))
        mask = mask.reshape(size, factor, size, factor).mean((1, 3)) >= 0.5
    return Shell(picture, mask, name, um_per_px * factor, individual)


def check(form: str, size: int) -> None:
    """Raise `InputError` for an unknown form or an image size that is too small."""
    if form not in FORMS and form not in TWINS:
        forms = ", ".join([*FORMS, *TWINS])
        raise InputError(f"no simulated form {form!r}; the forms are {forms}.")
    SIDE.check(size=size)
