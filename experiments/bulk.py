"""How long import and check take, and how much memory, at several numbers of simulated shells.

python experiments/bulk.py 3464 34640
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def timed(*arguments: object) -> tuple[float, float]:
    """Run the command line; seconds, and the peak of its memory in GiB."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "forametric.cli", *map(str, arguments)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(running.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(map(str, arguments))} ended with {status}")
    return time.perf_counter() - start, used.ru_maxrss / 2**20


def measure(count: int, size: int) -> None:
    """Draw so many shells, import and check them, and print a line for each."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        seconds, _ = timed(
            "simulate", "--total", count, "--long-tail", "--size", size, "-o", folder / "shells"
        )
        print(f"{count} shells of {size} px: drawn and written at {count / seconds:.0f} a second")
        verbs = (
            ("import", folder / "shells" / "specimens.csv", "-o", folder / "collection"),
            ("check", folder / "collection", "-o", folder / "check"),
        )
        total = 0.0
        for verb in verbs:
            seconds, memory = timed(*verb)
            total += seconds
            print(f"  {verb[0]}: {seconds:.1f} s, peak of memory {memory:.2f} GiB", flush=True)
        print(f"  together: {total:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("counts", type=int, nargs="+")
    parser.add_argument("--size", type=int, default=224)
    asked = parser.parse_args()
    for count in asked.counts:
        measure(count, asked.size)
