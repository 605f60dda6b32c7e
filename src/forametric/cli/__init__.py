"""The command line: each command loads, calls one function of the library, shows its result."""

from __future__ import annotations

from typing import Annotated

import typer

from forametric._version import __version__
from forametric.cli import analysis, data, examples, models, review, users
from forametric.cli._output import run
from forametric.utils.verb import verb

app = typer.Typer(
    name="forametric",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Identify, map and discover microfossils from microscope images.",
)
for module in (data, models, analysis, review, users, examples):
    module.register(app)


def _version(asked: bool) -> None:
    if asked:
        print(f"forametric {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    verb.set(context.invoked_subcommand or "")


def main() -> None:
    """Run the command line."""
    run(app)
