"""How long names for a million specimens and groups of many take, and how much memory.

python experiments/scale.py MODEL                     # a million names, groups of 20 to 200,000
python experiments/scale.py MODEL --names 100000 --groups 20 2000

Embeddings are drawn around the model's references, so that no image is decoded: this is what naming
and grouping cost on top of embedding.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from forametric.analysis.discovery import discover
from forametric.data.embeddings import Embeddings
from forametric.model import identify
from forametric.model.model import CHUNK, Model


def drawn(model: Model, count: int, rng: np.random.Generator) -> Embeddings:
    """So many vectors, each a reference with noise, and even class probabilities."""
    rows = rng.integers(len(model.references.ids), size=count)
    noise = rng.normal(0, 0.02, (count, model.card.dimensions))
    vectors = (model.references.vectors[rows] + noise).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    head = np.full((count, len(model.classes_)), 1 / len(model.classes_), np.float32)
    return Embeddings(list(range(count)), vectors, head, {})


def names(model: Model, count: int) -> None:
    """Name so many specimens as `identify` does, but for the images."""
    rng = np.random.default_rng(0)

    def embedded(paths: list[Path], **settings: object) -> Iterator[Embeddings]:
        for start in range(0, count, CHUNK):
            part = drawn(model, min(CHUNK, count - start), rng)
            yield Embeddings([start + i for i in part.rows], part.vectors, part.head, {})

    listed = pd.DataFrame({"image": [f"core/shell_{i:07}.png" for i in range(count)]})
    identify._listed = lambda images: (listed, [])  # type: ignore[assignment]
    model.embed_in_batches = embedded  # type: ignore[method-assign, assignment]
    table = identify.identify(model, "").table
    table.to_csv("/dev/null", index=False)
    assert len(table) == count


def groups(model: Model, count: int) -> None:
    """Group so many specimens."""
    vectors = drawn(model, count, np.random.default_rng(0)).vectors
    found = discover(vectors, model.references, learned=model.learned)
    print(f"{len(found.groups)} groups", end=", ")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--names", type=int, nargs="*", default=[1_000_000])
    parser.add_argument("--groups", type=int, nargs="*", default=[20, 2000, 20_000, 200_000])
    parser.add_argument("--one", choices=("names", "groups"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:  # in a process of its own, whose peak of memory is its own
        model, count = Model.load(asked.model), (asked.names or asked.groups)[0]
        start = time.perf_counter()
        (names if asked.one == "names" else groups)(model, count)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{time.perf_counter() - start:.1f} s, peak of memory {memory:.2f} GiB")
    else:
        for what in ("names", "groups"):
            for count in getattr(asked, what):
                print(f"{count} {what}:", end=" ", flush=True)
                one = ["--one", what, f"--{what}", str(count)]
                other = ["--groups"] if what == "names" else ["--names"]
                command = [sys.executable, __file__, str(asked.model), *one, *other]
                subprocess.run(command, check=True)
