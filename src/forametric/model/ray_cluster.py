"""Embed on a Ray cluster: the same parts as a local run, each made by a free worker.

Ray Data sends the numbers of the parts to the workers. Each worker has the model once, reads the
collection itself, and writes finished parts whole. So little data travels, and a lost worker loses
at most one part, which another makes again. A killed command resumes with the missing parts.
"""

from __future__ import annotations

import logging
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from forametric._typing import PathLike
from forametric.data.collection import Collection, inside
from forametric.data.inputs import check_output_folder
from forametric.errors import InputError, MissingExtraError
from forametric.model.embed_collection import (
    Part,
    parts_of,
    run_settings,
    skipped_in,
    stamp,
)
from forametric.model.model import Model
from forametric.utils.files import write_json
from forametric.utils.offline import switch_reports_off
from forametric.utils.outputs import put_in_place, resumable_folder
from forametric.utils.progress import bar, in_parallel

if TYPE_CHECKING:
    import pandas as pd


def embed_on_cluster(
    model: PathLike,
    collection: PathLike,
    output: PathLike,
    address: str,
    *,
    images: str | None = None,
    overwrite: bool = False,
) -> pd.DataFrame:
    """Embed a collection into a folder of Parquet files, on all machines of a Ray cluster.

    Parameters
    ----------
    model, collection, output : path
        Paths that every machine can read.
    address : str
        The cluster's (`host:6379`), `auto` for the one this machine belongs to, or `local`.
    images : str, optional
        Where the images are, instead of the collection's own folder: any address that fsspec
        opens (`s3://bucket/plates`, with the package for that store installed on the workers).

    Returns
    -------
    DataFrame
        The images that could not be read: image, reason.

    Raises
    ------
    InputError
        When no cluster answers, or no image can be read.
    MissingExtraError
        When Ray is not installed.
    """
    switch_reports_off()
    try:
        import ray
        import ray.data
    except ModuleNotFoundError:
        raise MissingExtraError("embedding on a cluster", "cluster") from None

    model, collection, output = (Path(p).absolute() for p in (model, collection, output))
    check_output_folder(output, overwrite, model, collection)
    specimens = Collection.open(collection)
    loaded = Model.load(model)
    with resumable_folder(output, run_settings(loaded, specimens), overwrite) as work:
        parts = parts_of(specimens, work)
        left = [number for number, part in enumerate(parts) if not part.is_done()]
        if left:
            _connect(address)
            logging.getLogger("ray.data").setLevel(logging.ERROR)  # the bar below says how it goes
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
                context = ray.data.DataContext.get_current()  # warns of its own settings
            context.enable_progress_bars = context.enable_operator_progress_bars = False
            made = ray.data.from_items(
                [{"part": number} for number in left], override_num_blocks=len(left)
            ).map_batches(
                Worker,
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=len(left)),
                fn_constructor_args=(model, collection, work, images),
                **_share(ray.nodes()),
            )
            with bar("embedding", sum(len(parts[number].specimens) for number in left)) as advance:
                for row in made.iter_rows():
                    advance(int(row["images"]))
        skipped = skipped_in(parts)
        write_json(work / "vectors.json", {**loaded.embedder.origin, "specimens": len(specimens)})
        put_in_place(work, output)
    return skipped


class Worker:
    """What each worker holds: the model, and the list of parts."""

    def __init__(self, model: Path, collection: Path, work: Path, images: str | None) -> None:
        self.model = Model.load(model)
        self.parts = parts_of(Collection.open(collection), work)
        self.images = images

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[int]]:
        """Make the parts of these numbers."""
        return {"images": [self._make(self.parts[int(number)]) for number in batch["part"]]}

    def _make(self, part: Part) -> int:
        stamped = stamp(part.paths())
        with _near(part, self.images) as paths:
            embeddings = self.model.embedder.embed_images(paths, part.table, progress="")
        part.write(embeddings, stamped)
        return len(paths)


def _connect(address: str) -> None:
    """Join the cluster for as long as this process lives: Ray Data hangs when it is left and joined
    again. A process that has joined one already stays there."""
    import ray

    if ray.is_initialized():
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    try:
        if colon:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"no Ray cluster answers at {address} ({str(error).splitlines()[0]}); start one with: "
            f"ray start --head, or use --cluster local"
        ) from None


def _share(nodes: list[dict[str, Any]]) -> dict[str, float]:
    """What a worker takes: a GPU where there are any, else all processors of the least machine."""
    has = [node["Resources"] for node in nodes if node["Alive"] and node["Resources"].get("CPU")]
    if any(resources.get("GPU") for resources in has):
        return {"num_gpus": 1, "num_cpus": 1}
    return {"num_cpus": min(int(resources["CPU"]) for resources in has)}


@contextmanager
def _near(part: Part, images: str | None) -> Iterator[list[Path]]:
    """The part's images on this machine's disk; what cannot be fetched is missing there."""
    if images is None:
        yield part.paths()
        return
    from fsspec.core import url_to_fs

    store, root = url_to_fs(images)
    names = part.specimens["image"].astype(str).tolist()
    with TemporaryDirectory() as folder:
        paths = [inside(Path(folder), name) for name in names]

        def fetch(row: int) -> None:
            paths[row].parent.mkdir(parents=True, exist_ok=True)
            try:
                store.get_file(f"{root}/{names[row]}", str(paths[row]))
            except OSError:
                paths[row].unlink(missing_ok=True)

        for _ in in_parallel("", fetch, range(len(names))):
            pass
        yield paths
