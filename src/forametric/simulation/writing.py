"""Write simulated shells as a folder of images with a table of their parameters."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
from PIL import Image

from forametric._typing import PathLike
from forametric._version import __version__
from forametric.data.importers.endless_forams import facts
from forametric.errors import InputError
from forametric.simulation.forms import FORMS
from forametric.simulation.simulate import check, simulate_shell
from forametric.utils.files import write_json
from forametric.utils.outputs import atomic_folder
from forametric.utils.progress import bar
from forametric.utils.ranges import COUNT, SEED

CHUNK = 64  # shells in a job of a worker process


def long_tail(total: int) -> list[int]:
    """The number of shells of each form, `total` in all, with the imbalance of Endless Forams.

    They are proportional to the portal's counts of the species on which the forms are modelled (4
    to 5,914 of 27,729), with at least one of each form.

    >>> counts = long_tail(34640)
    >>> sum(counts), min(counts), max(counts)
    (34640, 6, 7382)
    """
    if total < len(FORMS):
        raise InputError(f"a long tail needs at least {len(FORMS)} shells, one of each form.")
    images = facts()["portal_images"].to_numpy()
    exact = images / images.sum() * (total - len(FORMS))
    counts = [1 + int(share) for share in exact]
    # Shells left over by rounding down go to the largest remainders.
    for index in sorted(range(len(counts)), key=lambda i: exact[i] % 1)[::-1]:
        if sum(counts) == total:
            break
        counts[index] += 1
    return counts


def even(total: int) -> list[int]:
    """The number of shells of each form, `total` in all, as equal as possible.

    >>> counts = even(100)
    >>> sum(counts), min(counts), max(counts)
    (100, 2, 3)
    """
    if total < 1:
        raise InputError(f"{total} shells cannot be simulated; give 1 or more.")
    each, rest = divmod(total, len(FORMS))
    return [each + (index < rest) for index in range(len(FORMS))]


def write_dataset(
    output: PathLike,
    *,
    total: int = 700,
    unequal: bool = False,
    size: int = 224,
    masks: bool = False,
    seed: int = 0,
    overwrite: bool = False,
) -> pd.DataFrame:
    """Write simulated shells of 35 growth forms, with a table of their parameters.

    Parameters
    ----------
    unequal : bool
        With the imbalance of Endless Forams; by default the same number of each form.
    size : int
        Side of the images in pixels.
    masks : bool
        Also write the outlines, below `masks`.

    Returns
    -------
    DataFrame
        The content of `specimens.csv`: see `write_shells`.
    """
    SEED.check(seed=seed)
    COUNT.check(total=total)
    counts = long_tail(total) if unequal else even(total)
    with (
        atomic_folder(Path(output), overwrite) as temporary,
        bar("drawing shells", total) as advance,
    ):
        table = write_shells(
            temporary,
            counts,
            seed=seed,
            size=size,
            masks=masks,
            workers=os.cpu_count() or 1,
            progress=advance,
        )
        table.to_csv(temporary / "specimens.csv", index=False)
        settings = {"total": total, "long_tail": unequal, "size": size, "seed": seed}
        made_by = {"made_by": f"forametric {__version__}", "simulated": True}
        write_json(temporary / "simulated.json", {**made_by, **settings})
    return table


def write_shells(
    folder: PathLike,
    per_form: Sequence[int] | int,
    *,
    seed: int = 0,
    size: int = 160,
    forms: Sequence[str] | None = None,
    masks: bool = False,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """Write simulated shells as PNG files, one subfolder for each form.

    Parameters
    ----------
    per_form : int or sequence of int
        The number of shells of each form: one for all, or a number for each.
    masks : bool
        Also write the shell's outline, as a black and white PNG of the same name below `masks`.
    workers : int
        The number of processes; the images do not depend on it.

    Returns
    -------
    DataFrame
        image (below `folder`), label, sample, um_per_px, simulated, then the parameters (see
        `SimulatedSpecimen`).

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     table = write_shells(Path(folder), [2, 1], size=32, forms=list(FORMS)[:2])
    >>> table["label"].tolist()[1:]
    ['digitate last chambers', 'smooth three-chambered with sutural pores']
    """
    folder, names = Path(folder), list(FORMS) if forms is None else list(forms)
    counts = [per_form] * len(names) if isinstance(per_form, int) else list(per_form)
    if len(counts) != len(names):
        raise InputError(f"{len(counts)} counts were given for {len(names)} forms.")
    for name in names:
        check(name, size)
    for name, count in zip(names, counts, strict=True):
        if count:
            stem = name.replace(" ", "_")
            (folder / stem).mkdir(parents=True, exist_ok=True)
            if masks:
                (folder / "masks" / stem).mkdir(parents=True, exist_ok=True)
    jobs = [
        (name, seed, range(start, min(start + CHUNK, count)))
        for name, count in zip(names, counts, strict=True)
        for start in range(0, count, CHUNK)
    ]
    rows: list[dict[str, object]] = []
    for part in _parts(jobs, folder, size, masks, workers):
        rows += part
        if progress:
            progress(len(part))
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["image", "label"])


def _parts(
    jobs: list[tuple[str, int, range]], folder: Path, size: int, masks: bool, workers: int
) -> Iterator[list[dict[str, object]]]:
    fixed = (repeat(folder), repeat(size), repeat(masks))
    if workers <= 1:
        yield from map(_write_some, jobs, *fixed)
        return
    # New processes: a fork of a process with threads can hang.
    with ProcessPoolExecutor(min(workers, os.cpu_count() or 1), get_context("spawn")) as pool:
        yield from pool.map(_write_some, jobs, *fixed)


def _write_some(
    job: tuple[str, int, range], folder: Path, size: int, masks: bool
) -> list[dict[str, object]]:
    name, seed, numbers = job
    stem = name.replace(" ", "_")
    rows: list[dict[str, object]] = []
    for number in numbers:
        shell = simulate_shell(name, seed * 1_000_003 + number, size)
        image = f"{stem}/{stem}_{number:04}.png"
        Image.fromarray(shell.picture).save(folder / image, compress_level=1)
        if masks:
            Image.fromarray(shell.mask).save(folder / "masks" / image)
        truth = {k: round(v, 4) if isinstance(v, float) else v for k, v in shell.truth.items()}
        um_per_px = truth.pop("um_per_px")
        del truth["form"]
        rows.append(
            {
                "image": image,
                "label": name,
                "sample": f"simulated-{number % 5}",
                "um_per_px": um_per_px,
                "simulated": True,
                **truth,
            }
        )
    return rows
