"""Speed of the review page with 35,000, 100,000 and 1,000,000 specimens, and with 50 reviewers.

Specimens are copies of those of a project, with noise added to their vectors and map coordinates.
The results are for the server and the page only.

    python experiments/review.py PROJECT --specimens 35000 -o review.json

PROJECT is a review project (`forametric review`) that has been opened once. Needs Chromium and
`pip install -e '.[dev]'`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd

from forametric.analysis.morphospace import Morphospace
from forametric.data.collection import Collection
from forametric.data.embeddings import write_vectors
from forametric.review.project import Project, embed_project
from forametric.utils.files import write_json

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.support.serving import running

TOKEN = "a-token-for-measuring"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
FLAGS = [
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist", "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
# The time from the key that decides on a specimen until the next one's image has loaded.
NEXT = """() => new Promise((done) => {
  const shown = () => document.querySelector('section[aria-label="Specimen"] img');
  const before = shown().src, begun = performance.now();
  document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true }));
  const look = () => {
    const now = shown();
    if (now && now.src !== before && now.complete) done(performance.now() - begun);
    else requestAnimationFrame(look);
  };
  look();
})"""


def multiply(project: Project, count: int, folder: Path) -> Path:
    """Write a project of `count` specimens, with its cached vectors and map."""
    small, rng = embed_project(project), np.random.default_rng(0)
    of = rng.integers(0, len(small), count)
    table = small.collection.specimens.iloc[of].reset_index(drop=True)
    table["id"] = [f"{n:016x}" for n in range(count)]
    table["sample"] = [f"core {n // 400}" for n in range(count)]
    images, info = small.collection.images, small.collection.info
    core = Collection(table, images, info).save(folder / "core")
    large = Project.create(
        folder / "project", core, project.model, reference_images=project.reference_images
    )
    cache = large.folder / "cache" / small.model.weights_sha256[:16]
    cache.mkdir(parents=True)
    vectors = small.embeddings.vectors[of]
    for start in range(0, count, 50_000):
        part = vectors[start : start + 50_000]
        part += rng.normal(0, 0.01, part.shape).astype(np.float32)
    columns = {name: table[name].tolist() for name in ("taxon", "sample")}
    ids = table["id"].tolist()
    write_vectors(
        cache / "vectors.parquet",
        ids,
        vectors,
        columns,
        small.model.embedder.origin,
        small.embeddings.class_probabilities[of],
    )
    coordinates = small.morphospace.coordinates_
    noise = rng.normal(0, float(coordinates.std()) / 20, (count, 2))
    morphospace = Morphospace()
    morphospace.ids_, morphospace.vectors_ = ids, vectors
    morphospace.coordinates_ = (coordinates[of] + noise).astype(np.float32)
    morphospace.perplexity_, morphospace.is_landmark_ = 30.0, np.ones(count, bool)
    morphospace.save(cache / "map.parquet")
    hashed = table[["id", "image"]].astype(str)
    run = {"specimens": int(pd.util.hash_pandas_object(hashed, index=False).sum())}
    write_json(cache / "cache.json", {"run": run, "skipped": []})
    return large.folder


def memory(process: int) -> float:
    """The peak memory of a process in GiB."""
    text = Path(f"/proc/{process}/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) / 2**20


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Median, 95th percentile and maximum in milliseconds."""
    ordered = sorted(1000 * s for s in seconds)
    return {
        "median": round(statistics.median(ordered), 1),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 1),
        "most": round(ordered[-1], 1),
    }


def one_reviewer(address: str, count: int) -> dict[str, Any]:
    """Milliseconds of a decision, and of a request for the next twenty specimens."""
    decision, queue = [], []
    with httpx.Client(base_url=address, headers=HEADERS, timeout=600) as client:
        while len(decision) < count:
            started = time.perf_counter()
            batch = client.get("/api/queue?reviewer=A&count=20").raise_for_status()
            queue.append(time.perf_counter() - started)
            for queued in batch.json()["specimens"]:
                verdict = {"verdict": "taxon", "taxon": queued["suggested"]}
                body = {"reviewer": "A", "decisions": [{"specimen": queued["id"], **verdict}]}
                started = time.perf_counter()
                client.post("/api/decisions", json=body).raise_for_status()
                decision.append(time.perf_counter() - started)
    return {"decision_ms": quantiles(decision), "queue_of_20_ms": quantiles(queue)}


def many_reviewers(
    address: str, clients: int, seconds: float, token: str = TOKEN
) -> dict[str, Any]:
    """Requests, errors and milliseconds of simultaneous clients that browse, decide and undo."""
    end, taken, errors = time.monotonic() + seconds, list[float](), list[str]()

    def work(number: int) -> None:
        reviewer = {"reviewer": f"reviewer {number}"}
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=address, headers=headers, timeout=60) as client:
            while time.monotonic() < end:
                requests: list[tuple[str, str, Any]] = []
                try:
                    batch = client.get("/api/queue", params=reviewer | {"count": 5})
                    for queued in batch.json()["specimens"]:
                        decision = {"specimen": queued["id"], "verdict": "unlisted"}
                        requests += [
                            ("GET", f"/api/image?specimen={queued['id']}&size=320", None),
                            ("POST", "/api/decisions", reviewer | {"decisions": [decision]}),
                        ]
                    requests += [
                        ("POST", "/api/decisions/undo", reviewer),
                        ("GET", "/api/status", None),
                        ("GET", "/api/specimens?text=core 1", None),
                    ]
                    for method, path, body in requests:
                        started = time.perf_counter()
                        answer = client.request(method, path, json=body)
                        taken.append(time.perf_counter() - started)
                        if answer.status_code >= 400:
                            problem = f"{answer.status_code} {answer.text[:100]}"
                            errors.append(f"{method} {path}: {problem}")
                except httpx.HTTPError as error:
                    errors.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "clients": clients,
        "seconds": seconds,
        "requests": len(taken),
        "errors": errors[:20],
        "ms": quantiles(taken) if taken else None,
    }


def frames(address: str, count: int) -> dict[str, Any]:
    """Seconds until the map is drawn, and frame times while it is panned and zoomed."""
    from playwright.sync_api import sync_playwright

    executable = (
        os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    )
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=executable, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(300_000)
        begun = time.monotonic()
        page.goto(f"{address}/login")
        page.get_by_label("token that the server was given").fill(TOKEN)
        page.get_by_role("button", name="Log in").click()
        page.get_by_label("Your name").fill("A")
        page.keyboard.press("Enter")
        page.wait_for_function(f"window.forametricMap?.count() === {count}")
        page.get_by_text(re.compile("^(Drawing|Laying out)")).wait_for(state="detached")
        page.wait_for_function("window.forametricMap.plot.get('isPointsDrawn')")
        opened = time.monotonic() - begun
        page.wait_for_timeout(2000)
        page.evaluate(
            """() => { window.taken = []; let last = performance.now();
            const tick = (now) => { window.taken.push(now - last); last = now;
            requestAnimationFrame(tick); }; requestAnimationFrame(tick); }"""
        )
        box = page.locator("canvas.points").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        result: dict[str, Any] = {"seconds_to_map": round(opened, 2)}
        for name, wheel in (("whole", 0), ("zoomed", -600)):
            if wheel:
                page.mouse.wheel(0, wheel)
                page.wait_for_timeout(1500)
            page.mouse.move(x, y)
            page.mouse.down()
            page.evaluate("() => { window.taken = []; }")
            for step in range(60):
                page.mouse.move(x + 3 * step - 90, y + 2 * (step % 30))
                page.wait_for_timeout(15)
            taken = page.evaluate("window.taken")
            page.mouse.up()
            page.wait_for_timeout(800)
            result[f"frame_ms_{name}"] = quantiles([t / 1000 for t in taken])
        page.get_by_role("link", name="Review", exact=True).click()
        page.get_by_role("button", name="Accept").wait_for()
        waits = []
        for _ in range(40):
            page.wait_for_timeout(700)
            waits.append(page.evaluate(NEXT))
        result["key_to_next_specimen_ms"] = quantiles([wait / 1000 for wait in waits])
        result["renderer"] = page.evaluate(
            """() => { const gl = document.createElement('canvas').getContext('webgl2');
            const say = gl.getExtension('WEBGL_debug_renderer_info');
            return say ? gl.getParameter(say.UNMASKED_RENDERER_WEBGL) : ''; }"""
        )
        browser.close()
    return result


def main() -> None:
    """Measure, and write the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("--specimens", type=int, default=35_000)
    parser.add_argument("--clients", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        project = Project.open(arguments.project)
        folder = multiply(project, arguments.specimens, Path(temporary))
        started = time.monotonic()
        with running(folder, TOKEN) as (address, process):
            result: dict[str, Any] = {
                "specimens": arguments.specimens,
                "seconds_to_open": round(time.monotonic() - started, 1),
            }
            with httpx.Client(base_url=address, headers=HEADERS, timeout=600) as client:
                for name, path in (
                    ("map", "/api/map"),
                    ("names", "/api/column?name=taxon"),
                    ("sheet_first", "/api/sheets/3"),
                    ("sheet_again", "/api/sheets/3"),
                    ("search", "/api/specimens?text=core 1"),
                    ("status", "/api/status"),
                ):
                    before = time.perf_counter()
                    content = client.get(path).raise_for_status().content
                    seconds = round(time.perf_counter() - before, 3)
                    result[name] = {"seconds": seconds, "MiB": round(len(content) / 2**20, 2)}
            result |= one_reviewer(address, 100)
            result |= frames(address, arguments.specimens)
            if arguments.clients:
                result["many"] = many_reviewers(address, arguments.clients, arguments.seconds)
            result["peak_GiB"] = round(memory(process.pid), 2)
    write_json(arguments.output, result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
