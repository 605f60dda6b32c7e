"""One door to a simulated shell: its picture, and all that is true of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from zlib import crc32

import numpy as np
import numpy.typing as npt
from PIL import Image

from forametric.errors import InputError
from forametric.simulation.forms import FORMS, Form
from forametric.simulation.growth import SimulatedSpecimen, draw_specimen, grow, orient
from forametric.simulation.rendering import render
from forametric.simulation.surface import visible

SMALLEST, FINEST = 16, 100


@dataclass(frozen=True)
class Shell:
    """A simulated shell with what is true of it.

    Attributes
    ----------
    picture : ndarray of uint8, shape (size, size, 3)
    mask : ndarray of bool, shape (size, size)
        The pixels that show the shell.
    form : str
    um_per_px : float
    individual : SimulatedSpecimen
        The parameters of its growth, view, preservation and picture.
    """

    picture: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]
    form: str
    um_per_px: float
    individual: SimulatedSpecimen

    @property
    def truth(self) -> dict[str, float | str | bool]:
        """Form, scale and parameters as one flat row of a table."""
        return {"form": self.form, "um_per_px": self.um_per_px, **asdict(self.individual)}


def simulate_shell(form: str, seed: int, size: int = 160) -> Shell:
    """Draw one simulated shell; the same form, seed and size give the same picture.

    Raises
    ------
    InputError
        For an unknown form, or a picture of fewer than 16 pixels.

    >>> shell = simulate_shell("compressed keeled", seed=3, size=64)
    >>> shell.picture.shape, bool(shell.mask[32, 32]), shell.individual.view
    ((64, 64, 3), True, 'spiral')
    """
    check(form, size)
    rng = np.random.default_rng([crc32(form.encode()), seed])
    return _drawn(form, FORMS[form], draw_specimen(FORMS[form], rng), size, rng)


def render_shell(form: str, seed: int, size: int = 160) -> npt.NDArray[np.uint8]:
    """The picture of `simulate_shell`."""
    return simulate_shell(form, seed, size).picture


def draw_form(
    form: Form, individual: SimulatedSpecimen, *, seed: int = 0, size: int = 160, name: str = ""
) -> Shell:
    """Draw any form as any individual: for a theoretical morphospace, or a form of one's own.

    >>> from dataclasses import replace
    >>> one = simulate_shell("globular trochospiral", 0).individual
    >>> flat = draw_form(FORMS["globular trochospiral"], replace(one, flattening=0.4), size=64)
    >>> flat.picture.shape
    (64, 64, 3)
    """
    return _drawn(name, form, individual, size, np.random.default_rng(seed))


def _drawn(
    name: str, form: Form, individual: SimulatedSpecimen, size: int, rng: np.random.Generator
) -> Shell:
    # A wall is finer than the pixels of a small picture: it is drawn larger and reduced.
    times = -(-FINEST // size)
    drawn = size * times
    bodies, openings, holes = grow(form, individual, rng)
    bodies, placed, um_per_px = orient(individual, bodies, openings + holes, drawn, rng)
    surface = visible(bodies, drawn)
    own, made = placed[: len(openings)], placed[len(openings) :]
    picture, mask = render(surface, form, individual, own, made, rng), surface.mask
    if times > 1:
        picture = np.asarray(Image.fromarray(picture).reduce(times))
        mask = mask.reshape(size, times, size, times).mean((1, 3)) >= 0.5
    return Shell(picture, mask, name, um_per_px * times, individual)


def check(form: str, size: int) -> None:
    """Raise `InputError` for an unknown form or a picture too small."""
    if form not in FORMS:
        raise InputError(f"no simulated form {form!r}; there are {', '.join(FORMS)}.")
    if size < SMALLEST:
        raise InputError(
            f"a picture of {size} pixels is too small for a shell: give {SMALLEST} or more."
        )
