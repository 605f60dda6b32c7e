"""The rules that every input must hold, whatever is in it, and what broke one.

- Functions of the library raise nothing but `ForametricError`.
- Commands end with status 0, 1 or 2, without a traceback.
- The input's files stay as they are, and nothing is written outside the output folder.
- Libraries print nothing of their own.

Time and memory are watched from outside, by `experiments/fuzz.py`.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from forametric.errors import ForametricError
from tests.support.inputs import KINDS, Case, Command, clear, write_case
from tests.support.tiny import Tiny

SOURCE = Path(sys.modules["forametric"].__file__ or "").parent
NOISE = re.compile(
    r"Warning: |^<tifffile|TIFF\w*: |libpng|^Exception ignored|^Traceback", re.MULTILINE
)
BIG = 1_000_000  # bytes: of larger files only size and time are compared


@dataclass(frozen=True)
class Failure:
    """A rule that was broken.

    Attributes
    ----------
    rule : str
        exception, traceback, status, changed, outside, noise; from outside also hang, memory, died.
    kind : str
        The type of the exception, or what stands for it.
    where : str
        The last line of Forametric's own code that ran: file:line function.
    how : str
        `read`, or the verb.
    message : str
        What was printed or raised.
    """

    rule: str
    kind: str
    where: str
    how: str
    message: str

    @property
    def key(self) -> str:
        """Equal for failures with the same cause, so far as can be told."""
        return f"{self.rule} {self.kind} {self.where}"


def try_case(
    case: Case,
    tiny: Tiny,
    work: Path,
    commands: str | None = "all",
    step: Callable[[], None] = lambda: None,
) -> list[Failure]:
    """Read one input below `work` and return the rules that were broken.

    Parameters
    ----------
    commands : str or None
        "all" runs every command line of the kind too, None none of them, a verb that one, and any
        other text one that it chooses. An import that the command needs runs as well.
    step : function
        Called before each reading and each command.
    """
    folder, out = work / "in", work / "out"
    clear(folder)
    clear(out)
    write_case(case, folder, tiny)
    before = _state(folder)
    kind, failures = KINDS[case.kind], []
    with chdir(out), writes_outside(work / "out", work / "tmp") as outside:
        step()
        failures += _read(lambda: kind.read(folder, out, tiny))
        for command in _chosen(kind.commands(folder, out, tiny), commands):
            step()
            failures += _run(command)
    if _state(folder) != before:
        failures.append(
            Failure("changed", "input", case.kind, "", str(_state(folder) ^ before)[:500])
        )
    for name in sorted(set(outside)):
        place = name.replace(str(work.resolve()), "WORK")
        failures.append(Failure("outside", "write", place, "", name))
    return failures


def _chosen(commands: list[Command], which: str | None) -> list[Command]:
    if which is None or not commands:
        return []
    if which == "all":
        return commands
    named = [command for command in commands if command[0] == which]
    chosen = named[0] if named else Random(which).choice(commands)
    makes = commands[0][0] == "import" and chosen is not commands[0]
    recorded = commands[0][0] == "record" and chosen[0] == "decisions"
    return [commands[0], chosen] if makes or recorded else [chosen]


def _read(function: Any) -> list[Failure]:
    printed = io.StringIO()
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            function()
    except ForametricError:
        pass
    except Exception as error:
        return [failure_of("exception", error, "read")]
    return _noise(printed.getvalue(), "read")


def _run(command: Command) -> list[Failure]:
    """Run one command line in this process."""
    from forametric.cli import main

    out, err, status, verb = io.StringIO(), io.StringIO(), 0, command[0]
    with (
        mock.patch.object(sys, "argv", ["forametric", *command]),
        redirect_stdout(out),
        redirect_stderr(err),
        caught_by_main() as caught,
    ):
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
        except Exception as error:
            return [failure_of("traceback", error, verb)]
    if status not in (0, 1, 2):
        if caught:
            return [failure_of("status", caught[-1], verb)]
        return [Failure("status", str(status), verb, verb, err.getvalue()[-2000:])]
    return _noise(err.getvalue(), verb)


@contextmanager
def caught_by_main() -> Iterator[list[Exception]]:
    """Collect the exceptions for which the command line has no sentence."""
    from forametric.cli import _output

    caught: list[Exception] = []
    sentence_of = _output.failure

    def failure(error: Exception) -> str | None:
        sentence = sentence_of(error)
        if sentence is None:
            caught.append(error)
        return sentence

    with mock.patch.object(_output, "failure", failure):
        yield caught


def failure_of(rule: str, error: BaseException, how: str) -> Failure:
    """A failure by an exception: where in Forametric's code it came from."""
    text = "".join(traceback.format_exception(error))
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if Path(f.filename).is_relative_to(SOURCE)]
    last = (own or frames)[-1]
    name = Path(last.filename)
    place = name.relative_to(SOURCE) if name.is_relative_to(SOURCE) else name.name
    return Failure(
        rule, type(error).__name__, f"{place}:{last.lineno} {last.name}", how, text[-3000:]
    )


def _noise(printed: str, how: str) -> list[Failure]:
    """What libraries printed; ours have no such heads."""
    found = NOISE.search(printed)
    if not found:
        return []
    line = printed[found.start() :].split("\n", 1)[0]
    kind = re.sub(r"[\d'\"].*", "", line)[-60:]
    return [Failure("noise", kind, how, how, printed[-1000:])]


def _state(folder: Path) -> set[tuple[Any, ...]]:
    """Path, size and content of every file; of SQLite databases the path alone.

    A database may have its log written back when it is opened, which changes no row.
    """
    found: set[tuple[Any, ...]] = set()
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if ".sqlite" in name or not path.is_file():
            found.add((name.removesuffix("-wal").removesuffix("-shm"),))
        elif path.stat().st_size > BIG:
            found.add((name, path.stat().st_size, path.stat().st_mtime_ns))
        else:
            found.add((name, hashlib.sha256(path.read_bytes()).hexdigest()))
    return found


# Writes

_CHANGES = {
    "os.rename": (0, 1), "os.remove": (0,), "os.rmdir": (0,), "os.mkdir": (0,), "os.link": (1,),
    "os.symlink": (1,), "os.truncate": (0,), "os.chmod": (0,), "sqlite3.connect": (0,),
}  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_ALLOWED = ("/dev/", "/proc/", "memory:")
_watched: dict[str, Any] = {"roots": (), "found": None}


@contextmanager
def writes_outside(*allowed: Path) -> Iterator[list[str]]:
    """Collect the paths outside these folders that Python opens for writing, moves or removes."""
    if "hook" not in _watched:
        _watched["hook"] = True
        sys.addaudithook(_audit)
    found: list[str] = []
    _watched["roots"] = tuple(str(path.resolve()) for path in allowed)
    _watched["found"] = found
    try:
        yield found
    finally:
        _watched["found"] = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    found = _watched["found"]
    if found is None:
        return
    if event == "open":
        if not arguments[2] & _WRITING:
            return
        places: tuple[Any, ...] = (arguments[0],)
    elif event in _CHANGES:
        places = tuple(arguments[i] for i in _CHANGES[event])
    else:
        return
    for place in places:
        if not isinstance(place, str | bytes | os.PathLike):
            continue  # a file that is open already
        path = os.path.abspath(os.fsdecode(place))
        inside = any(path == root or path.startswith(root + "/") for root in _watched["roots"])
        inside = inside or (event == "sqlite3.connect" and os.path.exists(path))
        if not inside and "__pycache__" not in path and not any(a in path for a in _ALLOWED):
            found.append(path)
