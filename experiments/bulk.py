"""Time and memory of import and check, for several numbers of simulated shells.

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


def timed(*words: object) -> tuple[float, float]:
    """Run the command line; returns seconds, and the peak memory in GiB."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "forametric", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(map(str, words))} ended with {status}")
    return time.perf_counter() - start, usage.ru_maxrss / 2**20


def measure(count: int, size: int) -> None:
    """Simulate, import and check `count` shells, and print a line for each step."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        seconds, _ = timed(
            "simulate", "--total", count, "--long-tail", "--size", size, "-o", folder / "shells"
        )
        print(f"{count} shells of {size} px: simulated at {count / seconds:.0f} per second")
        verbs = (
            ("import", folder / "shells" / "specimens.csv", "-o", folder / "collection"),
            ("check", folder / "collection", "-o", folder / "check"),
        )
        total = 0.0
        for verb in verbs:
            seconds, memory = timed(*verb)
            total += seconds
            print(f"  {verb[0]}: {seconds:.1f} s, peak memory {memory:.2f} GiB", flush=True)
        print(f"  together: {total:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", type=int, nargs="+")
    parser.add_argument("--size", type=int, default=224)
    arguments = parser.parse_args()
    for count in arguments.counts:
        measure(count, arguments.size)
