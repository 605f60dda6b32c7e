"""The one door into a collection: read the source, look at every image, report, save."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from forametric import __version__
from forametric.collection import (
    CORE_COLUMNS,
    ID_LENGTH,
    Collection,
    content_of,
    inside,
    taxon_of,
)
from forametric.errors import ImageError, InputError
from forametric.files import atomic_folder, refuse_existing
from forametric.images import decode
from forametric.progress import bar
from forametric.sources.folder import read_folder
from forametric.sources.table import read_table


@dataclass(frozen=True)
class ImportResult:
    """What an import took and what it did not.

    `skipped` has the columns image and reason; `duplicates` has id, image, same_as, label and
    same_as_label, a row for each picture whose bytes stood earlier in the table already.
    """

    collection: Collection
    skipped: pd.DataFrame
    duplicates: pd.DataFrame


def import_collection(source: str | Path, output: Path, *, overwrite: bool = False) -> ImportResult:
    """Make a collection from a folder of images or a CSV table, and save it.

    Every image is decoded once; one that cannot be read is listed in `skipped.csv` in the
    collection and left out. An id is the start of the SHA-256 of the file's bytes; a file whose
    bytes were met before keeps its row, its id ending in -2, -3, …, and is listed in
    `duplicates.csv`.

    Raises
    ------
    InputError
        When the source cannot be read at all, or not one image in it can.
    """
    source = Path(source)
    refuse_existing(output, overwrite)
    if source.is_dir():
        rows, folder = read_folder(source)
    elif source.is_file():
        rows, folder = read_table(source)
    else:
        raise InputError(f"{source} does not exist; give a folder of images or a CSV table.")
    hashes, reasons = _look_at(rows["image"].tolist(), folder)
    readable = rows["image"].notna() & pd.Series([h is not None for h in hashes], index=rows.index)
    skipped = pd.DataFrame(
        [(rows["image"].iloc[i], reason) for i, reason in sorted(reasons.items())],
        columns=["image", "reason"],
    )
    if not readable.any():
        raise InputError(
            f"none of the {len(rows)} images of {source} can be read; "
            f"the first: {skipped['image'].iloc[0]}: {skipped['reason'].iloc[0]}."
        )
    specimens = _specimens(rows[readable], [h for h in hashes if h is not None])
    info = {"name": output.name, "source": source.name, "made_by": f"forametric {__version__}"}
    collection = Collection(specimens, folder.absolute(), info)
    duplicates = find_duplicates(specimens)
    with atomic_folder(output, overwrite) as temporary:
        collection.write_into(temporary, output)
        for name, table in (("skipped", skipped), ("duplicates", duplicates)):
            if len(table):
                table.to_csv(temporary / f"{name}.csv", index=False)
    return ImportResult(collection, skipped, duplicates)


def find_duplicates(specimens: pd.DataFrame) -> pd.DataFrame:
    """Specimens whose file has the very bytes of an earlier one."""
    content = content_of(specimens["id"])
    first = specimens.groupby(content, sort=False)[["image", "label"]].transform("first")
    again = content.duplicated()
    return pd.DataFrame(
        {
            "id": specimens["id"],
            "image": specimens["image"],
            "same_as": first["image"],
            "label": specimens["label"],
            "same_as_label": first["label"],
        }
    )[again].reset_index(drop=True)


def _look_at(names: list[str], folder: Path) -> tuple[list[str | None], dict[int, str]]:
    """Hash and decode every image once: a hash, or None and a reason."""
    reasons: dict[int, str] = {}

    def look(index: int) -> str | None:
        try:
            if not names[index] or "://" in names[index]:
                raise ImageError("no path of a local file")
            path = inside(folder, names[index])
            if not path.is_file():
                raise ImageError("the file does not exist")
            decode(path)
            return hashlib.sha256(path.read_bytes()).hexdigest()[:ID_LENGTH]
        except InputError as error:
            reasons[index] = str(error)
        except OSError as error:
            reasons[index] = f"cannot be read: {error.strerror}"
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool, bar("looking at images", len(names)) as tick:
        hashes: list[str | None] = []
        for hashed in pool.map(look, range(len(names))):
            hashes.append(hashed)
            tick(1)
    return hashes, reasons


def _specimens(rows: pd.DataFrame, hashes: list[str]) -> pd.DataFrame:
    content = pd.Series(hashes, index=rows.index)
    nth = content.groupby(content).cumcount() + 1
    ids = content.where(nth == 1, content + "-" + nth.astype(str))
    labels = rows["label"].astype(object)
    table = pd.DataFrame(
        {"id": ids, "image": rows["image"].str.replace("\\", "/"), "label": labels}
    )
    table["taxon"] = labels.map(lambda label: taxon_of(label) if isinstance(label, str) else None)
    for column in ("sample", "group"):
        table[column] = rows[column].replace("", None) if column in rows else None
    scale = rows["um_per_px"].str.replace(",", ".") if "um_per_px" in rows else None
    table["um_per_px"] = (
        pd.to_numeric(scale, errors="coerce") if scale is not None else float("nan")
    )
    extra = [c for c in rows.columns if c not in CORE_COLUMNS]
    return pd.concat([table, rows[extra]], axis=1).reset_index(drop=True)
