"""Read and write files atomically: to a temporary path first, then renamed into place."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from forametric._typing import PathLike
from forametric.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

RUN_FILE = "run.json"  # the settings of the run that fills a working folder
# A folder with one of these files was written by Forametric, so that --overwrite may replace it.
MARKER_FILES = (
    "collection.json",
    "model.json",
    "metrics.json",
    "demo.json",
    "check.html",
    "simulated.json",
    "benchmark.json",
    "assemblage.json",
    "vectors.json",
    "queue.json",
)


def refuse_existing(path: Path, overwrite: bool = False) -> None:
    """Raise `InputError` if `path` is a file or folder that must not be replaced.

    An empty folder or an empty file may be replaced. With `overwrite`, so may a file, and a folder
    with one of `MARKER_FILES`.
    """
    if not path.exists():
        return
    has_content = any(path.iterdir()) if path.is_dir() else path.stat().st_size > 0
    if has_content and not overwrite:
        raise InputError(f"{path} exists already; name another output or pass --overwrite.")
    if has_content and path.is_dir() and not any((path / name).is_file() for name in MARKER_FILES):
        raise InputError(f"{path} holds files that Forametric did not make; name another output.")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path next to `path`, renamed to it only if the block raises no exception.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with atomic_path(target) as temporary:
    ...     _ = temporary.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = f"{os.getpid()}-{threading.get_ident()}"  # several threads may write the same file
    temporary = path.with_name(f".{path.stem}.{writer}.partial{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """An empty temporary folder next to `path`, renamed to it if the block raises no exception.

    The temporary folder of an earlier, killed run is removed first.
    """
    refuse_existing(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        replace_folder(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(new: Path, path: Path) -> None:
    """Move the folder `new` to `path`; a previous folder is removed after the move."""
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        os.replace(path, old)
    os.replace(new, path)
    if old.is_dir():
        shutil.rmtree(old, ignore_errors=True)
    else:
        old.unlink(missing_ok=True)


def resumable_folder(work: Path, run: dict[str, Any]) -> None:
    """Make the working folder of a run, and empty one that was left by a run with other settings.

    `run` are the settings, as JSON.
    """
    if work.is_dir() and not ((work / RUN_FILE).is_file() and read_json(work / RUN_FILE) == run):
        shutil.rmtree(work)
    write_json(work / RUN_FILE, run)


def disk_array(path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """A new uint8 array in a .npy file, with its disk space allocated immediately.

    With a sparse file, a full disk would end the whole process without an error message.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    zeros = bytes(math.prod(shape[1:]))
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(shape[0]):
            file.write(zeros)
    return np.lib.format.open_memmap(path, "r+")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(table: pd.DataFrame, path: PathLike, *, overwrite: bool = False) -> Path:
    """Write a table as CSV atomically; returns its path."""
    path = Path(path)
    refuse_existing(path, overwrite)
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)
    return path


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically, indented, keys in the order given."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; `InputError` if the file is missing or damaged."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(data, ensure_ascii=False).encode()  # a text that is not valid Unicode
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except RecursionError:
        raise InputError(f"{path} cannot be read as JSON: it is nested too deep.") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path} should hold a JSON object, not a {type(data).__name__}.")
    return data


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
