"""Write outputs so that nothing is lost: checked first, made elsewhere, then moved into place.

An output folder is made under a temporary name and then exchanged with the old one, which is
removed last. One process writes an output at a time. Nothing is removed but what a manifest of
Forametric lists.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forametric._typing import PathLike
from forametric.errors import InputError
from forametric.utils.files import atomic_path, unique
from forametric.utils.locks import one_writer
from forametric.utils.manifest import (
    MANIFEST,
    Manifest,
    is_empty,
    list_files,
    not_ours,
    read_manifest,
    remove_folder,
)

if TYPE_CHECKING:
    import pandas as pd

LEFT_OVER = re.compile(r"\.(?P<name>.+)\.\d+-[0-9a-f]{8}\.(?P<kind>partial|old)")
HALF_MANIFEST = re.compile(r"\.forametric\.\d+-[0-9a-f]{8}\.partial\.json")


def check_file(path: Path, overwrite: bool = False) -> None:
    """Raise `InputError` if `path` cannot be written as a file, or must not be replaced.

    With `overwrite` a file may be replaced, but not one that is part of an output folder.
    """
    _check_parent(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file.")
    if path.exists() and not path.is_file():  # a device or a pipe
        raise InputError(f"{path} is not a regular file; name another output.")
    if not path.exists() or path.stat().st_size == 0:
        return
    _refuse_existing(path, overwrite)
    real = Path(os.path.realpath(path))
    for folder in real.parents:
        known = read_manifest(folder)
        if known and real.relative_to(folder).as_posix() in {MANIFEST, *known.files}:
            raise InputError(f"{path} is a part of {folder}; name another output.")


def check_folder(path: Path, overwrite: bool = False) -> None:
    """Raise `InputError` if `path` cannot be written as a folder, or must not be replaced.

    An empty folder may be replaced. With `overwrite`, so may one with nothing but files that its
    manifest lists and that have not been changed since.
    """
    _check_parent(path)
    if is_within(Path.cwd(), path):
        raise InputError(f"the output {path} holds the current folder; name a new folder.")
    if os.path.lexists(path) and not path.is_dir():
        raise InputError(f"{path} is a file; name a folder.")
    if not path.is_dir() or is_empty(path):
        return
    _refuse_existing(path, overwrite)
    for file, why in not_ours(path):
        name = file.relative_to(path)
        raise InputError(f"{path} holds {name}, {why}; move it or name another output.")


def _refuse_existing(path: Path, overwrite: bool) -> None:
    full = not is_empty(path) if path.is_dir() else path.exists() and path.stat().st_size > 0
    if full and not overwrite:
        raise InputError(f"{path} exists already; name another output or pass --overwrite.")


def _check_parent(path: Path) -> None:
    parent = next((p for p in path.absolute().parents if os.path.lexists(p)), path)
    if not parent.is_dir():
        raise InputError(f"{path} cannot be made, because {parent} is not a folder.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be written, because {parent} is read-only.")


def is_within(inner: Path, outer: Path) -> bool:
    """Whether a path is a folder or lies inside it, by whatever links or names it is reached."""
    inner, outer = Path(os.path.realpath(inner)), Path(os.path.realpath(outer))
    if inner.is_relative_to(outer):
        return True
    return outer.exists() and any(p.exists() and p.samefile(outer) for p in (inner, *inner.parents))


def write_csv(table: pd.DataFrame, path: PathLike, *, overwrite: bool = False) -> Path:
    """Write a table as CSV atomically; returns its path."""
    path = Path(path)
    check_file(path, overwrite)
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)
    return path


@contextmanager
def atomic_folder(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """An empty temporary folder, put in the place of `path` if the block raises no exception."""
    path = Path(os.path.realpath(path))
    with writing(path):
        check_folder(path, overwrite)
        temporary = _temporary(path, "partial")
        temporary.mkdir()
        try:
            Manifest(run={}).write(temporary)
            yield temporary
            put_in_place(temporary, path)
        except BaseException:
            if temporary.is_dir():
                remove_folder(temporary)
            raise


@contextmanager
def resumable_folder(
    output: Path, run: dict[str, Any], overwrite: bool, *, keep_others: bool = False
) -> Iterator[Path]:
    """The working folder `OUTPUT.unfinished` of a run, with what the same run has left in it.

    What a run with other settings has left is removed.

    Parameters
    ----------
    run : dict
        The settings, as JSON.
    keep_others : bool
        Refuse a folder that a run with other settings has left.

    Raises
    ------
    InputError
        When a folder of this name is not a working folder of Forametric, or another process has
        made the output since it was checked.
    """
    output, run = Path(os.path.realpath(output)), json.loads(json.dumps(run))
    with writing(output):
        _refuse_existing(output, overwrite)
        work = working_folder(output)
        known = read_manifest(work)
        if known is None or known.run != run:
            if keep_others and known is not None and known.run is not None:
                raise InputError(
                    f"{work} holds an unfinished run with other settings or data; "
                    f"finish it with those, remove the folder, or pass --overwrite."
                )
            remove_working_folder(output)
            new = _temporary(output, "partial")  # a folder of this name always has its manifest
            new.mkdir()
            try:
                Manifest(run=run).write(new)
                new.rename(work)
            except BaseException:
                remove_folder(new)
                raise
        yield work


def working_folder(output: Path) -> Path:
    """The path of the working folder of an output."""
    return output.with_name(f"{output.name}.unfinished")


def remove_working_folder(output: Path) -> None:
    """Remove the working folder of an output.

    Raises
    ------
    InputError
        When a folder of this name is not a working folder of Forametric.
    """
    work = working_folder(output)
    if not os.path.lexists(work):
        return
    known = read_manifest(work)
    if known is not None and known.run is not None:
        remove_folder(work)
    elif work.is_dir() and not any(work.iterdir()):
        work.rmdir()
    if os.path.lexists(work):
        raise InputError(
            f"{work} is not a working folder of Forametric, which needs this name; rename it or "
            f"name another output."
        )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Be the only writer of an output, after the leftovers of killed writers are cleared away."""
    with one_writer(path) as outermost:
        if outermost:
            _clear_leftovers(path)
        yield


def _clear_leftovers(path: Path) -> None:
    """Restore a folder that was about to be replaced, and remove temporary ones; all are ours."""
    for folder in path.parent.iterdir():
        found = LEFT_OVER.fullmatch(folder.name)
        if not found or found["name"] != path.name or not folder.is_dir():
            continue
        if found["kind"] == "old" and not path.exists():
            os.replace(folder, path)
            continue
        for file in folder.iterdir():
            if HALF_MANIFEST.fullmatch(file.name):
                file.unlink()
        remove_folder(folder)


def put_in_place(new: Path, path: Path) -> None:
    """Give a finished folder its manifest and move it to `path`; an old folder is removed last.

    Raises
    ------
    InputError
        When somebody has put files into the old folder in the meantime.
    """
    path = Path(os.path.realpath(path))
    check_folder(path, overwrite=True)
    finished = list_files(new)
    if new == working_folder(path):  # a finished one would be taken for an output of the user
        new = new.rename(_temporary(path, "partial"))
    finished.write(new)
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
    if not path.exists():
        os.replace(new, path)
    elif exchange(new, path):
        remove_folder(new)
    else:
        old = _temporary(path, "old")
        os.replace(path, old)
        try:
            os.replace(new, path)
        except OSError:
            os.replace(old, path)
            raise
        remove_folder(old)


def _temporary(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{unique()}.{kind}")


def exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders in one step; False where the system cannot do that."""
    names = os.fsencode(one), os.fsencode(other)
    swap = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
    try:
        if sys.platform == "linux":
            here = -100  # AT_FDCWD
            return bool(ctypes.CDLL(None).renameat2(here, names[0], here, names[1], swap) == 0)
        if sys.platform == "darwin":
            return bool(ctypes.CDLL(None).renamex_np(*names, swap) == 0)
    except AttributeError:  # a C library without it
        return False
    return False
