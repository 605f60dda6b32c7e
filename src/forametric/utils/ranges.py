"""The numbers that arguments may be: stated once, for Python and for the command line."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real

from forametric.errors import InputError


@dataclass(frozen=True)
class Range:
    """The numbers from `least` to `most`; whole ones only, or without the limits themselves.

    >>> 0.5 in SHARE, 1.0 in SHARE, float("nan") in PROBABILITY
    (True, False, False)
    """

    least: float
    most: float
    whole: bool = False
    inside: bool = False

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, Integral if self.whole else Real) or isinstance(value, bool):
            return False
        number = float(value)
        if self.inside:
            return self.least < number < self.most
        return self.least <= number <= self.most

    def __str__(self) -> str:
        number = "a whole number" if self.whole else "a number"
        if self.inside:
            return f"{number} above {self.least:g} and below {self.most:g}"
        return f"{number} between {self.least:g} and {self.most:.15g}"

    def check(self, **arguments: float | None) -> None:
        """Raise `InputError` that names the first argument outside the range; None is inside."""
        for name, value in arguments.items():
            if value is not None and value not in self:
                raise InputError(f"{name} must be {self}, not {value}.")


SEED = Range(0, 2**32 - 1, whole=True)  # as far as numpy, scikit-learn and PyTorch agree
COUNT = Range(1, 10_000_000, whole=True)
NUMBER = Range(0, 10_000_000, whole=True)
PROBABILITY = Range(0, 1)
SHARE = Range(0, 1, inside=True)
LENGTH = Range(0, 1e9, inside=True)  # in µm, or in pixels
SIDE = Range(16, 4096, whole=True)  # of a simulated image, in pixels
DAYS = Range(1, 3650, whole=True)
PORT = Range(0, 65535, whole=True)
