"""The manifest of an output folder: the files that Forametric wrote there, and what made them.

Only files that a manifest lists are ever removed. A working folder has a manifest with the settings
of its run in place of the files; everything in it belongs to that run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from forametric._version import __version__
from forametric.utils.files import write_text
from forametric.utils.verb import running_verb

MANIFEST = "forametric.json"
# What file managers leave in folders that somebody has looked at. Nobody misses these files.
OF_FILE_MANAGERS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


class Manifest(BaseModel):
    """What `forametric.json` holds.

    Attributes
    ----------
    files : dict of str to int
        Relative POSIX paths and their sizes in bytes; none for a file that is being written.
    run : dict, optional
        The settings of the run that fills a working folder.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal["forametric output 1"] = "forametric output 1"
    made_by: str = f"forametric {__version__}"
    verb: str = Field(default_factory=running_verb)
    files: dict[str, int | None] = {}
    run: dict[str, Any] | None = None

    def write(self, folder: Path) -> None:
        """Write it into a folder, atomically."""
        absent = {"files"} if self.run is not None else {"run"}
        write_text(folder / MANIFEST, self.model_dump_json(indent=1, exclude=absent) + "\n")


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder; None when it has none of ours."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return None


def is_empty(folder: Path) -> bool:
    """Whether a folder has nothing but files of file managers in it."""
    return all(path.name in OF_FILE_MANAGERS for path in folder.iterdir())


def list_files(folder: Path) -> Manifest:
    """The manifest of a finished folder, with every file in it."""
    sizes = {_relative(path, folder): path.lstat().st_size for path in _files(folder)}
    return Manifest(files={name: sizes[name] for name in sorted(sizes) if name != MANIFEST})


@contextmanager
def adding(folder: Path, *names: str) -> Iterator[None]:
    """List files in a folder's manifest while the block writes them."""
    known = read_manifest(folder)
    if known is None:
        yield
        return
    known.model_copy(update={"files": known.files | dict.fromkeys(names)}).write(folder)
    yield
    sizes = {name: (folder / name).stat().st_size for name in names if (folder / name).is_file()}
    known.model_copy(update={"files": known.files | sizes}).write(folder)


def not_ours(folder: Path) -> Iterator[tuple[Path, str]]:
    """The files of a folder that must stay, and why: not listed, or changed since.

    Files of file managers need not stay.
    """
    known = read_manifest(folder)
    if known is not None and known.run is not None:
        return
    listed = known.files if known else {}
    for path in _files(folder):
        name = _relative(path, folder)
        if path.name in OF_FILE_MANAGERS or (name == MANIFEST and known):
            continue
        if name not in listed:
            yield path, "which Forametric did not write"
        elif listed[name] not in (None, path.lstat().st_size):
            yield path, "which was changed after Forametric wrote it"


def remove_folder(folder: Path) -> None:
    """Remove an output folder or a working folder, except for the files of others in it."""
    kept = {path for path, _ in not_ours(folder)}
    for root, folders, names in os.walk(folder, topdown=False):
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        # The manifest is the last to go: a removal that is interrupted can be continued.
        for name in sorted(names + links, key=lambda name: name == MANIFEST):
            path = Path(root, name)
            if path not in kept and not (kept and path == folder / MANIFEST):
                path.unlink()
        with suppress(OSError):  # files of others are left
            os.rmdir(root)


def _files(folder: Path) -> Iterator[Path]:
    """The files and links below a folder; links are not followed."""
    for root, folders, names in os.walk(folder):
        yield from (Path(root, name) for name in names)
        yield from (path for name in folders if (path := Path(root, name)).is_symlink())


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
