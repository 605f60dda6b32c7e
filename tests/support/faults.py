"""Verbs under faults: what a command leaves when it is killed, starved, or started twice.

Commands run in children of a process that has imported everything, so that a run takes a fraction
of a second. Only faults that an interpreter meets when it starts get a process of their own. A
fault strikes at the same moments on every machine: they are counted in the files that a command
opens, moves and removes, not in seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from tests.support.tiny import SETTINGS, Tiny

PATIENCE = 300  # seconds for one run
QUICK = [word for setting in SETTINGS for word in ("--set", setting)]
FULL = 4  # MB of the disk that is full


@dataclass(frozen=True)
class Row:
    """One verb, and where its decisions are kept.

    Attributes
    ----------
    arguments : list of str
        With {out} for the folder of outputs, {in} for a folder of inputs that only this run has,
        {tiny} for the tiny set, {store} for the store of decisions.
    output : str
        What the verb writes, below {out}; "" for a verb that only prints.
    store : str
        "", "SQLite" or "PostgreSQL".
    serves : bool
        It runs until it is stopped.
    absent : dict
        Faults that do not apply, with the reason.
    """

    verb: str
    arguments: list[str]
    output: str = ""
    store: str = ""
    serves: bool = False
    absent: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.verb} ({self.store})" if self.store else self.verb


def rows() -> list[Row]:
    """A command for every verb; those with a store of decisions for each kind of database."""
    c, m, more = "{tiny}/collection", "{tiny}/model", "{tiny}/more"
    split = ["--split", "{tiny}/split.csv"]
    network = "it needs a network"
    plain = [
        Row("import", ["{in}/plates", "-o", "{out}/c"], "c"),
        Row("segment", ["{in}/slide.png", "--um-per-px", "3", "-o", "{out}/s"], "s"),
        Row(
            "download",
            ["-o", "{out}/d"],
            "d",
            absent={name: network for name in FAULTS if name != "no network"},
        ),
        Row("taxonomy", ["-o", "{out}/names.csv"], "names.csv"),
        Row("check", ["{in}/plates", "-o", "{out}/check"], "check"),
        Row("split", [c, "-o", "{out}/s.csv"], "s.csv"),
        Row("export", [c, "--format", "excel", "-o", "{out}/x.xlsx"], "x.xlsx"),
        Row("info", [m]),
        Row("train", [c, *split, *QUICK, "-o", "{out}/m"], "m"),
        Row("evaluate", [m, c, *split, "-o", "{out}/r"], "r"),
        Row(
            "benchmark",
            [
                c,
                "--recipes",
                "default",
                "--repeats",
                "1",
                *QUICK,
                "--set",
                "epochs=1",
                "-o",
                "{out}/b",
            ],
            "b",
        ),
        Row("calibrate", [m, "{tiny}/val", "--split", "subset", "-o", "{out}/m"], "m"),
        Row("add", [m, more, "-o", "{out}/m"], "m"),
        Row("recipes", []),
        Row("identify", [m, more, "-o", "{out}/n.csv"], "n.csv"),
        Row("embed", [m, more, "-o", "{out}/e.parquet"], "e.parquet"),
        Row("discover", [m, more, "--all", "-o", "{out}/g"], "g"),
        Row("assemblage", [m, more, "--depth", "depth", "-o", "{out}/a"], "a"),
        Row("map", [m, more, "-o", "{out}/map.html"], "map.html"),
        Row("simulate", ["--total", "8", "--size", "32", "-o", "{out}/sim"], "sim"),
        Row("demo", ["-o", "{out}/demo"], "demo"),
    ]
    record = [c, "{in}/names.csv", "--store", "{store}", "--reviewer", "K. Lee"]
    project = ["{out}/p", "--collection", more, "--model", m, "--no-browser", "--port", "0"]
    stored = [
        Row(verb, arguments, output, store, serves)
        for store, back, restored in (
            ("SQLite", "{out}/r.sqlite", "r.sqlite"),
            ("PostgreSQL", "{store}", ""),
        )
        for verb, arguments, output, serves in (
            ("record", record, "d.sqlite" if store == "SQLite" else "", False),
            ("decisions", ["--store", "{store}", "-o", "{out}/h.csv"], "h.csv", False),
            ("apply-decisions", [c, "--store", "{store}", "-o", "{out}/l"], "l", False),
            ("backup", ["{store}", "-o", "{out}/b.sqlite"], "b.sqlite", False),
            ("restore", ["{in}/d.sqlite", "-o", back], restored, False),
            ("queue", [m, c, "--store", "{store}", "-o", "{out}/q"], "q", False),
            ("review", [*project, *(["--database", "{store}"] if store == "PostgreSQL" else [])],
             "p", True),
        )
    ]  # fmt: skip
    accounts = ["--accounts", "{in}/accounts.sqlite"]
    people = [
        Row("users", ["role", "K. Lee", "curator", *accounts]),
        Row("serve", ["{in}/projects", *accounts, "--port", "0"], serves=True),
    ]
    return [*plain, *stored, *people]


def verbs() -> set[str]:
    """The verbs of the command line, as it is."""
    import typer

    from forametric.cli import app

    return set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def uncovered() -> set[str]:
    """Verbs without a row: a new verb must get one."""
    return verbs() ^ {row.verb for row in rows()}


def takes_overwrite(verb: str) -> bool:
    """Whether a verb has the option --overwrite."""
    import typer

    from forametric.cli import app

    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    return any("--overwrite" in parameter.opts for parameter in command.params)


# One run


@dataclass
class Run:
    """How a command ended.

    Attributes
    ----------
    status : int or None
        Negative for a signal; None when it had to be stopped for taking too long.
    events : int
        Files that it opened for writing, moved or removed, below its output.
    """

    status: int | None
    stdout: str
    stderr: str
    events: int = 0
    seconds: float = 0.0

    @property
    def trouble(self) -> str:
        """What no run may show, whatever the fault; "" for nothing."""
        if self.status is None:
            return f"no end within {PATIENCE} s"
        if "Traceback (most recent call last)" in self.stderr + self.stdout:
            last = [line for line in self.stderr.splitlines() if line.strip()][-1:]
            return f"traceback: {''.join(last)[:160]}"
        if self.status == 70:
            return f"status 70: {self.stderr.strip()[-200:]}"
        return ""


class Stage:
    """The folders of one run: its own inputs, its output, its store."""

    def __init__(self, row: Row, tiny: Tiny, place: Path, address: str = "") -> None:
        self.row, self.tiny, self.place = row, tiny, place
        shutil.rmtree(place, ignore_errors=True)
        self.inputs, self.out = place / "in", place / "out"
        self.out.mkdir(parents=True)
        shutil.copytree(tiny.folder / "faults-in", self.inputs)
        self.store = address or str(self.inputs / "d.sqlite")
        if row.verb == "record":
            self.store = address or str(self.out / "d.sqlite")

    def arguments(self) -> list[str]:
        """The command line."""
        known = {"out": str(self.out), "in": str(self.inputs), "tiny": str(self.tiny.folder),
                 "store": self.store}  # fmt: skip
        return [self.row.verb, *(word.format(**known) for word in self.row.arguments)]

    def start(self, setup: Callable[[], None] = lambda: None, more: tuple[str, ...] = ()) -> Child:
        """Begin a run."""
        return Child([*self.arguments(), *more], self.place, self.out, setup)

    def run(self, setup: Callable[[], None] = lambda: None, more: tuple[str, ...] = ()) -> Run:
        """Do a run; a server is stopped as soon as it serves."""
        child = self.start(setup, more)
        return child.serve_and_stop() if self.row.serves else child.wait()

    def state(self, reference: set[str]) -> str:
        """The output: absent, whole, or what is wrong with it."""
        if self.row.verb == "record":
            return _store_state(self.store, self.out / "d.sqlite")
        if not self.row.output:
            return "none"
        path = self.out / self.row.output
        if not path.exists():
            return "absent"
        missing = reference - names_below(path)
        if missing and not self.row.serves:
            return f"lacks {sorted(missing)[0]}"
        return damaged_file(path) or "whole"

    def fingerprint(self) -> str:
        """A hash of the inputs: names and bytes; of databases the names alone."""
        known = hashlib.sha256()
        for folder in (self.inputs, self.tiny.folder):
            for path in sorted(folder.rglob("*")):
                if path.name.endswith(("-wal", "-shm")) or "projects" in path.parts:
                    continue  # a project is served, so that it is written to
                known.update(str(path.relative_to(folder)).encode("utf-8", "surrogateescape"))
                if path.is_file() and ".sqlite" not in path.name:
                    known.update(path.read_bytes())
        return known.hexdigest()


def names_below(path: Path) -> set[str]:
    """The files of an output, without those that only some runs have."""
    if path.is_file():
        return {path.suffix}
    found = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()}
    return {name for name in found if not Path(name).name.startswith(".")}


def damaged_file(path: Path) -> str:
    """The first file of an output that cannot be read whole; "" for none."""
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        try:
            if not file.is_file() or file.name.startswith("."):
                continue
            if file.suffix == ".json":
                json.loads(file.read_text(encoding="utf-8"))
            elif file.suffix == ".parquet":
                pd.read_parquet(file)
            elif file.suffix in (".zip", ".xlsx"):
                with zipfile.ZipFile(file) as archive:
                    assert archive.testzip() is None
            elif file.suffix in (".png", ".jpg"):
                with Image.open(file) as image:
                    image.load()
            elif file.suffix in (".csv", ".html", ".md"):
                assert file.stat().st_size > 0
        except Exception as error:
            return f"damaged: {file.name}: {type(error).__name__}"
    return ""


def _store_state(store: str, file: Path) -> str:
    """All decisions of the table, or none: `record` is one transaction."""
    from forametric.errors import ForametricError
    from forametric.review.store import DecisionStore

    if "://" not in store and not file.exists():
        return "absent"
    try:
        opened = DecisionStore.open(store)
    except ForametricError:
        return "absent"
    try:
        count = len(opened.history())
    finally:
        opened.close()
    return {0: "absent", 6: "whole"}.get(count, f"{count} of 6 decisions")


class Child:
    """A command in a child process that has everything imported already."""

    def __init__(
        self, arguments: list[str], place: Path, out: Path, setup: Callable[[], None]
    ) -> None:
        self.prints = [place / f"std{name}-{time.monotonic_ns()}.txt" for name in ("out", "err")]
        self.count = place / f"events-{time.monotonic_ns()}.txt"
        self.began = time.monotonic()
        self.pid = os.fork()
        if not self.pid:
            try:
                _become(arguments, self.prints, self.count, out, setup)
            finally:
                os._exit(99)

    def wait(self, seconds: float = PATIENCE) -> Run:
        """Wait for its end."""
        until = time.time() + seconds
        while time.time() < until:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return self._result(os.waitstatus_to_exitcode(status))
            time.sleep(0.01)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return self._result(None)

    def serve_and_stop(self, number: int = signal.SIGINT) -> Run:
        """Wait until it serves or ends; then send a signal, and wait for its end."""
        until = time.time() + PATIENCE
        while time.time() < until and "http://" not in self._text(0):
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return self._result(os.waitstatus_to_exitcode(status))
            time.sleep(0.02)
        time.sleep(0.3)
        os.kill(self.pid, number)
        return self.wait(20)

    def _text(self, which: int) -> str:
        path = self.prints[which]
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    def _result(self, status: int | None) -> Run:
        events = int(self.count.read_text() or 0) if self.count.is_file() else 0
        seconds = time.monotonic() - self.began
        run = Run(status, self._text(0), self._text(1), events, seconds)
        for path in (*self.prints, self.count):
            path.unlink(missing_ok=True)
        return run


def _become(
    arguments: list[str], prints: list[Path], count: Path, out: Path, setup: Callable[[], None]
) -> None:
    """Turn this process into the command line; ends with its exit status."""
    for number, path in enumerate(prints, 1):
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w"), encoding="utf-8", write_through=True)
    sys.stderr = io.TextIOWrapper(
        io.FileIO(2, "w"), encoding="utf-8", errors="backslashreplace", write_through=True
    )
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir(out.parent)
    status = 0
    try:
        _small_demo()
        setup()
        _count_events(out, count)
        sys.argv = ["forametric", *arguments]
        from forametric.cli import main

        main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(bool(end.code))
    except KeyboardInterrupt:
        traceback.print_exc()
        status = 130
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(status)


def _small_demo() -> None:
    import forametric.cli.demo as demo

    for name, value in {"PER_FORM": 6, "SIZE": 48, "SETTINGS": SETTINGS}.items():
        setattr(demo, name, value)
    os.cpu_count = lambda: 1  # simulated shells are drawn in this process


_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_strike: dict[str, Any] = {"at": 0, "signal": 0}


def _count_events(out: Path, count: Path) -> None:
    """Count what is opened for writing, moved or removed below the output; strike at a number."""
    target, seen = str(out), 0
    handle = os.open(count, os.O_CREAT | os.O_WRONLY)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING
        if not (writes or event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir")):
            return
        if isinstance(arguments[0], str | bytes | os.PathLike) and target in os.path.abspath(
            os.fsdecode(arguments[0])
        ):
            seen += 1
            os.pwrite(handle, str(seen).encode(), 0)
            if seen == _strike["at"]:
                os.kill(os.getpid(), _strike["signal"])

    sys.addaudithook(audit)


def striking(number: int, at: int) -> Callable[[], None]:
    """Set-up of a child that sends itself a signal at its `at`-th event."""

    def setup() -> None:
        _strike.update(at=at, signal=number)

    return setup


# What every run reads


def make_inputs(tiny: Tiny) -> None:
    """Inputs that each run gets a copy of."""
    from forametric.data.collection import Collection

    folder = tiny.folder / "faults-in"
    if (folder / "done").is_file():
        return
    shutil.rmtree(folder, ignore_errors=True)
    for form in sorted(tiny.images.iterdir()):
        (folder / "plates" / form.name).mkdir(parents=True)
        for path in sorted(form.iterdir())[:3]:
            shutil.copy(path, folder / "plates" / form.name)
    _slide(tiny, folder / "slide.png")
    names = pd.read_csv(tiny.names, dtype=str)[["id", "image"]].head(6)
    names.assign(expert="Orbulina universa").to_csv(folder / "names.csv", index=False)
    shutil.copy(tiny.store, folder / "d.sqlite")
    more = Collection.open(tiny.more)
    Collection(more.specimens.assign(subset="val"), more.images, more.info).save(
        tiny.folder / "val", overwrite=True
    )
    _lab(tiny, folder)
    (folder / "done").touch()


def _lab(tiny: Tiny, folder: Path) -> None:
    """A project and its users, for a server with several people."""
    from forametric.review.project import Project
    from forametric.server.access.accounts import Accounts, Role
    from forametric.server.access.database import AccessDatabase

    project = folder / "projects" / "core"
    Project.create(project, tiny.more, tiny.model, depth="depth")
    card = json.loads((project / "project.json").read_text())
    card |= {"collection": str(tiny.more), "models": [str(tiny.model)]}  # it will be copied
    (project / "project.json").write_text(json.dumps(card))
    users = AccessDatabase(folder / "accounts.sqlite")
    Accounts(users).add("K. Lee", Role.REVIEWER, "a long password of hers")
    users.close()


def _slide(tiny: Tiny, path: Path) -> None:
    """Three shells on black."""
    slide = np.full((220, 420, 3), 6, np.uint8)
    for number, file in enumerate(sorted((tiny.images / "single_sphere").iterdir())[:3]):
        shell = np.asarray(Image.open(file).convert("RGB"))
        place = slide[70:134, 30 + 130 * number : 94 + 130 * number]
        np.maximum(place, shell, out=place)
    Image.fromarray(slide).save(path)


# Faults


@dataclass
class Cell:
    """The outcome of one verb under one fault."""

    ok: bool
    outcome: str
    detail: str = ""


Fault = Callable[[Stage, "Reference"], Cell]


@dataclass(frozen=True)
class Reference:
    """What the command does without a fault: its output's files, and its number of events."""

    run: Run
    files: set[str]


def judge(stage: Stage, reference: Reference, runs: list[Run], before: str, *, ends: str) -> Cell:
    """The outcome after a fault: no trouble, inputs as they were, output absent or whole.

    Parameters
    ----------
    ends : str
        "work" where the fault must not matter, "any" where the command may end in any way but
        with a traceback.
    """
    for run in runs:
        if run.trouble:
            return Cell(False, run.trouble)
    if stage.fingerprint() != before:
        return Cell(False, "inputs changed")
    state, statuses = stage.state(reference.files), sorted({str(run.status) for run in runs})
    text = f"{'/'.join(statuses)}, output {state}"
    if state not in ("whole", "absent", "none"):
        return Cell(False, text)
    if ends == "work" and any(run.status != reference.run.status for run in runs):
        return Cell(False, text, runs[-1].stderr[-500:])
    if any(run.status == 0 for run in runs) and state == "absent":
        return Cell(False, f"{text}, although it said that all was done")
    return Cell(True, text)


def signalled(number: int, moments: int, overwrite: bool = False) -> Fault:
    """Send a signal at several moments; then the same command must do its work."""

    def fault(stage: Stage, reference: Reference) -> Cell:
        if stage.row.serves:
            return _stopped(stage, reference, number)
        if overwrite and not takes_overwrite(stage.row.verb):
            return Cell(True, NOT_APPLICABLE, "it has no --overwrite")
        last = reference.run.events
        if not last:
            if stage.row.store:
                return _signalled_by_time(stage, reference, number)
            return Cell(True, NOT_APPLICABLE, "it writes nothing")
        more = ("--overwrite",) if overwrite else ()
        cells, chosen = [], sorted({1 + n * (last - 1) // (moments - 1) for n in range(moments)})
        for moment in chosen:
            new = Stage(stage.row, stage.tiny, stage.place, _address(stage))
            if overwrite:
                new.run()
            before = new.fingerprint()
            run = new.run(striking(number, moment), more)
            cell = judge(new, reference, [run], before, ends="any")
            if cell.ok and overwrite and "absent" in cell.outcome:
                cell = Cell(False, f"{cell.outcome}: the old output is gone")
            if cell.ok and run.status not in (0, 1, -number, 128 + number):
                cell = Cell(False, f"status {run.status}", run.stderr[-500:])
            if cell.ok:
                cell = _repeated(new, reference, cell, overwrite)
            if not cell.ok:
                return Cell(False, f"event {moment} of {last}: {cell.outcome}", cell.detail)
            cells.append(cell)
        outcomes = sorted({cell.outcome for cell in cells})
        return Cell(True, f"{len(chosen)} moments: {'; '.join(outcomes)}")

    return fault


def _signalled_by_time(stage: Stage, reference: Reference, number: int) -> Cell:
    """As `signalled`, for a command that writes to a database and no files."""
    outcomes = set()
    for share in (0.3, 0.6, 0.9):
        before, child = stage.fingerprint(), stage.start()
        time.sleep(share * reference.run.seconds)
        os.kill(child.pid, number)
        cell = judge(stage, reference, [child.wait()], before, ends="any")
        if cell.ok:
            cell = _repeated(stage, reference, cell, overwrite=False)
        if not cell.ok:
            return Cell(False, f"after {share} of its time: {cell.outcome}", cell.detail)
        outcomes.add(cell.outcome)
    return Cell(True, f"3 moments: {'; '.join(sorted(outcomes))}")


def _repeated(stage: Stage, reference: Reference, cell: Cell, overwrite: bool) -> Cell:
    """The same command again, unless it was done already."""
    if "whole" in cell.outcome and not overwrite:
        return cell
    run = stage.run(more=("--overwrite",) if overwrite else ())
    if run.status != reference.run.status or stage.state(reference.files) not in ("whole", "none"):
        state = stage.state(reference.files)
        return Cell(False, f"again: {run.status}, output {state}", run.stderr[-500:])
    return Cell(True, f"{cell.outcome}, then done by the same command")


def _stopped(stage: Stage, reference: Reference, number: int) -> Cell:
    """A server that is stopped while it serves, and started again."""
    before = stage.fingerprint()
    run = stage.start().serve_and_stop(number)
    cell = judge(stage, reference, [run], before, ends="any")
    if not cell.ok or run.status not in (0, -number, 128 + number):
        return Cell(False, cell.outcome, run.stderr[-500:])
    arguments = ["review", str(stage.out / "p"), "--no-browser", "--port", "0"]
    if stage.row.store == "PostgreSQL":
        arguments += ["--database", stage.store]
    if stage.row.verb == "serve":
        arguments = stage.arguments()
    again = Child(arguments, stage.place, stage.out, lambda: None).serve_and_stop()
    if again.trouble or "http://" not in again.stdout:
        return Cell(False, f"started again: {again.status} {again.trouble}", again.stderr[-500:])
    return Cell(True, f"{cell.outcome}, serves again")


def _address(stage: Stage) -> str:
    return stage.store if "://" in stage.store else ""


@contextlib.contextmanager
def mounted(stage: Stage, options: str, spare: int | None = None) -> Iterator[None]:
    """A disk in memory in place of the folder of outputs, full but for `spare` bytes."""
    place = stage.out
    mount = ["mount", "-t", "tmpfs", "-o", options, "none", str(place)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(mount).returncode:
        raise PermissionError("a disk can be mounted by root on Linux only")
    try:
        if spare is not None:
            filler = place / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            os.truncate(filler, max(0, filler.stat().st_size - spare))
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def full_disk(stage: Stage, reference: Reference) -> Cell:
    """A disk without a byte left, and one that fills up in the middle of the work."""
    if not stage.row.output:
        return Cell(True, NOT_APPLICABLE, "it writes no files")
    size = sum(f.stat().st_size for f in _files(stage.out / stage.row.output))
    outcomes = set()
    for spare in (0, max(4096, size // 2)):
        new = Stage(stage.row, stage.tiny, stage.place, _address(stage))
        before = new.fingerprint()
        with mounted(new, f"size={max(FULL, 4 * size >> 20)}m", spare):
            run = new.run()
            cell = judge(new, reference, [run], before, ends="any")
            if cell.ok and run.status in (0, 1) and "whole" not in cell.outcome:
                cell = Cell(False, f"{cell.outcome}, although it said that all was done")
            if cell.ok and run.status == 2 and "full" not in run.stderr:
                cell = Cell(False, "the sentence does not say that the disk is full", run.stderr)
        if not cell.ok:
            return Cell(
                False, f"{spare} bytes left: {cell.outcome}", cell.detail or run.stderr[-500:]
            )
        outcomes.add(cell.outcome)
    return Cell(True, "; ".join(sorted(outcomes)))


def _files(path: Path) -> list[Path]:
    return [p for p in ([path] if path.is_file() else path.rglob("*")) if p.is_file()]


def read_only(stage: Stage, reference: Reference) -> Cell:
    """An output on a disk that cannot be written."""
    if not stage.row.output:
        return Cell(True, NOT_APPLICABLE, "it writes no files")
    before = stage.fingerprint()
    new = Stage(stage.row, stage.tiny, stage.place, _address(stage))
    with mounted(new, "ro"):
        run = new.run()
        cell = judge(new, reference, [run], before, ends="any")
    if cell.ok and run.status != 2:
        return Cell(False, f"status {run.status}", run.stderr[-500:])
    return cell


def two_at_once(stage: Stage, reference: Reference) -> Cell:
    """Two processes with one output: one writes it whole, the other says why it does not."""
    if not stage.row.output or stage.row.serves:
        return _alone(stage, reference)
    outcomes = set()
    for delay in (0.0, 0.15):
        new = Stage(stage.row, stage.tiny, stage.place, _address(stage))
        before = new.fingerprint()
        first = new.start()
        time.sleep(delay)
        runs = [new.start().wait(), first.wait()]
        cell = judge(new, reference, runs, before, ends="any")
        if cell.ok and (reference.run.status not in [run.status for run in runs]):
            cell = Cell(False, f"neither is done: {cell.outcome}", runs[0].stderr[-500:])
        if cell.ok and "whole" not in cell.outcome:
            cell = Cell(False, cell.outcome)
        if not cell.ok:
            return Cell(
                False, cell.outcome, cell.detail or "".join(run.stderr[-300:] for run in runs)
            )
        outcomes.add(cell.outcome)
    return Cell(True, "; ".join(sorted(outcomes)))


def _alone(stage: Stage, reference: Reference) -> Cell:
    """Two processes that have no output in common."""
    before = stage.fingerprint()
    if stage.row.serves:
        first = stage.start()
        second = stage.start()
        runs = [child.serve_and_stop() for child in (first, second)]
        return judge(stage, reference, runs, before, ends="any")
    first = stage.start()
    runs = [stage.start().wait(), first.wait()]
    if stage.row.verb == "record":  # each says what the other has recorded already
        return Cell(not any(run.trouble for run in runs), f"{[run.status for run in runs]}")
    return judge(stage, reference, runs, before, ends="work")


def without_effect(setup: Callable[[], None]) -> Fault:
    """A fault that must not matter: the command does its work."""

    def fault(stage: Stage, reference: Reference) -> Cell:
        before = stage.fingerprint()
        return judge(stage, reference, [stage.run(setup)], before, ends="work")

    return fault


def _no_home() -> None:
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR"):
        os.environ.pop(name, None)
    os.environ["HOME"] = "/dev/null/home"  # not even root can make it


def _no_network() -> None:
    """Refuse every connection and every look-up of a name, except on this machine."""
    import socket

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            host = arguments[0]
        elif event == "socket.connect" and arguments[0].family != socket.AF_UNIX:
            host = arguments[1][0]
        else:
            return
        if host not in ("127.0.0.1", "localhost", "::1", None):
            print(f"NETWORK {host}", file=sys.stderr)
            raise OSError(101, "Network is unreachable")

    sys.addaudithook(audit)


def no_network(stage: Stage, reference: Reference) -> Cell:
    """No connection is tried, and the work is done; `download` says that it cannot."""
    before = stage.fingerprint()
    if stage.row.verb == "download":
        run = stage.run(_no_network)
        return Cell(run.status == 2 and not run.trouble, f"{run.status}, output absent")
    run = stage.run(_no_network)
    cell = judge(stage, reference, [run], before, ends="work")
    if "NETWORK" in run.stderr:
        asked = [line for line in run.stderr.splitlines() if line.startswith("NETWORK")]
        return Cell(False, f"asks {asked[0].split()[1]}")
    return cell


def _clock_jumps() -> None:
    """The clock goes back by a day, and forward by ten years, again and again."""
    true_time, calls = time.time, 0

    def jumping() -> float:
        nonlocal calls
        calls += 1
        return true_time() + (-86_400, 0, 315_360_000)[calls // 5 % 3]

    time.time = jumping


def clock_jump(stage: Stage, reference: Reference) -> Cell:
    """The clock jumps while the command runs, and its inputs come from the future."""
    for path in stage.inputs.rglob("*"):
        os.utime(path, (4_102_444_800, 4_102_444_800))
    before = stage.fingerprint()
    return judge(stage, reference, [stage.run(_clock_jumps)], before, ends="work")


def _cp1252() -> None:
    sys.stdout.reconfigure(encoding="cp1252")  # type: ignore[union-attr]


def locale_c(stage: Stage, reference: Reference) -> Cell:
    """A process in the locale C, in which file names are ASCII, with an output that is not."""
    before = stage.fingerprint()
    known = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "forametric", *stage.arguments()]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONIOENCODING"} | known
    if stage.row.verb in ("demo", "simulate", "benchmark"):
        return Cell(True, NOT_APPLICABLE, "takes no names from the user; slow as a process")
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            if stage.row.serves:
                line = process.stdout.readline() if process.stdout else ""
                process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
            out = line + out if stage.row.serves else out
            status: int | None = process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            status = None
    return judge(stage, reference, [Run(status, out, err)], before, ends="work")


NOT_APPLICABLE = "does not apply"
FAULTS: dict[str, Fault] = {
    "SIGKILL": signalled(signal.SIGKILL, 4),
    "SIGKILL, --overwrite": signalled(signal.SIGKILL, 3, overwrite=True),
    "SIGTERM": signalled(signal.SIGTERM, 2),
    "Ctrl-C": signalled(signal.SIGINT, 2),
    "full disk": full_disk,
    "read-only": read_only,
    "two at once": two_at_once,
    "clock jump": clock_jump,
    "no HOME": without_effect(_no_home),
    "no network": no_network,
    "LC_ALL=C": locale_c,
    "cp1252": without_effect(_cp1252),
}


@contextlib.contextmanager
def database_for(row: Row, server: Any) -> Iterator[str]:
    """The address of an empty database with the decisions that the row's command needs."""
    if row.store != "PostgreSQL":
        yield ""
        return
    with server.database() as address:
        if row.verb not in ("record", "review", "restore"):
            _fill(address)
        yield address


def _fill(address: str) -> None:
    from forametric.review.decisions import Decision
    from forametric.review.store import DecisionStore

    store = DecisionStore(address)
    store.record([Decision("598c2ea21c81e6e6", "taxon", "Orbulina universa", "A")])  # type: ignore[arg-type]
    store.close()


def try_cell(
    row: Row, name: str, reference: Reference, tiny: Tiny, place: Path, server: Any
) -> Cell:
    """One verb under one fault."""
    if name in row.absent:
        return Cell(True, NOT_APPLICABLE, row.absent[name])
    try:
        with database_for(row, server) as address:
            stage = Stage(row, tiny, place, address)
            if name == "full disk":
                stage.run()  # to know the size of the output
            return FAULTS[name](stage, reference)
    except PermissionError as error:
        return Cell(True, "skipped", str(error))


def reference_of(row: Row, tiny: Tiny, place: Path, server: Any) -> Reference:
    """The command without a fault."""
    if row.verb == "download":
        return Reference(Run(0, "", ""), set())
    with database_for(row, server) as address:
        stage = Stage(row, tiny, place, address)
        run = stage.run()
        files = names_below(stage.out / row.output) if row.output else set()
        assert run.status in ((0, 130) if row.serves else (0, 1)), (
            f"{row.name} without a fault: {run.status}\n{run.stderr}"
        )
        return Reference(run, files)
