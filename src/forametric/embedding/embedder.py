"""Compute the embeddings of images; `forametric.identification` names them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from forametric._typing import FloatArray, Pixels
from forametric.data.embeddings import Embeddings, skipped_table
from forametric.embedding.runtime import Runtime
from forametric.errors import ModelError
from forametric.images import load_images
from forametric.images.statistics import image_statistics
from forametric.utils.progress import bar

BATCH_SIZE = 1024  # images held in memory at once
Loaded = tuple[Pixels, FloatArray, list[int], dict[int, str]]


@dataclass(frozen=True, eq=False)
class Embedder:
    """A network that is ready to run, and the parts of its vectors.

    Attributes
    ----------
    runtime : Runtime
        OpenVINO or PyTorch.
    image_size : int
        Side of the square input in pixels.
    dimensions : int
        Length of a vector.
    n_classes : int
        Width of the class head; 0 for a network without one.
    projection_dim : int
        Width of the trained projection; the remaining dimensions are whitened backbone features.
        0 for vectors of one part.
    origin : dict of str to str
        Written to every file of vectors: made_by, and model, the hash of the weights.
    """

    runtime: Runtime
    image_size: int
    dimensions: int
    n_classes: int = 0
    projection_dim: int = 0
    origin: dict[str, str] = field(default_factory=dict)

    def embed_inputs(
        self, inputs: Pixels, *, progress: str = "embedding"
    ) -> tuple[FloatArray, FloatArray]:
        """Embed preprocessed images of shape (n, image_size, image_size, 3).

        Returns vectors (n, dimensions) and the class head's probabilities (n, classes).
        """
        with bar(progress, len(inputs)) as advance:
            return self._run(inputs, advance)

    def embed_images(
        self,
        images: Sequence[Path | Pixels],
        table: pd.DataFrame | None = None,
        *,
        progress: str = "embedding",
    ) -> Embeddings:
        """Decode, preprocess and embed images; unreadable files are listed in `skipped`.

        Parameters
        ----------
        images : sequence of Path or ndarray of uint8
            Files, or pixels of shape (height, width, 3).
        table : DataFrame, optional
            What is known of each image, in the same order, with at least the column `image`.
        """
        parts = list(self.embed_in_batches(images, table, progress=progress))
        return Embeddings(
            pd.concat([part.table for part in parts], ignore_index=True),
            np.concatenate([part.vectors for part in parts]),
            np.concatenate([part.class_probabilities for part in parts]),
            pd.concat([part.skipped for part in parts], ignore_index=True),
            np.concatenate([part.rows for part in parts]),
            self.projection_dim,
            self.origin,
            statistics=np.concatenate([part.statistics for part in parts]),
        )

    def embed_in_batches(
        self,
        images: Sequence[Path | Pixels],
        table: pd.DataFrame | None = None,
        *,
        batch_size: int = BATCH_SIZE,
        progress: str = "embedding",
    ) -> Iterator[Embeddings]:
        """As `embed_images`, in batches of `batch_size` images.

        While a batch is embedded the next is decoded. Memory does not grow with the number of
        images.
        """
        if table is None:
            table = pd.DataFrame({"image": [str(path) for path in images]}, dtype=object)
        starts = range(0, len(images), batch_size)
        with bar(progress, len(images)) as advance, ThreadPoolExecutor(1) as ahead:

            def read(start: int) -> Future[Loaded]:
                part = images[start : start + batch_size]
                return ahead.submit(_load, part, self.image_size)

            loading = read(0)
            for start in starts or (0,):
                inputs, statistics, readable, failures = loading.result()
                loading = read(start + batch_size)
                advance(len(failures))
                vectors, probabilities = self._run(inputs, advance)
                rows = np.array([start + i for i in readable], np.int64)
                names = table["image"].astype(str)
                yield Embeddings(
                    table.iloc[rows].reset_index(drop=True),
                    vectors,
                    probabilities,
                    skipped_table([(names.iloc[start + i], why) for i, why in failures.items()]),
                    rows,
                    self.projection_dim,
                    self.origin,
                    statistics=statistics,
                )

    def _run(self, inputs: Pixels, advance: Callable[[int], None]) -> tuple[FloatArray, FloatArray]:
        if len(inputs):
            vectors, probabilities = self.runtime.run(inputs, advance)
            if not (np.isfinite(vectors).all() and np.isfinite(probabilities).all()):
                raise ModelError(
                    "the network gives values that are not finite numbers: the model is damaged; "
                    "copy it again, or train it with lower rates."
                )
            return vectors, probabilities
        return (
            np.zeros((0, self.dimensions), np.float32),
            np.zeros((0, self.n_classes), np.float32),
        )


def _load(images: Sequence[Path | Pixels], size: int) -> Loaded:
    inputs, readable, failures = load_images(images, size, progress="")
    return inputs, image_statistics(inputs), readable, failures
