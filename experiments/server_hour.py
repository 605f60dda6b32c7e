"""A long run of the review server: reviewers at reading speed, for an hour, at 100,000 specimens.

Specimens are copies of those of a project, as in `experiments/review.py`. Each reviewer asks for a
batch of the queue, looks at each image for some seconds, and decides; the page's question for the
state of the server comes every two seconds. Reports requests, errors, milliseconds of each kind of
request, the memory of the server minute by minute, and whether every acknowledged decision is in
the store.

    python experiments/server_hour.py PROJECT --minutes 60 -o server-hour.json

PROJECT is a review project (`forametric review`) that has been opened once.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from experiments.review import HEADERS, TOKEN, multiply, quantiles
from forametric.review.project import Project
from forametric.review.store import DecisionStore
from forametric.utils.files import write_json
from tests.support.serving import running

LOOK_SECONDS = (2.0, 6.0)  # at a specimen, at the least and at the most
POLL_SECONDS = 2.0  # as the page asks
BATCH = 20


class Measured:
    """What all reviewers have seen so far."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.errors: list[str] = []
        self.acknowledged = 0

    def add(self, kind: str, seconds: float, error: str = "") -> None:
        """Note a request."""
        with self.lock:
            self.seconds[kind].append(seconds)
            if error:
                self.errors.append(error)
            elif kind == "decision":
                self.acknowledged += 1


class Reviewer(threading.Thread):
    """One reviewer, who works until a moment."""

    def __init__(self, number: int, address: str, end: float, measured: Measured) -> None:
        super().__init__(name=f"reviewer {number}", daemon=True)
        self.end, self.measured = end, measured
        self.random = random.Random(number)
        self.client = httpx.Client(base_url=address, headers=HEADERS, timeout=60)
        self.polled = 0.0

    def run(self) -> None:
        """Review one batch after another."""
        self._wait(self.random.uniform(0, 10))  # they do not all begin at once
        while time.monotonic() < self.end:
            query = {"reviewer": self.name, "count": BATCH}
            batch = self._request("queue", "GET", "/api/queue", params=query)
            if batch is None:
                self._wait(POLL_SECONDS)
                continue
            for specimen in batch.json()["specimens"]:
                if time.monotonic() >= self.end:
                    break
                self._review(specimen)

    def _review(self, specimen: dict[str, Any]) -> None:
        query = {"specimen": specimen["id"], "size": "640"}
        self._request("image", "GET", "/api/image", params=query)
        self._wait(self.random.uniform(*LOOK_SECONDS))
        verdict = {"verdict": "taxon", "taxon": specimen["suggested"]}
        if self.random.random() < 0.1:
            verdict = {"verdict": "unlisted", "taxon": ""}
        body = {"reviewer": self.name, "decisions": [{"specimen": specimen["id"], **verdict}]}
        self._request("decision", "POST", "/api/decisions", json=body)

    def _wait(self, seconds: float) -> None:
        """Look at the screen; the page asks for the state meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if time.monotonic() - self.polled > POLL_SECONDS:
                self.polled = time.monotonic()
                self._request("status", "GET", "/api/status")
            time.sleep(max(0.0, min(left, 0.5)))

    def _request(self, kind: str, method: str, path: str, **content: Any) -> httpx.Response | None:
        started = time.perf_counter()
        try:
            answer = self.client.request(method, path, **content)
            error = "" if answer.is_success else f"{answer.status_code} {answer.text[:200]}"
        except httpx.HTTPError as problem:
            error = f"{type(problem).__name__}: {problem}"
        self.measured.add(kind, time.perf_counter() - started, f"{kind}: {error}" if error else "")
        return None if error else answer


def resident(process: int) -> float:
    """The present memory of a process in MiB."""
    text = Path(f"/proc/{process}/status").read_text()
    return round(int(text.split("VmRSS:")[1].split()[0]) / 1024, 1)


def review(address: str, process: int, reviewers: int, minutes: float) -> dict[str, Any]:
    """Let reviewers work for some minutes; what they saw, and the server's memory."""
    measured, end = Measured(), time.monotonic() + 60 * minutes
    memory = [resident(process)]
    threads = [Reviewer(n, address, end, measured) for n in range(reviewers)]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        time.sleep(min(60, max(0.0, end - time.monotonic())))
        memory.append(resident(process))
        print(f"{len(memory) - 1} min, {memory[-1]} MiB, {len(measured.errors)} errors", flush=True)
    for thread in threads:
        thread.join(120)
    return {
        "reviewers": reviewers,
        "minutes": minutes,
        "requests": sum(map(len, measured.seconds.values())),
        "errors": len(measured.errors),
        "first_errors": measured.errors[:20],
        "ms": {
            kind: {"requests": len(seconds), **quantiles(seconds)}
            for kind, seconds in sorted(measured.seconds.items())
        },
        "memory_MiB": memory,
        "acknowledged": measured.acknowledged,
    }


def main() -> None:
    """Run, and write the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("--specimens", type=int, default=100_000)
    parser.add_argument("--reviewers", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = multiply(Project.open(arguments.project), arguments.specimens, Path(temporary))
        started = time.monotonic()
        with running(folder, TOKEN) as (address, process):
            opened = round(time.monotonic() - started, 1)
            found = review(address, process.pid, arguments.reviewers, arguments.minutes)
        with_store = DecisionStore.open(folder / "decisions.sqlite")
        result = {
            "specimens": arguments.specimens,
            "seconds_to_open": opened,
            **found,
            "recorded": len(with_store.history()),
        }
        with_store.close()
    write_json(arguments.output, result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
