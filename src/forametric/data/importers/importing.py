"""Import a collection: read the source, check every image, save and report."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from forametric._typing import PathLike
from forametric._version import __version__
from forametric.data.collection import (
    CORE_COLUMNS,
    ID_LENGTH,
    Collection,
    content_hash,
    deduplicate_ids,
    inside,
    refuse_to_replace,
    taxon_of,
)
from forametric.data.importers.ecotaxa import ecotaxa_archives, ecotaxa_tables, read_ecotaxa
from forametric.data.importers.endless_forams import (
    is_endless_forams,
    read_endless_forams,
    with_paper_splits,
)
from forametric.data.importers.folder import read_folder
from forametric.data.importers.listing import SourceListing
from forametric.data.importers.particle_trieur import read_particle_trieur
from forametric.data.importers.paths import refusal
from forametric.data.importers.table import read_image_table
from forametric.data.inputs import check_output_folder
from forametric.data.tables import parse_number
from forametric.errors import ImageError, InputError
from forametric.images import decoding
from forametric.images.formats import open_image
from forametric.images.pixel_size import um_per_px_of
from forametric.images.plate import read_plate
from forametric.utils.files import sha256
from forametric.utils.outputs import put_in_place, remove_working_folder, resumable_folder
from forametric.utils.progress import in_parallel
from forametric.utils.ranges import LENGTH
from forametric.utils.results import Result
from forametric.utils.text import is_valid_text, printable

# Functions that list a source. Archives are unpacked below the second argument; the third is the
# folder of the images of a source that names them by paths.
IMPORTERS: dict[str, Callable[[Path, Path, Path | None], SourceListing]] = {
    "folder": lambda source, work, root: read_folder(source),
    "table": lambda source, work, root: read_image_table(source, root),
    "endless-forams": lambda source, work, root: read_endless_forams(source, work),
    "ecotaxa": lambda source, work, root: read_ecotaxa(source, work),
    "particle-trieur": lambda source, work, root: read_particle_trieur(source, root),
}
WITH_PATHS = ("table", "particle-trieur")
PROGRESS_FILE = "progress.jsonl"


@dataclass(frozen=True, eq=False, repr=False)
class ImportReport(Result):
    """The result of an import.

    Attributes
    ----------
    collection : Collection
    skipped : DataFrame
        The images that could not be read: image, reason.
    duplicates : DataFrame
        One row for each image whose bytes occur earlier in the table: id, image, same_as, label,
        same_as_label.
    notes : list of str
        Sentences about the source.
    source : str
        The importer that was used: a key of `IMPORTERS`.
    """

    collection: Collection
    skipped: pd.DataFrame
    duplicates: pd.DataFrame
    notes: list[str]
    source: str

    def __len__(self) -> int:
        return len(self.collection)

    def __str__(self) -> str:
        summary = self.summary
        return (
            f"{summary['specimens']} specimens of {summary['taxa']} taxa, "
            f"{summary['unlabelled']} unlabelled, {summary['duplicates']} duplicates"
        )

    def _repr_html_(self) -> str:
        return self.collection._repr_html_()

    @property
    def summary(self) -> dict[str, Any]:
        """specimens, taxa, unlabelled, with_scale, duplicates, source, notes."""
        labels = self.collection.taxa()
        return {
            "specimens": len(self),
            "taxa": len(set(labels) - {""}),
            "unlabelled": int((labels == "").sum()),
            "with_scale": int(self.table["um_per_px"].notna().sum()),
            "duplicates": len(self.duplicates),
            "source": self.source,
            "notes": self.notes,
        }

    @property
    def table(self) -> pd.DataFrame:
        """The specimens."""
        return self.collection.specimens


def import_collection(
    source: PathLike,
    output: PathLike,
    *,
    format: str = "auto",
    bar_um: float | None = None,
    images_root: PathLike | None = None,
    overwrite: bool = False,
) -> ImportReport:
    """Make a collection from a folder of images, a table or another program's project; save it.

    Every image is decoded once. Images that cannot be read are left out and listed in the
    collection's `skipped.csv`. An id is the start of the SHA-256 of the file. Files that are
    identical to an earlier one have ids that end in -2, -3, … and are listed in `duplicates.csv`.
    The source is not changed; archives are unpacked into the collection. The progress is saved in
    `OUTPUT.unfinished`, and the same call resumes from there.

    Parameters
    ----------
    format : str
        A key of `IMPORTERS`, or "auto" to recognize it from the content of the source.
    bar_um : float, optional
        The length of the scale bar on each plate's label strip in µm.
    images_root : Path, optional
        The folder below which the images of a table or a ParticleTrieur project lie, by default
        that of the table. Only with it may a table have absolute paths.

    Raises
    ------
    InputError
        When the source, or every image in it, cannot be read; when the output lies inside the
        source, or contains some of it.
    """
    LENGTH.check(bar_um=bar_um)
    source, output = Path(source), Path(output)
    check_output_folder(output, overwrite, source)
    kind = _format_of(source) if format == "auto" else format
    if kind not in IMPORTERS:
        raise InputError(f"no source format {kind!r}; the formats are {', '.join(IMPORTERS)}.")
    root = None if images_root is None else Path(images_root)
    _check_root(root, kind)
    settings = {
        "source": printable(str(source.absolute())),
        "stamps": _stamps(source),
        "kind": kind,
        "bar_um": bar_um,
        "images_root": root and printable(str(root.absolute())),
    }
    with resumable_folder(output, settings, overwrite) as work:
        try:
            return _import(IMPORTERS[kind](source, work, root), source, output, kind, bar_um, work)
        except InputError:
            remove_working_folder(output)  # it has nothing to resume from
            raise


def _stamps(source: Path) -> list[list[str | int]]:
    """Names, sizes and times of the source's file, or of the archives in its folder.

    What was unpacked from an archive that has changed since is not used again.
    """
    archives = [p for p in source.glob("*") if p.suffix.lower() == ".zip"]
    files = sorted(archives) if source.is_dir() else [source]
    stats = [(file.name, file.stat()) for file in files if file.is_file()]
    return [[printable(name), stat.st_size, stat.st_mtime_ns] for name, stat in stats]


def _check_root(root: Path | None, kind: str) -> None:
    if root is None:
        return
    if kind not in WITH_PATHS:
        raise InputError(f"a folder of images can be given for {' or '.join(WITH_PATHS)} only.")
    if not root.is_dir():
        raise InputError(f"the folder of images {root} does not exist.")


def _import(
    listing: SourceListing,
    source: Path,
    output: Path,
    kind: str,
    bar_um: float | None,
    work: Path,
) -> ImportReport:
    rows = listing.rows.reset_index(drop=True)
    refuse_to_replace((listing.folder / name for name in rows["image"]), output)
    checks = _check_images(rows["image"].tolist(), listing.folder, bar_um, work / PROGRESS_FILE)
    readable = pd.Series(["id" in c for c in checks], index=rows.index)
    skipped = pd.DataFrame(
        [
            (printable(image), check["reason"])
            for image, check in zip(rows["image"], checks, strict=True)
            if "reason" in check
        ],
        columns=["image", "reason"],
        dtype=object,
    )
    if not readable.any():
        raise InputError(
            f"none of the {len(rows)} images of {source} can be read; "
            f"the first: {skipped['image'].iloc[0]}: {skipped['reason'].iloc[0]}."
        )
    scales, scale_notes = _stated_scales(rows[readable])
    specimens = _specimens(rows[readable], [c for c in checks if "id" in c], scales)
    info = {"name": output.name, "source": source.name, "kind": kind}
    info = {key: printable(text) for key, text in info.items()} | listing.info
    info["made_by"] = f"forametric {__version__}"
    collection = Collection(specimens, listing.folder.absolute(), info)
    if kind == "endless-forams":
        collection = with_paper_splits(collection)
    duplicates = find_duplicates(specimens)
    # Images that were unpacked move with the folder.
    unpacked = listing.folder.absolute().is_relative_to(work.absolute())
    collection.write_into(work, work if unpacked else output)
    tables = {"skipped": skipped, "duplicates": duplicates, **listing.tables}
    for name, table in tables.items():
        if len(table):
            table.to_csv(work / f"{name}.csv", index=False)
    (work / PROGRESS_FILE).unlink(missing_ok=True)
    put_in_place(work, output)
    notes = listing.notes + scale_notes
    return ImportReport(Collection.open(output), skipped, duplicates, notes, kind)


def find_duplicates(specimens: pd.DataFrame) -> pd.DataFrame:
    """Specimens whose file is identical to an earlier one."""
    content = content_hash(specimens["id"])
    first = specimens.groupby(content, sort=False)[["image", "label"]].transform("first")
    repeated = content.duplicated()
    return pd.DataFrame(
        {
            "id": specimens["id"],
            "image": specimens["image"],
            "same_as": first["image"],
            "label": specimens["label"],
            "same_as_label": first["label"],
        }
    )[repeated].reset_index(drop=True)


def _format_of(source: Path) -> str:
    """Recognize the format of a source by its content."""
    if source.is_file():
        by_suffix = {".xml": "particle-trieur", ".zip": "ecotaxa"}
        return by_suffix.get(source.suffix.lower(), "table")
    if not source.is_dir():
        raise InputError(f"{source} does not exist; give a folder of images or a table.")
    if ecotaxa_tables(source):
        return "ecotaxa"
    if is_endless_forams(source):
        return "endless-forams"
    return "ecotaxa" if ecotaxa_archives(source) else "folder"


def _check_images(
    names: list[str], folder: Path, bar_um: float | None, progress: Path
) -> list[dict[str, Any]]:
    """Hash and decode every image once; returns its id and scale, or why it cannot be read.

    Each result is written to a file immediately, so that a killed import can resume.
    """
    known = _read_progress(progress)

    def check_one(name: str) -> dict[str, Any]:
        try:
            if reason := refusal(name):
                raise ImageError(reason)
            if not is_valid_text(name):
                raise ImageError("its name is not UTF-8; rename the file or its folder")
            path = inside(folder, name)
            with open_image(path) as file:
                state = os.fstat(file.fileno())
            stamp = [name, state.st_size, state.st_mtime_ns]
            if (earlier := known.get(json.dumps(stamp))) is not None:
                return earlier
            with decoding(path) as image:
                scale = um_per_px_of(path) or read_plate(image, bar_um).um_per_px
            return {"stamp": stamp, "id": sha256(path)[:ID_LENGTH], "um_per_px": scale}
        except InputError as error:
            return {"reason": str(error)}
        except OSError as error:
            return {"reason": f"cannot be read: {error.strerror}"}
        except ValueError as error:  # a name that this system's encoding cannot express
            return {"reason": f"its name cannot be used on this system: {error}"}

    checks: list[dict[str, Any]] = []
    with progress.open("a", encoding="utf-8", buffering=1) as file:
        for check in in_parallel("checking images", check_one, names):
            checks.append(check)
            if "id" in check:
                file.write(json.dumps(check) + "\n")
    return checks


def _read_progress(progress: Path) -> dict[str, dict[str, Any]]:
    """The checks of an earlier run, by name, size and time of the file.

    An incomplete last line is ignored.
    """
    known: dict[str, dict[str, Any]] = {}
    if progress.is_file():
        for line in progress.read_text(encoding="utf-8").splitlines():
            try:
                check = json.loads(line)
                known[json.dumps(check["stamp"])] = check
            except (ValueError, KeyError, TypeError):
                continue
    return known


def _stated_scales(rows: pd.DataFrame) -> tuple[pd.Series, list[str]]:
    """The column um_per_px as numbers, NaN where it states no scale, and a note on wrong ones."""
    stated = rows["um_per_px"] if "um_per_px" in rows else pd.Series("", rows.index, dtype=object)
    scales = stated.map(_scale).astype(float)
    wrong = stated[scales.isna() & (stated.str.strip() != "")]
    if wrong.empty:
        return scales, []
    return scales, [
        f"{len(wrong)} values of um_per_px are not numbers above 0, the first is "
        f"{wrong.iloc[0]!r} of {rows['image'][wrong.index[0]]}; they are read as missing."
    ]


def _scale(text: str) -> float:
    try:
        value = parse_number(text)
    except ValueError:
        return math.nan
    return value if value > 0 else math.nan


def _specimens(rows: pd.DataFrame, checks: list[dict[str, Any]], scales: pd.Series) -> pd.DataFrame:
    """The table of the collection; a stated scale counts more than one that the image has."""
    content = pd.Series([c["id"] for c in checks], index=rows.index)
    labels = rows["label"].astype(object)
    table = pd.DataFrame({"id": deduplicate_ids(content), "image": rows["image"], "label": labels})
    named = rows["taxon"] if "taxon" in rows else labels.map(_taxon)
    table["taxon"] = named.astype(object).where(named.notna() & (named != ""), None)
    for column in ("sample", "group"):
        table[column] = rows[column].replace("", None) if column in rows else None
    found = pd.Series([c["um_per_px"] for c in checks], rows.index, float)
    table["um_per_px"] = scales.fillna(found)
    extra = [c for c in rows.columns if c not in CORE_COLUMNS]
    return pd.concat([table, rows[extra]], axis=1).reset_index(drop=True)


def _taxon(label: object) -> str | None:
    return taxon_of(label) if isinstance(label, str) else None
