"""Read and write files atomically: to a temporary path first, then renamed into place."""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forametric.errors import InputError
from forametric.utils.text import to_json


def unique() -> str:
    """A name that no other process and no other call takes."""
    return f"{os.getpid()}-{secrets.token_hex(4)}"


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
    temporary = path.with_name(f".{path.stem}.{unique()}.partial{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def disk_array(path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """A new uint8 array in a .npy file, with its disk space allocated immediately.

    With a sparse file, a full disk would end the whole process without an error message. A file
    that another process reads through its memory is not changed, but replaced.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    zeros = bytes(math.prod(shape[1:]))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(shape[0]):
            file.write(zeros)
    return np.lib.format.open_memmap(path, "r+")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write strict JSON atomically, indented, keys in the order given; NaN is null."""
    write_text(path, to_json(data) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; `InputError` if the file is missing or damaged."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
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
