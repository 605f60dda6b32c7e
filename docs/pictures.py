"""Make the images of the docs pages: python docs/pictures.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from forametric.images.segment import find_specimens, overlay
from forametric.simulation import FORMS, Form, draw_form, simulate_shell
from forametric.simulation.slides import simulate_slide

IMAGES = Path(__file__).parent / "images"
TILE = 104


def forms() -> None:
    """Each form: a row of five individuals with its name, two forms side by side."""
    columns = 5
    figure, axes = plt.subplots(18, 2, figsize=(11, 19.5), dpi=110, facecolor="black")
    figure.subplots_adjust(0.005, 0.005, 0.995, 0.985, 0.02, 0.16)
    for axis in axes.flat:
        axis.axis("off")
    for axis, (name, form) in zip(axes.flat, FORMS.items(), strict=False):
        row = np.hstack([simulate_shell(name, 100 + k, TILE).picture for k in range(columns)])
        axis.imshow(row)
        axis.set_title(
            f"{name}  (after $\\it{{{form.after.replace(' ', chr(92) + ' ')}}}$)",
            color="white",
            fontsize=8,
            pad=2,
            loc="left",
        )
    save(figure, "simulated-forms.jpg")


def theoretical_morphospace() -> None:
    """One form grown over growth ratio × rotation × flattening, everything else constant."""
    form = Form(
        "", 400, 12, 1.1, 80, 1.1, 0.3, aperture=0.5, roughness=0.15, pores=0.3, elongation=1.0
    )
    plain = replace(
        simulate_shell("globular trochospiral", 0).individual,
        stage=1.0, chambers=12, elongation=1.0, spread=1.1, spire=0.3, last_ratio=1.0,
        rotation_deg=80.0, coiling="dextral", azimuth_deg=0.0, roll_deg=0.0, fill=0.86,
        broken="whole", infill=0.0, dissolution=0.0, stain=0.0, sediment=0.0, pink=False,
        light_deg=225.0, light_height=1.1,
        exposure=0.95, blur=0.35, focus=0.0, noise=0.004,
    )  # fmt: skip
    growths, turns, flattenings = (1.04, 1.1, 1.16, 1.24, 1.34), (120, 90, 75, 60, 45), (
        0.35, 0.6, 0.85, 1.1, 1.4,
    )  # fmt: skip
    panels = (
        ("rotation from chamber to chamber", turns, "rotation_deg", 180.0, "{}°"),
        ("flattening (axial over tangential)", flattenings, "flattening", 90.0, "{}"),
    )
    figure, axes = plt.subplots(1, 2, figsize=(11, 5.9), dpi=110)
    figure.subplots_adjust(0.065, 0.085, 0.995, 0.945, 0.16)
    for axis, (what, values, field, tilt, written) in zip(axes, panels, strict=True):
        rows = []
        for value in values:
            ones = [replace(plain, growth=g, tilt_deg=tilt, **{field: value}) for g in growths]
            rows.append(np.hstack([draw_form(form, one, size=TILE).picture for one in ones]))
        axis.imshow(np.vstack(rows))
        middles = (np.arange(len(growths)) + 0.5) * TILE
        axis.set_xticks(middles, [f"{g:.2f}" for g in growths])
        axis.set_yticks(middles, [written.format(v) for v in values])
        axis.set_xlabel("growth ratio of a chamber to the one before")
        axis.set_ylabel(what)
        axis.set_title(
            "umbilical view" if tilt == 180.0 else "side view, 80° rotation", fontsize=10
        )
        for spine in axis.spines.values():
            spine.set_visible(False)
        axis.tick_params(length=0)
    save(figure, "theoretical-morphospace.jpg")


def slide() -> None:
    """A simulated slide with what was found on it."""
    truth = simulate_slide(12, 36, side=1100, diameters=(55, 115))
    drawn = overlay(truth.picture, find_specimens(truth.picture))
    Image.fromarray(drawn).save(IMAGES / "slide-overlay.jpg", quality=85)


def save(figure: plt.Figure, name: str) -> None:
    figure.savefig(IMAGES / name, pil_kwargs={"quality": 84}, facecolor=figure.get_facecolor())
    plt.close(figure)


if __name__ == "__main__":
    forms()
    theoretical_morphospace()
    slide()
