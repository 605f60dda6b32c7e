"""Collections: a table of specimens and the folder of their images.

On disk a collection is a folder with `collection.json` and `specimens.parquet` (one row for each
specimen). Images are not copied: `images` in the JSON is their folder, relative to the collection.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forametric._typing import BoolArray, IntArray, NameArray, PathLike
from forametric.data.tables import as_text, check_header, is_text, read_parquet
from forametric.data.verdicts import REVIEWERS_COLUMN, VERDICT_COLUMN
from forametric.errors import InputError
from forametric.images.contact_sheet import contact_sheet, spread
from forametric.utils.files import read_json, write_json
from forametric.utils.outputs import atomic_folder
from forametric.utils.results import Result
from forametric.utils.text import is_valid_text, printable

FORMAT = 1
ID_LENGTH = 16  # leading digits of the file's SHA-256 in an id
CORE_COLUMNS = ("id", "image", "label", "taxon", "sample", "group", "um_per_px")
TEXT_COLUMNS = (*CORE_COLUMNS[:-1], VERDICT_COLUMN, REVIEWERS_COLUMN)
INFO_TEXTS = ("name", "source", "kind", "licence", "citation", "made_by")


@dataclass(frozen=True, eq=False, repr=False)
class Collection(Result):
    """Specimens and their images.

    Attributes
    ----------
    specimens : DataFrame
        One row each: `id` (unique), `image` (POSIX path inside `images`), `label` (verbatim) and
        `taxon` (accepted name; missing if unknown), `sample`, `group`, `um_per_px`, and all other
        recorded columns.
    images : Path
        The folder that contains all images.
    info : dict
        name, source, licence, citation, version of the software that made it.
    """

    specimens: pd.DataFrame
    images: Path
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "specimens", checked_specimens(self.specimens))

    def __len__(self) -> int:
        return len(self.specimens)

    def __str__(self) -> str:
        taxa = len(set(self.taxa()) - {""})
        return f"{len(self)} specimens of {taxa} taxa"

    @property
    def summary(self) -> dict[str, Any]:
        """specimens, taxa, and the number of each verdict where experts have decided."""
        verdicts = self.specimens.get("verdict", pd.Series(dtype=object)).fillna("").value_counts()
        return {
            "specimens": len(self),
            "taxa": len(set(self.taxa()) - {""}),
            "verdicts": {str(verdict): int(n) for verdict, n in verdicts.items() if verdict},
        }

    def _repr_html_(self) -> str:
        rows = spread(len(self))
        captions = [[str(taxon)] for taxon in self.taxa()[rows]]
        return contact_sheet([self.path(row) for row in rows], captions, str(self))

    def __getitem__(self, rows: Sequence[int] | BoolArray | IntArray | slice) -> Collection:
        """The collection of some rows: positions, a mask or a slice."""
        return self.select(np.arange(len(self))[rows] if isinstance(rows, slice) else rows)

    @property
    def table(self) -> pd.DataFrame:
        """The specimens, one row each."""
        return self.specimens

    def query(self, expression: str) -> Collection:
        """The specimens for which a pandas expression is true.

        >>> Collection.open("core").query("sample == 'GC37'")  # doctest: +SKIP
        """
        return self.select(self.specimens.reset_index(drop=True).query(expression).index.to_numpy())

    @classmethod
    def open(cls, folder: PathLike) -> Collection:
        """Open a saved collection; `InputError` if it is missing, damaged or of another format."""
        folder = Path(folder)
        if not (folder / "collection.json").is_file():
            raise InputError(
                f"{folder} is not a collection (no collection.json); "
                f"make one with: forametric import {folder} -o COLLECTION"
            )
        info = read_json(folder / "collection.json")
        if info.get("format") != FORMAT:
            raise InputError(
                f"{folder} has collection format {info.get('format')!r}; this version reads "
                f"{FORMAT}. Update Forametric."
            )
        images = info.pop("images", ".")
        wrong = [key for key in INFO_TEXTS if not isinstance(info.get(key, ""), str)]
        if not isinstance(images, str) or "\0" in images or wrong:
            key = wrong[0] if wrong else "images"
            raise InputError(f"{folder / 'collection.json'}: {key} must be a text.")
        info |= {key: printable(info[key]) for key in INFO_TEXTS if key in info}
        specimens = read_parquet(folder / "specimens.parquet")
        try:
            return cls(specimens, Path(os.path.normpath(folder.absolute() / images)), info)
        except InputError as error:
            raise InputError(f"{folder / 'specimens.parquet'}: {error}") from None

    def save(self, folder: PathLike, *, overwrite: bool = False) -> Path:
        """Write the collection as a folder, atomically; returns its path.

        Raises
        ------
        InputError
            When the folder exists, or holds images of the collection, which would be lost.
        """
        folder = Path(folder)
        refuse_to_replace(self.paths(), folder)
        with atomic_folder(folder, overwrite) as temporary:
            self.write_into(temporary, folder)
        return folder

    def write_into(self, temporary: Path, folder: Path) -> None:
        """Write the files into `temporary`, which is then renamed to `folder`."""
        self.specimens.to_parquet(temporary / "specimens.parquet", index=False)
        info = {k: v for k, v in self.info.items() if k not in ("format", "images")}
        images = _relative(self.images, folder.absolute())
        write_json(temporary / "collection.json", {"format": FORMAT, **info, "images": images})

    def path(self, index: int) -> Path:
        """The image file of the specimen in row `index`; always inside `images`."""
        return inside(self.images, str(self.specimens["image"].iloc[index]))

    def paths(self) -> list[Path]:
        """The image files, in the order of the table."""
        return [inside(self.images, str(image)) for image in self.specimens["image"]]

    def taxa(self) -> NameArray:
        """The accepted names as an array of str, "" for unknown ones."""
        return np.asarray(self.specimens["taxon"].fillna("").astype(str), dtype=object)

    @cached_property
    def fingerprint(self) -> str:
        """A short hash of the ids and taxa, independent of their order."""
        rows = self.specimens["id"].astype(str) + "," + pd.Series(self.taxa(), self.specimens.index)
        return hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()[:16]

    def select(self, rows: Sequence[int] | BoolArray | IntArray) -> Collection:
        """The collection of these rows: positions, or a mask."""
        positions = np.arange(len(self))[np.asarray(rows) if len(rows) else slice(0)]
        table = self.specimens.iloc[positions]
        return Collection(table.reset_index(drop=True), self.images, self.info)

    def merge(self, other: Collection) -> Collection:
        """Both collections as one; `InputError` if they share an id."""
        common = Path(os.path.commonpath([self.images.absolute(), other.images.absolute()]))
        tables = [
            c.specimens.assign(image=[p.relative_to(common).as_posix() for p in c.paths()])
            for c in (self, other)
        ]
        return Collection(pd.concat(tables, ignore_index=True), common, self.info)


def checked_specimens(table: pd.DataFrame) -> pd.DataFrame:
    """The table of a collection with its core columns as text, and `um_per_px` as float64.

    Numbers in columns of text become text, as in a table that was edited with pandas. Rows are
    counted from 1 in messages.

    Raises
    ------
    InputError
        When a column is missing or occurs twice, an id or image is missing or not text, an id
        occurs twice, or a scale is not above 0.
    """
    check_header([str(c) for c in table.columns], "the table of specimens")
    missing = [c for c in CORE_COLUMNS if c not in table.columns]
    if missing:
        raise InputError(f"the table of specimens lacks the columns {', '.join(missing)}.")
    changed = {
        column: as_text(table[column], "the table of specimens")
        for column in TEXT_COLUMNS
        if column in table and not is_text(table[column])
    }
    if table["um_per_px"].dtype != np.float64:
        changed["um_per_px"] = _as_scales(table["um_per_px"])
    table = table.assign(**changed) if changed else table
    for column in ("id", "image"):
        _refuse_row(table[column].isna() | (table[column] == ""), f"has no {column}")
    if not is_valid_text("".join(table["image"])):
        invalid = ~table["image"].map(is_valid_text).astype(bool)
        _refuse_row(invalid, "has an image whose name is not UTF-8")
    no_scale = table["um_per_px"].le(0) | np.isinf(table["um_per_px"])
    _refuse_row(no_scale, "has an um_per_px that is not above 0; leave an unknown one empty")
    twice = table["id"][table["id"].duplicated()]
    if len(twice):
        raise InputError(f"ids must be unique; {twice.iloc[0]} occurs more than once.")
    return table


def _as_scales(column: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    _refuse_row(numbers.isna() & column.notna(), "has an um_per_px that is not a number")
    return numbers


def _refuse_row(wrong: pd.Series, why: str) -> None:
    if wrong.any():
        number = int(wrong.to_numpy().argmax()) + 1
        raise InputError(f"row {number} of the table of specimens {why}.")


def inside(folder: Path, name: str) -> Path:
    """`folder / name`; `InputError` if it is outside the folder, or the name is absolute.

    >>> inside(Path("plates"), "../secret.png")
    Traceback (most recent call last):
    forametric.errors.InputError: the path ../secret.png leaves its folder plates
    """
    path = Path(os.path.normpath(folder / name))
    if Path(name).is_absolute() or not path.is_relative_to(os.path.normpath(folder)):
        raise InputError(f"the path {name} leaves its folder {folder}")
    return path


def refuse_to_replace(images: Iterable[Path], output: PathLike) -> None:
    """Raise `InputError` if an output is one of the images or a folder with one; links count."""
    if not os.path.lexists(output):
        return
    target, folders = Path(os.path.realpath(output)), dict[Path, Path]()
    for image in images:
        if image.parent not in folders:
            folders[image.parent] = Path(os.path.realpath(image.parent))
        place = Path(os.path.realpath(image)) if image.is_symlink() else folders[image.parent]
        if place.is_relative_to(target) or place / image.name == target:
            raise InputError(
                f"the output {output} contains the input {image}; name another output."
            )


def content_hash(ids: pd.Series) -> pd.Series:
    """The part of each id that is a hash of the file, so equal for identical files."""
    return ids.str.slice(0, ID_LENGTH)


def deduplicate_ids(content: pd.Series) -> pd.Series:
    """Unique ids: repeated ones get the suffixes -2, -3, …

    >>> deduplicate_ids(pd.Series(["a", "b", "a"])).tolist()
    ['a', 'b', 'a-2']
    """
    nth = content.groupby(content).cumcount() + 1
    return content.where(nth == 1, content + "-" + nth.astype(str))


def taxon_of(label: str) -> str:
    """A label as a name, with single spaces instead of underscores and repeated spaces.

    >>> taxon_of("Globigerina_bulloides ")
    'Globigerina bulloides'
    """
    return " ".join(label.replace("_", " ").split())


def _relative(path: Path, start: Path) -> str:
    try:
        return Path(os.path.relpath(path.absolute(), start)).as_posix()
    except ValueError:  # another drive on Windows
        return path.absolute().as_posix()
