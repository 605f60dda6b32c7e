"""Damage valid files at random, read them, and list what breaks a rule.

python experiments/fuzz.py --minutes 10 --seed 1                 # every kind of input
python experiments/fuzz.py --minutes 2 --seed 1 --kind images,xml
python experiments/fuzz.py --replay images:1:417                 # one input again

Every input is read by the functions of the library, and every third by a command line as well. The
rules are those of tests/support/rules.py, and two that are watched from outside: each reading and
each command takes at most 10 seconds of processor time (or a minute of waiting), and at most 2 GiB
beyond the idle process. Kind, seed and number name an input.

With --keep the first input of each failure is kept in tests/corpus, where a test reads it from then
on. With --write counts and failures go to experiments/results/fuzz.json and fuzz.md. Exit status 1
when there is any failure.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import importlib
import json
import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.support.inputs import KINDS, Case, make_case  # noqa: E402
from tests.support.rules import Failure, try_case  # noqa: E402
from tests.support.tiny import Tiny, make_tiny  # noqa: E402

SECONDS = 10.0  # of processor time
WAITING = 60.0  # seconds by the clock: more than SECONDS, for a machine with other work
MEMORY = 2 << 30  # bytes beyond the idle process
RECYCLE = 400  # inputs of one process
EVERY = 3  # of so many inputs one is also given to a command line
NAMED = 2  # inputs of each failure that are named
MAX_KEPT = 16_000  # bytes of a kept input
CORPUS = ROOT / "tests" / "corpus"
RESULTS = ROOT / "experiments" / "results"
LOADED = ("matplotlib.pyplot", "forametric.cli", "uvicorn", "tests.support.requests")
GIB = 2.0**30


@dataclass
class Found:
    """A failure, how often it was found, and by which inputs first."""

    failure: Failure
    count: int = 0
    inputs: list[str] = field(default_factory=list)


def case_of(kind: str, seed: int, number: int, tiny: Tiny) -> tuple[Case, str | None]:
    """The input with this name, and which command line reads it."""
    case = make_case(kind, tiny, Random(f"{kind}:{seed}:{number}"))
    return case, f"{seed}:{number}" if number % EVERY == 0 else None


# Workers


def work(lane: int, lanes: int, start: int, plan: Plan, clock: Any) -> None:
    """Try every `lanes`-th input from `start` until the process is recycled."""
    place = plan.place / str(lane)
    for name in ("tmp", "home"):
        (place / name).mkdir(parents=True, exist_ok=True)
    os.environ |= {"TMPDIR": str(place / "tmp"), "HOME": str(place / "home")}
    tempfile.tempdir = None
    printed = (place / "printed.txt").open("wb", buffering=0)
    os.dup2(printed.fileno(), 2)  # what libraries in C print
    stuck = (place / "stuck.txt").open("w")
    faulthandler.register(signal.SIGUSR1, file=stuck)
    _warm_up(plan.tiny, place)
    idle = memory()
    clock[2] = idle
    limit = _virtual() + 2 * MEMORY  # beyond this an allocation fails before the machine suffers
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def step() -> None:
        clock[4], clock[0] = time.process_time(), time.time()

    with (plan.place / f"{lane}.jsonl").open("a", buffering=1) as out:
        for number in range(start, start + RECYCLE * lanes, lanes):
            if time.time() > plan.until or number >= plan.most:
                break
            kind = plan.kinds[number % len(plan.kinds)]
            _reset_peak()
            stuck.truncate(0)
            clock[1], began = number, time.time()
            failures = _try(kind, number, plan, place, step)
            seconds = time.time() - began
            clock[0] = 0.0
            peak = memory("VmHWM") - idle
            if peak > MEMORY:
                failures.append(Failure("memory", "GiB", kind, "", f"{peak / GIB:.1f} GiB"))
            row = {"kind": kind, "number": number, "seconds": seconds, "peak": peak}
            out.write(json.dumps(row | {"failures": [asdict(f) for f in failures]}) + "\n")
            if memory() - idle > MEMORY / 4:
                break
    clock[3] = 1.0


def _try(
    kind: str, number: int, plan: Plan, place: Path, step: Callable[[], None]
) -> list[Failure]:
    case, command = case_of(kind, plan.seed, number, plan.tiny)
    return try_case(case, plan.tiny, place, command, step)


def _warm_up(tiny: Tiny, place: Path) -> None:
    """Load what most commands load, so that it counts as idle."""
    try_case(Case("models", "model"), tiny, place, None)
    gc.collect()


def memory(what: str = "VmRSS", process: str = "self") -> int:
    """Bytes of memory of a process; VmHWM is the peak."""
    text = Path(f"/proc/{process}/status").read_text()
    found = re.search(rf"{what}:\s+(\d+)", text)
    return int(found[1]) * 1024 if found else 0


def _processor_time(process: int | None) -> float:
    """Seconds of processor time of a process with its threads."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _virtual() -> int:
    return memory("VmSize")


def _reset_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


# The watch over them


@dataclass
class Plan:
    """What is tried, and until when."""

    kinds: list[str]
    seed: int
    until: float
    most: int
    place: Path
    tiny: Tiny


class Lane:
    """One process after another, each watched."""

    def __init__(self, lane: int, lanes: int, plan: Plan) -> None:
        self.lane, self.lanes, self.plan, self.next = lane, lanes, plan, lane
        self.lost: list[dict[str, Any]] = []
        self._start()

    def _start(self) -> None:
        # since when a step runs, the number of its input, memory when idle, whether all is done,
        # and the processor time when the step began
        self.clock = multiprocessing.RawArray("d", [0.0, self.next - self.lanes, 0.0, 0.0, 0.0])
        arguments = (self.lane, self.lanes, self.next, self.plan, self.clock)
        self.process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
        self.process.start()
        self.ended = False

    def _is_stuck(self, began: float) -> bool:
        waited = time.time() - began
        used = _processor_time(self.process.pid) - self.clock[4] if waited > SECONDS / 4 else 0
        return waited > WAITING or used > SECONDS

    def watch(self) -> bool:
        """End a process that breaks a limit, start the next; False when all is done."""
        began, number = self.clock[0], int(self.clock[1])
        if self.process.is_alive():
            if began and self._is_stuck(began):
                os.kill(self.process.pid or 0, signal.SIGUSR1)  # writes where it is
                time.sleep(0.5)
                self._end("hang", number, _stuck(self.plan.place / str(self.lane) / "stuck.txt"))
            elif began and self._beyond() > MEMORY:
                self._end("memory", number, f"{self._beyond() / GIB:.1f} GiB")
            return True
        self.process.join()
        if not self.clock[3] and self.process.exitcode and not self.ended:
            self._note("died", number, f"exit status {self.process.exitcode}")
        self.next = max(number, self.lane - self.lanes) + self.lanes
        if time.time() > self.plan.until or self.next >= self.plan.most:
            return False
        self._start()
        return True

    def _beyond(self) -> int:
        try:
            return memory(process=str(self.process.pid)) - int(self.clock[2] or GIB)
        except OSError:
            return 0

    def _end(self, rule: str, number: int, message: str) -> None:
        assert self.process.pid
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()
        self.ended = True
        self._note(rule, number, message)

    def _note(self, rule: str, number: int, message: str) -> None:
        kind = self.plan.kinds[number % len(self.plan.kinds)]
        where = message.split("\n", 1)[0] if rule == "hang" else kind
        failure = Failure(rule, "", where, "", message)
        self.lost.append({"kind": kind, "number": number, "failures": [asdict(failure)]})


def _stuck(path: Path) -> str:
    """Where the main thread was, from the file of faulthandler."""
    text = path.read_text() if path.is_file() else ""
    own = re.findall(r'File ".*?/forametric/(.*?)", line (\d+) in (\w+)', text)
    first = "{}:{} {}".format(*own[0]) if own else "unknown"
    return f"{first}\n{text[-3000:]}"


def run(plan: Plan, lanes: int) -> Iterator[dict[str, Any]]:
    """Try inputs in several processes; yields a row for each."""
    running = [Lane(n, lanes, plan) for n in range(lanes)]
    while any([lane.watch() for lane in running]):
        time.sleep(0.03)
    for lane in running:
        yield from lane.lost
        path = plan.place / f"{lane.lane}.jsonl"
        for line in path.read_text().splitlines() if path.is_file() else ():
            with suppress(ValueError):  # the last line of a process that was killed
                yield json.loads(line)


# Results


def gather(
    rows: Iterator[dict[str, Any]], seed: int
) -> tuple[dict[str, Counter[str]], dict[str, Found]]:
    """Counts of each kind, and the failures without repetitions."""
    counts: dict[str, Counter[str]] = {}
    found: dict[str, Found] = {}
    for row in rows:
        count = counts.setdefault(row["kind"], Counter())
        count["inputs"] += 1
        count["failed"] += bool(row["failures"])
        count["milliseconds"] += round(1000 * row.get("seconds", SECONDS))
        count["peak_mb"] = max(count["peak_mb"], row.get("peak", 0) >> 20)
        for known in row["failures"]:
            failure = Failure(**known)
            one = found.setdefault(f"{row['kind']} {failure.key}", Found(failure))
            one.count += 1
            if len(one.inputs) < NAMED:
                one.inputs.append(f"{row['kind']}:{seed}:{row['number']}")
    return counts, found


def keep(found: dict[str, Found], tiny: Tiny) -> int:
    """Save the first input of each failure in the corpus; returns how many are new."""
    new = 0
    for one in found.values():
        kind, seed, number = one.inputs[0].split(":")
        case, _ = case_of(kind, int(seed), int(number), tiny)
        text = case.to_json(one.failure.key, one.failure.how)
        path = CORPUS / kind / f"{seed}-{number}.json"
        if len(text) <= MAX_KEPT and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            new += 1
    return new


def report(counts: dict[str, Counter[str]], found: dict[str, Found], seed: int) -> str:
    """The results as Markdown."""
    total = sum(count["inputs"] for count in counts.values())
    lines = [
        "# Fuzzing", "",
        f"{total:,} damaged inputs, seed {seed}, commit {_commit()}. "
        f"{len(found)} different failures.",
        "", "| kind | inputs | inputs with a failure | mean, ms | most memory beyond idle, MB |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for kind, count in sorted(counts.items()):
        mean = count["milliseconds"] / count["inputs"]
        lines.append(
            f"| {kind} | {count['inputs']} | {count['failed']} | {mean:.0f} | {count['peak_mb']} |"
        )
    lines += ["", "| count | rule | what | where | by | inputs |", "|---|---|---|---|---|---|"]
    for one in sorted(found.values(), key=lambda one: -one.count):
        f = one.failure
        cells = (str(one.count), f.rule, f.kind, f.where, f.how, " ".join(one.inputs))
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT
    )
    return done.stdout.strip() or "unknown"


def replay(name: str, tiny: Tiny, place: Path) -> int:
    """Read one input again and print what it breaks; 1 when it breaks anything."""
    kind, seed, number = name.split(":")
    case, command = case_of(kind, int(seed), int(number), tiny)
    print(kind, case.seed, {n: d and d[:300] for n, d in case.changed.items()})
    failures = try_case(case, tiny, place, command)
    for failure in failures:
        print(failure.key, failure.how, failure.message, sep="\n")
    return int(bool(failures))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", default=",".join(KINDS), help="separated by commas")
    parser.add_argument("--most", type=int, default=10**9, help="inputs at most")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--tiny", type=Path, help="a folder for the valid files, to save time")
    parser.add_argument("--keep", action="store_true", help="add the failures to tests/corpus")
    parser.add_argument("--write", action="store_true", help="write experiments/results/fuzz.*")
    parser.add_argument("--replay", help="kind:seed:number")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        place = Path(folder).resolve()
        tiny = Tiny(arguments.tiny or place / "tiny")
        if arguments.replay:
            return replay(arguments.replay, make_tiny(tiny.folder), place)
        # In another process, so that this one starts no threads before it forks.
        made = multiprocessing.get_context("spawn").Process(target=make_tiny, args=(tiny.folder,))
        made.start()
        made.join()
        kinds = arguments.kind.split(",")
        os.environ["MPLCONFIGDIR"] = str(place / "matplotlib")
        _load_code(kinds, tiny)
        until = time.time() + 60 * arguments.minutes
        plan = Plan(kinds, arguments.seed, until, arguments.most, place, tiny)
        counts, found = gather(run(plan, arguments.workers), arguments.seed)
        text = report(counts, found, arguments.seed)
        print(text)
        if arguments.keep:
            print(f"{keep(found, tiny)} inputs were added to {CORPUS.relative_to(ROOT)}")
        if arguments.write:
            RESULTS.joinpath("fuzz.md").write_text(text, encoding="utf-8")
            known = {"counts": counts, "found": {key: asdict(one) for key, one in found.items()}}
            RESULTS.joinpath("fuzz.json").write_text(json.dumps(known, indent=1) + "\n")
    return int(bool(found))


def _load_code(kinds: list[str], tiny: Tiny) -> None:
    """Import what every process needs, once, and make the valid files."""
    import forametric as fm
    from tests.support.inputs import seeds_of

    for name in fm.__all__:
        getattr(fm, name)
    for module in LOADED:
        importlib.import_module(module)
    for kind in kinds:
        seeds_of(kind, tiny)


if __name__ == "__main__":
    sys.exit(main())
