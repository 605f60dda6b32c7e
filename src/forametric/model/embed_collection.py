"""Embed a collection into a file, in parts, so that a killed run resumes with what is missing.

A part is a file of embeddings of `BATCH_SIZE` specimens, with a JSON file next to it: the images
that could not be read, and a stamp of the image files that tells a later run whether they are still
the same.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forametric._typing import PathLike
from forametric.data.collection import Collection, inside
from forametric.data.embeddings import (
    LISTS,
    Embeddings,
    join_vectors,
    read_embedded,
    skipped_table,
    write_vectors,
)
from forametric.data.inputs import check_output_file
from forametric.data.sources import TABLE_COLUMNS, open_collection
from forametric.embedding.embedder import BATCH_SIZE
from forametric.errors import InputError
from forametric.images.statistics import STATISTICS
from forametric.model.model import Model
from forametric.utils.files import read_json, write_json
from forametric.utils.outputs import remove_working_folder, resumable_folder


@dataclass(frozen=True)
class Part:
    """Some specimens of a collection, and the file that their vectors go into."""

    file: Path
    specimens: pd.DataFrame
    images: Path

    def paths(self) -> list[Path]:
        """The image files."""
        return [inside(self.images, str(image)) for image in self.specimens["image"]]

    @property
    def table(self) -> pd.DataFrame:
        """What is known of each image, as `Embeddings.table` holds it."""
        return self.specimens[list(TABLE_COLUMNS)].reset_index(drop=True)

    @property
    def notes(self) -> Path:
        """The JSON file next to it: stamp, skipped (image to reason)."""
        return self.file.with_suffix(".json")

    def is_done(self) -> bool:
        """Whether an earlier run has made it, from image files that are still the same."""
        made = self.file.is_file() and self.notes.is_file()
        return made and bool(read_json(self.notes)["stamp"] == stamp(self.paths()))

    def write(self, embeddings: Embeddings, stamped: str) -> None:
        """Write the embeddings of `paths()`."""
        table = embeddings.table
        write_vectors(
            self.file,
            table["id"].astype(str).tolist(),
            embeddings.vectors,
            {name: table[name].tolist() for name in ("taxon", "sample")},
            embeddings.origin,
            embeddings.class_probabilities,
            embeddings.statistics,
        )
        skipped = dict(zip(embeddings.skipped["image"], embeddings.skipped["reason"], strict=True))
        write_json(self.notes, {"stamp": stamped, "skipped": skipped})


def embed_to_file(
    model: Model,
    collection: Collection | PathLike,
    output: PathLike,
    *,
    overwrite: bool = False,
    batch_size: int = BATCH_SIZE,
) -> pd.DataFrame:
    """Embed a collection into a Parquet file of id, taxon, sample and vector.

    Finished parts are kept in `OUTPUT.unfinished`. They are used again only for the same model,
    specimens and image files (by size and time). Memory does not grow with the collection.

    Returns
    -------
    DataFrame
        The images that could not be read: image, reason.

    Raises
    ------
    InputError
        When none can be read, or the output exists.
    """
    output, specimens = Path(output), open_collection(collection)
    sources = [None if isinstance(collection, Collection) else collection, specimens, model.folder]
    check_output_file(output, overwrite, *sources)
    run = run_settings(model, specimens, batch_size)
    with resumable_folder(output, run, overwrite) as work:
        parts = parts_of(specimens, work, batch_size)
        left = [part for part in parts if not part.is_done()]
        paths = [part.paths() for part in left]
        stamps = [stamp(some) for some in paths]  # before the images are read
        # Every part but the last is a whole batch, so the embedder's batches are these parts.
        made = model.embedder.embed_in_batches(
            [path for some in paths for path in some],
            pd.concat([part.table for part in left], ignore_index=True) if left else None,
            batch_size=batch_size,
        )
        for part, stamped, embeddings in zip(left, stamps, made, strict=False):
            part.write(embeddings, stamped)
        skipped = skipped_in(parts)
        join_vectors([part.file for part in parts], work / "whole.parquet")
        os.replace(work / "whole.parquet", output)
        remove_working_folder(output)
    return skipped


def embeddings_of(model: Model, collection: Collection, path: PathLike | None = None) -> Embeddings:
    """A collection's embeddings: made now, or read from what `forametric embed` wrote for it.

    Raises
    ------
    InputError
        When the file is another model's, or of another collection.
    """
    if path is None:
        return model.embed(collection)
    table, *lists = read_embedded(Path(path), model.weights_sha256)
    if table["id"].duplicated().any():
        twice = table["id"][table["id"].duplicated()].iloc[0]
        raise InputError(f"{path} has two vectors of the specimen {twice}; make it again.")
    place = pd.Series(np.arange(len(table)), table["id"])
    found = place.reindex(collection.specimens["id"])
    if found.isna().all() or len(table) != found.notna().sum():
        raise InputError(
            f"{path} holds the vectors of another collection; make them again with: "
            f"forametric embed"
        )
    rows = np.flatnonzero(found.notna())
    order = found.dropna().to_numpy(dtype=int)
    if (order != np.arange(len(table))).any():
        lists = [numbers[order] for numbers in lists]
    vectors, probabilities, statistics = lists
    specimens = collection.specimens[list(TABLE_COLUMNS)]
    missing = specimens["image"].iloc[np.flatnonzero(found.isna())]
    return Embeddings(
        specimens.iloc[rows].reset_index(drop=True),
        vectors,
        probabilities,
        skipped_table([(str(name), "has no vector: it could not be read") for name in missing]),
        rows,
        model.card.projection_dim,
        model.embedder.origin,
        statistics=statistics,
    )


def run_settings(
    model: Model, collection: Collection, batch_size: int = BATCH_SIZE
) -> dict[str, Any]:
    """The settings of a run: its parts are of no use for another model or other specimens."""
    columns = collection.specimens[list(TABLE_COLUMNS)].astype(str)
    hashed = int(pd.util.hash_pandas_object(columns, index=False).sum())
    return {
        "model": model.weights_sha256,
        "specimens": hashed,
        "batch_size": batch_size,
        "columns": [*LISTS, *STATISTICS],
    }


def parts_of(collection: Collection, folder: Path, batch_size: int = BATCH_SIZE) -> list[Part]:
    """The parts in which a collection is embedded, with their files in a folder."""
    table = collection.specimens
    return [
        Part(
            folder / f"part-{start:09}.parquet",
            table.iloc[start : start + batch_size],
            collection.images,
        )
        for start in range(0, len(table), batch_size)
    ]


def skipped_in(parts: Sequence[Part]) -> pd.DataFrame:
    """The images that could not be read; `InputError` when none could."""
    skipped: dict[str, str] = {}
    for part in parts:
        skipped |= read_json(part.notes)["skipped"]
    number = sum(len(part.specimens) for part in parts)
    if len(skipped) == number:
        raise InputError(f"none of the {number} images can be read.")
    return skipped_table(list(skipped.items()))


def stamp(paths: Sequence[Path]) -> str:
    """A hash of the sizes and times of files."""
    seen = hashlib.sha256()
    for path in paths:
        try:
            state = path.stat()
            seen.update(f"{state.st_size} {state.st_mtime_ns}\n".encode())
        except OSError:
            seen.update(b"missing\n")
    return seen.hexdigest()
