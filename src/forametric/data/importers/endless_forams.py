"""Import the Endless Forams library (Hsiang et al. 2019): a folder or a ZIP for each species.

The portal's own layout (a ZIP for each of the 35 species, packed or unpacked) and other copies
(underscores for spaces, numbers before names, folders for training and validation) are recognized.
Names become those of the library. Missing species and differences from the portal's counts are
reported. The collection gets the splits of Karaderi et al. 2022 as columns.
"""

from __future__ import annotations

import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from forametric._typing import PathLike
from forametric.data.collection import Collection
from forametric.data.embeddings import skipped_table
from forametric.data.importers.archive import unpack
from forametric.data.importers.listing import SourceListing
from forametric.data.splits import make_split
from forametric.data.taxonomy import Taxonomy
from forametric.errors import InputError
from forametric.images.listing import image_files
from forametric.utils.files import atomic_path
from forametric.utils.progress import bar
from forametric.utils.results import Result

PORTAL = "https://endlessforams.org/randomizer/download"
PARTS = re.compile(r"^(train|val|test)", re.IGNORECASE)
SEED = 2022
DRAWS = 5
INFO = {
    "citation": "Hsiang et al. 2019, Paleoceanography and Paleoclimatology 34, 1157-1177",
    "licence": "see endlessforams.org",
}


def facts() -> pd.DataFrame:
    """The 35 species: number, species, portal_images (int), karaderi_open_set (bool)."""
    with (files("forametric.data") / "facts" / "endless_forams.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file)
    return table.assign(karaderi_open_set=table["karaderi_open_set"] == "yes")


def is_endless_forams(folder: Path) -> bool:
    """Whether most of a folder's subfolders or archives, at least five, have names of species."""
    names = [_species(name) for name, _ in _species_entries(folder)]
    known = sum(name is not None for name in names)
    return known >= 5 and known > len(names) / 2


def read_endless_forams(folder: Path, work: Path) -> SourceListing:
    """List the library's images; archives are unpacked below `work`.

    Raises
    ------
    InputError
        When the folder has none of the species.
    """
    archives = sorted(folder.glob("*.zip"))
    root = folder
    if archives:
        root = work / "images"
        for archive in archives:
            unpack(archive, root / archive.stem)
    rows = [
        (path.relative_to(root).as_posix(), entry.name, _species(entry.name), part)
        for _, entry in _species_entries(root)
        for part in [entry.parent.name if PARTS.match(entry.parent.name) else None]
        for path in image_files(entry)
    ]
    table = pd.DataFrame(rows, columns=["image", "label", "taxon", "part"], dtype=object)
    if not table["taxon"].notna().any():
        raise InputError(f"{folder} has none of the species of Endless Forams.")
    if table["part"].isna().all():
        table = table.drop(columns="part")
    expected = _expected(table["taxon"])
    return SourceListing(table, root, _notes(table, expected), {"expected": expected}, dict(INFO))


def with_paper_splits(collection: Collection) -> Collection:
    """The collection with the splits of Karaderi et al. 2022, and random ones, as columns.

    `karaderi-closed`: of each species 65 % for training, 15 % for validation (which the published
    code does not have) and 20 % for test, drawn with seed 2022, because the paper's lists are not
    published. `karaderi-open`: the same, with the paper's ten species held out as `unseen`.
    `open_1` … `open_5`: ten species held out at random; only for at least 12 species. Images of no
    species are `distractor`.
    """
    held_out = facts().set_index("species")["karaderi_open_set"]
    closed = make_split(collection, seed=SEED, test=0.2, val=0.15).subsets.copy()
    table = collection.specimens.copy()
    foreign = table["taxon"].isna().to_numpy()
    closed[foreign] = "distractor"
    unseen = table["taxon"].map(held_out).fillna(False).astype(bool).to_numpy()
    table["karaderi-closed"] = closed.to_numpy()
    table["karaderi-open"] = closed.mask(unseen, "unseen").to_numpy()
    if table["taxon"].nunique() >= 12:
        for draw in range(1, DRAWS + 1):
            drawn = make_split(collection, seed=SEED + draw, held_out_taxa=10)
            subsets = drawn.subsets.copy()
            subsets[foreign] = "distractor"
            table[f"open_{draw}"] = subsets.to_numpy()
    return Collection(table, collection.images, collection.info)


@dataclass(frozen=True, eq=False, repr=False)
class DownloadReport(Result):
    """The species that were downloaded.

    Attributes
    ----------
    folder : Path
    table : DataFrame
        species, file.
    skipped : DataFrame
        The species that could not be downloaded: image (the species), reason.
    """

    folder: Path
    table: pd.DataFrame
    skipped: pd.DataFrame

    def __len__(self) -> int:
        return len(self.table)

    def __str__(self) -> str:
        return f"{len(self)} of {len(self) + len(self.skipped)} species"

    @property
    def summary(self) -> dict[str, Any]:
        """species, failures."""
        failures = dict(zip(self.skipped["image"], self.skipped["reason"], strict=True))
        return {"species": len(self), "failures": failures}


def download_endless_forams(folder: PathLike, url: str = PORTAL) -> DownloadReport:
    """Download one ZIP for each species into `folder`; existing files are kept.

    Raises
    ------
    InputError
        When no species can be downloaded.
    """
    folder, failures = Path(folder), dict[str, str]()
    species = facts()["species"].tolist()
    folder.mkdir(parents=True, exist_ok=True)
    with bar("downloading species", len(species)) as advance:
        for name in species:
            target = folder / f"{name}.zip"
            if not target.is_file():
                try:
                    _download(f"{url}/{urllib.parse.quote(name)}/0", target)
                except (OSError, urllib.error.URLError) as error:
                    failures[name] = str(error)
            advance(1, name)
    if len(failures) == len(species):
        raise InputError(
            f"Endless Forams cannot be reached ({failures[species[0]]}); "
            f"download it in a browser and import the folder."
        )
    files = [(name, f"{name}.zip") for name in species if name not in failures]
    table = pd.DataFrame(files, columns=["species", "file"])
    return DownloadReport(folder, table, skipped_table(list(failures.items())))


def _download(url: str, target: Path) -> None:
    with urllib.request.urlopen(url, timeout=120) as source, atomic_path(target) as temporary:
        with temporary.open("wb") as out:
            shutil.copyfileobj(source, out, 1024 * 1024)
        if not zipfile.is_zipfile(temporary):
            raise OSError("the response is not a ZIP archive")


def _species_entries(folder: Path) -> list[tuple[str, Path]]:
    """The names and paths of the species' folders and archives."""
    entries: list[tuple[str, Path]] = []
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and PARTS.match(entry.name) and _species(entry.name) is None:
            entries += [(e.name, e) for e in _listed(entry) if e.is_dir()]
        elif entry.is_dir():
            inner = [e for e in _listed(entry) if not e.name.startswith(".")]
            # An archive often holds one folder of its own name.
            only = inner[0] if len(inner) == 1 and inner[0].is_dir() else entry
            entries.append((entry.name, entry if _species(entry.name) else only))
        elif entry.suffix.lower() == ".zip":
            entries.append((entry.stem, entry))
    return entries


def _listed(folder: Path) -> list[Path]:
    """What is in a folder, by name; nothing if it cannot be read, which is found out later."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _species(name: str) -> str | None:
    """The library's name for a folder, or None."""
    return _taxonomy().accepted(name) if name in _taxonomy() else None


@cache
def _taxonomy() -> Taxonomy:
    return Taxonomy.load()


def _expected(taxa: pd.Series) -> pd.DataFrame:
    table = facts()[["number", "species", "portal_images"]]
    found = table["species"].map(taxa.value_counts()).fillna(0).astype(int)
    return table.assign(found=found, difference=found - table["portal_images"])


def _notes(table: pd.DataFrame, expected: pd.DataFrame) -> list[str]:
    notes = []
    missing = expected["species"][expected["found"] == 0]
    if len(missing):
        notes.append(f"{len(missing)} of 35 species are missing: {', '.join(missing)}.")
    other = expected[(expected["found"] > 0) & (expected["difference"] != 0)]
    if len(other):
        notes.append(
            f"{len(other)} species differ from the portal's counts; see expected.csv in the "
            f"collection."
        )
    extra = sorted(set(table["label"][table["taxon"].isna()]))
    if extra:
        notes.append(f"not among the 35 species, kept without a taxon: {', '.join(extra)}.")
    return notes
