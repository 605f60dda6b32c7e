"""Time and memory of running a model, compared with baselines, and by number of specimens.

python experiments/running.py MODEL COLLECTION                       # all, about half an hour
python experiments/running.py MODEL COLLECTION --parts search layout
python experiments/running.py --plot                                 # only plot earlier results

Results are written to experiments/results/running.json after each part, and plotted as a PNG next
to it. Each measurement runs in a separate process, to measure its peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from forametric._typing import FloatArray
from forametric.analysis.morphospace import Morphospace
from forametric.data.collection import Collection
from forametric.embedding.network import export_onnx
from forametric.embedding.runtime import OpenVinoRuntime
from forametric.identification.index import Index
from forametric.images import load_images
from forametric.model.embed_collection import embed_to_file
from forametric.model.model import Model

RESULTS = Path(__file__).parent / "results" / "running.json"
Row = dict[str, Any]


def vectors_like(model: Model, count: int) -> FloatArray:
    """`count` vectors, each between two references of a taxon, with a little noise."""
    rng = np.random.default_rng(0)
    references = model.references
    order = np.argsort(references.taxa.astype(str), kind="stable")
    of = np.unique(references.taxa.astype(str)[order], return_inverse=True)[1]
    first, size = np.searchsorted(of, of), np.bincount(of)[of]
    vectors = np.empty((count, references.vectors.shape[1]), np.float32)
    for start in range(0, count, 50_000):
        stop = min(start + 50_000, count)
        one = rng.integers(len(of), size=stop - start)
        other = first[one] + (rng.random(stop - start) * size[one]).astype(int)
        share = rng.random((stop - start, 1), dtype=np.float32)
        mixed = (
            share * references.vectors[order[one]] + (1 - share) * references.vectors[order[other]]
        )
        vectors[start:stop] = mixed + rng.normal(0, 0.01, mixed.shape)
    return vectors


def embedding(model: Model, collection: Collection, work: Path) -> Row:
    """Images per second: published procedure, the network alone, and from file to vector."""
    import timm
    import torch
    from PIL import Image

    paths = collection.paths()
    resnet = timm.create_model("resnet50", pretrained=False, num_classes=0).eval()
    some = paths[: 16 * 12]

    def published() -> None:
        with torch.inference_mode():
            for start in range(0, len(some), 16):
                batch = [
                    np.asarray(Image.open(p).convert("RGB").resize((224, 224)))
                    for p in some[start : start + 16]
                ]
                pixels = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).float() / 255
                resnet(pixels)

    published()
    slow = len(some) / _seconds(published)
    size, runtime = model.recipe.network.image_size, model.embedder.runtime
    images, _, _ = load_images(paths, size)
    runtime.run(images[:64], lambda n: None)
    alone = len(images) / _seconds(lambda: runtime.run(images, lambda n: None))
    whole = len(paths) / _seconds(lambda: embed_to_file(model, collection, work / "v.parquet"))
    # The published procedure has one view of an image, a default model four.
    export_onnx(model.network, 1, size, work / "once.onnx")
    one_view = OpenVinoRuntime(work / "once.onnx")
    model = replace(model, embedder=replace(model.embedder, runtime=one_view))
    one_view.run(images[:64], lambda n: None)
    once = len(images) / _seconds(lambda: one_view.run(images, lambda n: None))
    output = work / "once.parquet"
    whole_once = len(paths) / _seconds(lambda: embed_to_file(model, collection, output))
    return {
        "images": len(paths),
        "views": model.recipe.tta_views,
        "published_per_s": slow,
        "network_per_s": alone,
        "end_to_end_per_s": whole,
        "share_of_network": whole / alone,
        "times_published": whole / slow,
        "one_view_network_per_s": once,
        "one_view_end_to_end_per_s": whole_once,
        "one_view_times_published": whole_once / slow,
    }


def decoding(model: Model, collection: Collection, work: Path) -> Row:
    """Images per second from files and from JPEGs of 2,000 px, compared with Pillow."""
    from PIL import Image

    size = model.recipe.network.image_size
    big = []
    for number, path in enumerate(collection.paths()[:40]):
        image = Image.open(path).convert("RGB").resize((2000, 2000))
        image.save(work / f"{number}.jpg", quality=92)
        big.append(work / f"{number}.jpg")
    row: Row = {}
    for name, paths in (("own", collection.paths()[:2000]), ("jpeg_2000px", big)):

        def plainly(paths: list[Path] = paths) -> None:
            for path in paths:
                np.asarray(Image.open(path).convert("RGB").resize((size, size)))

        slow = len(paths) / _seconds(plainly)
        fast = len(paths) / _seconds(lambda p=paths: load_images(p, size, progress=""))  # type: ignore[misc]
        row |= {f"{name}_pillow_per_s": slow, f"{name}_per_s": fast, f"{name}_times": fast / slow}
    return row


def search(model: Model, count: int) -> Row:
    """1,000 queries among `count` vectors, compared with exact search by scikit-learn."""
    from sklearn.neighbors import NearestNeighbors

    # Ten million whole vectors do not fit in memory; their projection has 128 dimensions.
    vectors = vectors_like(model, min(count, 1_000_000))
    if count > len(vectors):
        vectors = np.ascontiguousarray(vectors[:, :128])
        rng = np.random.default_rng(1)
        more = np.empty((count, 128), np.float32)
        for start in range(0, count, len(vectors)):
            noise = rng.normal(0, 0.02, vectors.shape).astype(np.float32)
            more[start : start + len(vectors)] = vectors + noise
        vectors = more
    queries = vectors[:: count // 1000][:1000] + np.float32(0.001)
    started = time.perf_counter()
    index = Index(vectors)
    built = time.perf_counter() - started
    index.nearest(queries[:10], 10)
    seconds = _seconds(lambda: index.nearest(queries, 10))
    row: Row = {
        "vectors": count,
        "dimensions": vectors.shape[1],
        "build_s": built,
        "queries_1000_s": seconds,
        "recall": index.recall,
        "gib": _peak(),
    }
    if count <= 1_000_000:
        brute = NearestNeighbors(n_neighbors=10, algorithm="brute").fit(vectors)
        row["sklearn_1000_s"] = 10 * _seconds(lambda: brute.kneighbors(queries[::10]))
        row["times"] = row["sklearn_1000_s"] / seconds
    return row


def layout(model: Model, count: int) -> Row:
    """A map of `count` vectors."""
    vectors = vectors_like(model, count)
    started = time.perf_counter()
    space = Morphospace().fit(vectors)
    row: Row = {"specimens": count, "seconds": time.perf_counter() - started}
    preserved = space.knn_preservation()
    row["laid_out"] = preserved["landmarks"]
    if "placed" in preserved:
        row["placed"] = preserved["placed"]
    return row | {"gib": _peak(), "chance": 10 / count}


def memory(model: Model, collection: Collection, work: Path, count: int) -> Row:
    """Peak memory of embedding `count` images: the collection's, repeated."""
    import pandas as pd

    times = -(-count // len(collection))
    table = pd.concat([collection.specimens] * times, ignore_index=True).iloc[:count]
    many = Collection(
        table.assign(id=[f"{i:09}" for i in range(count)]), collection.images, collection.info
    )
    seconds = _seconds(lambda: embed_to_file(model, many, work / "many.parquet"))
    return {"images": count, "gib": _peak(), "seconds": seconds, "per_s": count / seconds}


def startup(model: Path, collection: Collection, work: Path) -> Row:
    """Seconds of whole processes."""
    cli = [sys.executable, "-m", "forametric"]
    one = [*cli, "identify", str(model), str(collection.path(0)), "-o", str(work / "n.csv")]
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "import": [sys.executable, "-c", "import forametric"],
        "help": [*cli, "--help"],
        "identify_one_image": [*one, "--overwrite"],
    }
    row: Row = {}
    for name, command in commands.items():
        runs = [
            _seconds(lambda c=command: subprocess.run(c, check=True, capture_output=True))  # type: ignore[misc]
            for _ in range(4)
        ]
        row[f"{name}_s"] = float(np.median(runs[1:]))
    return row


SIZES: dict[str, list[int]] = {
    "search": [10_000, 100_000, 1_000_000, 10_000_000],
    "layout": [1000, 10_000, 35_000, 100_000, 1_000_000],
    "memory": [1000, 4000, 34_640],
}
PARTS = ("startup", "decoding", "embedding", "memory", "search", "layout")


def measure(part: str, model: Path, collection: Path, count: int) -> Row:
    """One measurement, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        work, opened = Path(folder), Collection.open(collection)
        if part == "startup":
            return startup(model, opened, work)
        loaded = Model.load(model)
        if part in ("search", "layout"):
            of_size: Callable[[Model, int], Row] = {"search": search, "layout": layout}[part]
            return of_size(loaded, count)
        if part == "memory":
            return memory(loaded, opened, work, count)
        return {"embedding": embedding, "decoding": decoding}[part](loaded, opened, work)


def machine() -> dict[str, str]:
    """The machine and the versions."""
    packages = ("forametric", "openvino", "torch", "faiss-cpu", "openTSNE", "scikit-learn", "numpy")
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    cpu = next((li.split(":")[1].strip() for li in lines if li.startswith("model name")), "?")
    return {
        "cpu": f"{cpu or platform.processor()}, {os.cpu_count()} cores",
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def plot(results: dict[str, Any]) -> None:
    """Plot time and memory against size."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    rows = results.get("search", [])
    size = [r["vectors"] for r in rows]
    left.loglog(size, [r["queries_1000_s"] for r in rows], "o-", label="Forametric")
    slow = [r for r in rows if "sklearn_1000_s" in r]
    at = [r["vectors"] for r in slow]
    left.loglog(at, [r["sklearn_1000_s"] for r in slow], "s--", label="scikit-learn, exact")
    built = [r for r in rows if r["build_s"] > 0.01]  # an exact search has no index to build
    at = [r["vectors"] for r in built]
    left.loglog(at, [r["build_s"] for r in built], "^:", color="grey", label="building the index")
    left.set(xlabel="vectors", ylabel="seconds", title="1,000 queries")
    rows = results.get("layout", [])
    size = [r["specimens"] for r in rows]
    middle.loglog(size, [r["seconds"] for r in rows], "o-", label="map")
    middle.set(xlabel="specimens", ylabel="seconds", title="Morphospace")
    preserved = middle.twinx()
    preserved.semilogx(size, [r["laid_out"] for r in rows], "^:", color="tab:green")
    preserved.set_ylabel("ten nearest preserved (landmarks)", color="tab:green")
    preserved.set_ylim(0, 1)
    rows = results.get("memory", [])
    right.semilogx([r["images"] for r in rows], [r["gib"] for r in rows], "o-")
    right.set(xlabel="images", ylabel="GiB", title="Peak memory, embedding")
    right.set_ylim(0, 1.2 * max((r["gib"] for r in rows), default=1))
    left.legend(fontsize=7)
    for axis in (left, middle, right):
        axis.grid(alpha=0.3)
    figure.savefig(RESULTS.with_suffix(".png"), dpi=110)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _peak() -> float:
    """The peak memory of this process in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("collection", type=Path, nargs="?")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--most", type=int, default=10**7, help="skip larger sizes")
    parser.add_argument("--plot", action="store_true", help="only plot earlier results")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        row = measure(arguments.parts[0], arguments.model, arguments.collection, arguments.one)
        print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}))
        return
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for part in () if arguments.plot else arguments.parts:
        rows = []
        for count in [c for c in SIZES.get(part, [0]) if c <= arguments.most]:
            inputs = [str(arguments.model), str(arguments.collection)]
            command = [sys.executable, __file__, *inputs, "--parts", part, "--one", str(count)]
            printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            rows.append(json.loads(printed.splitlines()[-1]))
            print(part, rows[-1], flush=True)
        results |= {part: rows, "machine": machine()}
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    plot(results)


if __name__ == "__main__":
    main()
