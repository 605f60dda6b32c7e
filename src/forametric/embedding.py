"""A collection's vectors in a file, made in parts, so that a killed run goes on with what is left.

A part is a file of vectors of up to `CHUNK` specimens, with a JSON beside it: the images that could
not be read, and a stamp of the image files, by which a later run sees that they are still the same.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from forametric import embedder
from forametric.collection import Collection, inside
from forametric.embedder import Embedder, Vectors
from forametric.errors import InputError
from forametric.files import read_json, refuse_existing, resumable_folder, write_json
from forametric.vectors import join_vectors, read_embedded, write_vectors


@dataclass(frozen=True)
class Part:
    """Some specimens of a collection, and the file that their vectors go into."""

    file: Path
    specimens: pd.DataFrame
    images: Path

    def paths(self) -> list[Path]:
        """Where the images lie."""
        return [inside(self.images, str(image)) for image in self.specimens["image"]]

    @property
    def notes(self) -> Path:
        """The JSON beside the file: stamp, failed (image to reason)."""
        return self.file.with_suffix(".json")

    def is_done(self) -> bool:
        """Whether an earlier run has made it, of image files that are still the same."""
        made = self.file.is_file() and self.notes.is_file()
        return made and bool(read_json(self.notes)["stamp"] == stamp(self.paths()))

    def write(self, got: Vectors, about: dict[str, str], stamped: str) -> None:
        """Write what the model gave for `paths()`."""
        rows = self.specimens.iloc[got.rows]
        columns = {name: rows[name].tolist() for name in ("taxon", "sample")}
        write_vectors(self.file, rows["id"].tolist(), got.vectors, columns, about, got.head)
        images = self.specimens["image"].astype(str)
        failed = {images.iloc[i]: reason for i, reason in got.failures.items()}
        write_json(self.notes, {"stamp": stamped, "failed": failed})


def embed_to_file(
    model: Embedder, collection: Collection, output: Path, *, overwrite: bool = False
) -> dict[str, str]:
    """Embed a collection into a Parquet file of id, taxon, sample and vector.

    Finished parts wait in `OUTPUT.unfinished`. They are used again only for the same model,
    specimens and image files (by size and time). Memory does not grow with the collection.

    Returns
    -------
    dict of str to str
        The images that could not be read, and why.

    Raises
    ------
    InputError
        When none can be read, or the output exists.
    """
    work, parts = begin(model, collection, output, overwrite)
    left = [part for part in parts if not part.is_done()]
    paths = [part.paths() for part in left]
    stamps = [stamp(some) for some in paths]  # before the images are read
    # Every part but the last is a whole chunk, so the model's chunks are these parts.
    made = model.embed_in_parts([path for some in paths for path in some]) if left else iter(())
    for number, (part, stamped, got) in enumerate(zip(left, stamps, made, strict=True)):
        part.write(_from_row(got, number * embedder.CHUNK), model.about, stamped)
    skipped = skipped_in(parts)
    join_vectors([part.file for part in parts], output)
    shutil.rmtree(work)
    return skipped


def vectors_of(model: Embedder, collection: Collection, path: Path | None = None) -> Vectors:
    """A collection's vectors: made now, or read from what `embed` wrote for it.

    Raises
    ------
    InputError
        When the file is another model's, or of another collection.
    """
    if path is None:
        return model.embed_images(collection.paths())
    table, vectors, head = read_embedded(path, model.weights)
    place = pd.Series(np.arange(len(table)), table["id"])
    found = place.reindex(collection.specimens["id"])
    if found.isna().all() or len(table) != found.notna().sum():
        raise InputError(
            f"{path} holds the vectors of another collection; make them anew with: forametric embed"
        )
    rows = np.flatnonzero(found.notna())
    order = found.dropna().to_numpy(dtype=int)
    if (order != np.arange(len(table))).any():
        vectors, head = vectors[order], head[order]
    missing = np.flatnonzero(found.isna()).tolist()
    unread = dict.fromkeys(missing, "has no vector: it could not be read")
    return Vectors(rows.tolist(), vectors, head, unread)


def begin(
    model: Embedder, collection: Collection, output: Path, overwrite: bool
) -> tuple[Path, list[Part]]:
    """The working folder `OUTPUT.unfinished`, and the parts to be made in it.

    Parts that another model, or of another collection, has left there are thrown away.
    """
    refuse_existing(output, overwrite)
    work = output.with_name(f"{output.name}.unfinished")
    columns = collection.specimens[["id", "image", "taxon", "sample"]].astype(str)
    hashed = int(pd.util.hash_pandas_object(columns, index=False).sum())
    run = {"model": model.card.files, "specimens": hashed, "chunk": embedder.CHUNK}
    resumable_folder(work, run)
    return work, parts_of(collection, work)


def parts_of(collection: Collection, folder: Path) -> list[Part]:
    """The parts that a collection is embedded in, whose files lie in a folder."""
    table, size = collection.specimens, embedder.CHUNK
    return [
        Part(
            folder / f"part-{start:09}.parquet",
            table.iloc[start : start + size],
            collection.images,
        )
        for start in range(0, len(table), size)
    ]


def skipped_in(parts: Sequence[Part]) -> dict[str, str]:
    """The images that could not be read, and why; `InputError` when these are all, or none is."""
    skipped: dict[str, str] = {}
    for part in parts:
        skipped |= read_json(part.notes)["failed"]
    number = sum(len(part.specimens) for part in parts)
    if len(skipped) == number:
        raise InputError(f"none of the {number} images can be read.")
    return skipped


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


def _from_row(got: Vectors, first: int) -> Vectors:
    """The same, its rows counted from `first`."""
    failures = {row - first: reason for row, reason in got.failures.items()}
    return Vectors([row - first for row in got.rows], got.vectors, got.head, failures)
