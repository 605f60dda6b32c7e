"""Time and memory of identifying a million specimens and of grouping many.

python experiments/scale.py MODEL                     # a million names, groups of 20 to 200,000
python experiments/scale.py MODEL --names 100000 --groups 20 2000

Embeddings are drawn around the model's references and no image is decoded: the figures are the cost
of identifying and grouping after embedding.
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
from forametric.model.identify import identify_images
from forametric.model.model import Model


def draw_embeddings(model: Model, table: pd.DataFrame, rng: np.random.Generator) -> Embeddings:
    """Embeddings for a table: references with noise, and equal class probabilities."""
    count, n_classes = len(table), len(model.card.classes)
    rows = rng.integers(len(model.references.ids), size=count)
    noise = rng.normal(0, 0.02, (count, model.card.dimensions))
    vectors = (model.references.vectors[rows] + noise).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    probabilities = np.full((count, n_classes), 1 / max(1, n_classes), np.float32)
    width = model.card.projection_dim
    return Embeddings(table, vectors, probabilities, rows=np.arange(count), projection_dim=width)


class DrawnEmbedder:
    """In place of an embedder: draws embeddings and reads no images."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def embed_in_batches(
        self, images: list[Path], table: pd.DataFrame, *, batch_size: int, progress: str
    ) -> Iterator[Embeddings]:
        rng = np.random.default_rng(0)
        for start in range(0, len(images), batch_size):
            part = table.iloc[start : start + batch_size].reset_index(drop=True)
            yield draw_embeddings(self.model, part, rng)


def names(model: Model, count: int) -> None:
    """Identify `count` specimens."""
    images = [f"core/specimen_{i:07}.png" for i in range(count)]
    identified = identify_images(DrawnEmbedder(model), model.identifier, images)  # type: ignore[arg-type]
    identified.to_csv("/dev/null", overwrite=True)
    assert len(identified) == count


def groups(model: Model, count: int) -> None:
    """Group `count` specimens."""
    table = pd.DataFrame({"image": [str(i) for i in range(count)]})
    morphotypes = discover(draw_embeddings(model, table, np.random.default_rng(0)), model)
    print(f"{len(morphotypes.groups)} groups", end=", ")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--names", type=int, nargs="*", default=[1_000_000])
    parser.add_argument("--groups", type=int, nargs="*", default=[20, 2000, 20_000, 200_000])
    parser.add_argument("--one", choices=("names", "groups"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:  # in a separate process, to measure its peak memory
        model, count = Model.load(arguments.model), (arguments.names or arguments.groups)[0]
        start = time.perf_counter()
        (names if arguments.one == "names" else groups)(model, count)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{time.perf_counter() - start:.1f} s, peak memory {memory:.2f} GiB")
    else:
        for part in ("names", "groups"):
            for count in getattr(arguments, part):
                print(f"{count} {part}:", end=" ", flush=True)
                one = ["--one", part, f"--{part}", str(count)]
                other = ["--groups"] if part == "names" else ["--names"]
                command = [sys.executable, __file__, str(arguments.model), *one, *other]
                subprocess.run(command, check=True)
