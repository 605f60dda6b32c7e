"""Commands to try things out on simulated shells."""

from __future__ import annotations

from pathlib import Path

import typer

import forametric as fm
from forametric.cli import _options as opt
from forametric.cli._output import finish


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (demo, simulate):
        app.command(rich_help_panel=opt.EXAMPLES)(command)


def simulate(
    output: opt.Output,
    total: opt.Total = 700,
    long_tail: opt.LongTail = False,
    size: opt.Size = 224,
    masks: opt.Masks = False,
    seed: opt.Seed = 0,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> None:
    """Draw simulated shells of 35 growth forms, with a table of the truth about each.

    They are for trying out, teaching and tests of scale; nothing measured on them is valid for real
    specimens. Import them with: forametric import FOLDER/specimens.csv -o COLLECTION

    Example: forametric simulate --total 34640 --long-tail -o simulated
    """
    table = fm.simulation.write_dataset(
        output, total=total, unequal=long_tail, size=size, masks=masks, seed=seed,
        overwrite=overwrite,
    )  # fmt: skip
    result = {"shells": len(table), "forms": int(table["label"].nunique())}
    finish(result, output / "specimens.csv", as_json)


def demo(
    output: opt.Output = Path("forametric-demo"),
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> None:
    """Run the whole path on simulated shells: collection, model, report, map, names.

    Nothing measured on simulated shells is valid for real specimens.

    Example: forametric demo
    """
    from forametric.cli.demo import run_demo

    finish(run_demo(output, overwrite=overwrite), output, as_json)
