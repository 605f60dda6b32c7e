"""What every verb leaves when it is killed, starved or started twice: a table of verbs and faults.

python experiments/fault_matrix.py                                    # all, about twenty minutes
python experiments/fault_matrix.py --verbs import,record --faults "SIGKILL;two at once"

A cell is one verb under one fault (tests/support/faults.py). It is right when the command shows no
traceback, its inputs are as they were, its output is absent or whole, and the same command does the
work afterwards. Faults that need root or PostgreSQL are skipped, with the reason, where there is
none. A verb without a row ends the script. Writes experiments/results/fault_matrix.json and .md;
exit status 1 when a cell is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])

from tests.support.faults import (  # noqa: E402
    FAULTS,
    NOT_APPLICABLE,
    Cell,
    Row,
    make_inputs,
    reference_of,
    rows,
    try_cell,
    uncovered,
)
from tests.support.tiny import Tiny, make_tiny  # noqa: E402

_shared: dict[str, Any] = {}  # what forked processes inherit
RESULTS = ROOT / "experiments" / "results" / "fault_matrix.json"
LOADED = (
    "matplotlib.pyplot",
    "openTSNE",
    "torch",
    "uvicorn",
    "forametric.cli.demo",
    "forametric.embedding.network",
    "forametric.server.session",
)


def try_row(job: tuple[Row, list[str], Tiny, Path]) -> tuple[str, dict[str, Cell]]:
    """One verb under all faults."""
    row, faults, tiny, place = job
    server = _shared["postgresql"]
    cells: dict[str, Cell] = {}
    if row.store == "PostgreSQL" and server is None:
        missing = Cell(True, "skipped", "PostgreSQL is not installed")
        return row.name, dict.fromkeys(faults, missing)
    began = time.time()
    try:
        reference = reference_of(row, tiny, place, server)
    except AssertionError as error:
        return row.name, {"without a fault": Cell(False, "fails", str(error))}
    for name in faults:
        try:
            cells[name] = try_cell(row, name, reference, tiny, place, server)
        except Exception as error:  # of this script: a cell that says nothing about the verb
            cells[name] = Cell(False, f"not tried: {error!r}")
    wrong = [name for name, cell in cells.items() if not cell.ok]
    print(f"{row.name}: {time.time() - began:.0f} s, wrong: {wrong or 'none'}", flush=True)
    return row.name, cells


def make_all(folder: Path) -> None:
    """What the commands read."""
    make_inputs(make_tiny(folder))


@contextlib.contextmanager
def postgresql() -> Iterator[Any]:
    """A server, or None where PostgreSQL is not installed."""
    import pytest

    from tests.support.postgresql import server

    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(server())
        except pytest.skip.Exception:
            found = None
        yield found


def table(results: dict[str, dict[str, Cell]], faults: list[str], minutes: float) -> str:
    """The matrix as Markdown: a sign for each cell, then what the signs stand for."""
    cells = [cell for row in results.values() for cell in row.values()]
    applies = [cell for cell in cells if cell.outcome not in (NOT_APPLICABLE, "skipped")]
    wrong = sum(not cell.ok for cell in cells)
    lines = [
        "# Verbs under faults",
        "",
        f"{len(cells)} cells, {len(applies)} of which apply; {wrong} wrong. "
        f"Commit {_commit()}, {minutes:.0f} minutes. ✓ right, ✗ wrong, – does not apply, "
        f"? skipped.",
        "",
        f"| verb | {' | '.join(faults)} |",
        "|---" * (len(faults) + 1) + "|",
    ]
    for name, row in results.items():
        signs = (_sign(row.get(fault)) for fault in faults)
        lines.append(f"| {name} | {' | '.join(signs)} |")
    lines += ["", "## Outcomes", ""]
    for name, row in results.items():
        for fault, cell in row.items():
            detail = cell.detail if cell.outcome in (NOT_APPLICABLE, "skipped") else ""
            mark = "" if cell.ok else "**wrong** "
            lines.append(f"- {name}, {fault}: {mark}{cell.outcome}{f' ({detail})' * bool(detail)}")
    return "\n".join([*lines, ""])


def _sign(cell: Cell | None) -> str:
    if cell is None:
        return ""
    special = {NOT_APPLICABLE: "–", "skipped": "?"}
    return special.get(cell.outcome, "✓" if cell.ok else "✗")


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT
    )
    return done.stdout.strip() or "unknown"


def _load_code() -> None:
    """Import what the commands need, without running any of it: children are forked from here."""
    import forametric as fm

    for name in fm.__all__:
        getattr(fm, name)
    for module in LOADED:
        importlib.import_module(module)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--verbs", default="", help="separated by commas; else all")
    parser.add_argument("--faults", default="", help="separated by semicolons; else all")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--tiny", type=Path, help="a folder for the inputs, to save time")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if uncovered():
        sys.exit(f"no row, or no verb: {', '.join(sorted(uncovered()))}; see faults.py")
    faults = [
        name for name in FAULTS if not arguments.faults or name in arguments.faults.split(";")
    ]
    wanted = arguments.verbs.split(",") if arguments.verbs else []
    chosen = [row for row in rows() if not wanted or row.verb in wanted]
    began = time.time()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, postgresql() as server:
        place = Path(folder).resolve()
        os.environ["MPLCONFIGDIR"] = str(place / "matplotlib")
        tiny = Tiny(arguments.tiny or place / "tiny")
        # In another process, so that this one starts no threads before it forks.
        made = multiprocessing.get_context("spawn").Process(target=make_all, args=(tiny.folder,))
        made.start()
        made.join()
        _load_code()
        _shared["postgresql"] = server
        jobs = [(row, faults, tiny, place / f"row-{number}") for number, row in enumerate(chosen)]
        with multiprocessing.get_context("fork").Pool(arguments.workers) as pool:
            results: dict[str, dict[str, Cell]] = {}
            for name, cells in pool.imap_unordered(try_row, jobs, chunksize=1):
                results[name] = cells
                known = {n: {f: asdict(c) for f, c in row.items()} for n, row in results.items()}
                arguments.output.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
    results = {row.name: results[row.name] for row in chosen}
    text = table(results, faults, (time.time() - began) / 60)
    arguments.output.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    return int(any(not cell.ok for row in results.values() for cell in row.values()))


if __name__ == "__main__":
    sys.exit(main())
