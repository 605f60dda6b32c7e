"""Simulate images of foraminiferal shells, for the demo, for tests and for studies of scale.

Results on simulated shells must not be quoted as accuracy on real specimens.

The model is from theoretical morphology: chambers are ellipsoids on a logarithmic spiral. Each is
placed relative to the previous one by a growth ratio, a rotation about the coiling axis and a
translation along it (Raup 1966, J. Paleontol. 40, 1178; for foraminifera Łabaj et al. 2003 and
Tyszka 2006). Shells are rendered under reflected light on a dark slide.
"""

from forametric.simulation.forms import FORMS, TWINS, Form
from forametric.simulation.simulate import Shell, draw_form, render_shell, simulate_shell
from forametric.simulation.writing import even, long_tail, write_dataset, write_shells

__all__ = [
    "FORMS",
    "TWINS",
    "Form",
    "Shell",
    "draw_form",
    "even",
    "long_tail",
    "render_shell",
    "simulate_shell",
    "write_dataset",
    "write_shells",
]
