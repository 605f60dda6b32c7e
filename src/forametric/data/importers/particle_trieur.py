"""Import from ParticleTrieur (Marchant et al. 2020): XML projects, and the CSV that it exports.

The format is that of its public repository: `project/images/image` with `source/filename` (relative
to the project, or absolute), `source/sampleID`, `index1`, `index2`, `resolution` (pixels per mm),
`GUID`, `classifications/classification` (`code`, `value`), `tags` and `val_by`. The label is the
code with the highest value.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath
from xml.etree.ElementTree import Element, ParseError

import pandas as pd
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse

from forametric.data.collection import taxon_of
from forametric.data.importers.listing import SourceListing
from forametric.data.tables import parse_number, without_control_characters
from forametric.errors import InputError

MAX_BYTES = 128 * 1024**2  # of a project, which is read whole
ALWAYS = ("image", "label", "taxon")
UNLABELLED = ("", "unlabeled", "unsure")
CSV_COLUMNS = ("filename", "label", "sample", "index1", "index2", "resolution", "GUID")


def read_particle_trieur(project: Path, images_root: Path | None = None) -> SourceListing:
    """List the images of an XML project.

    Parameters
    ----------
    images_root : Path, optional
        The folder below which the images lie; by default that of the project.

    Raises
    ------
    InputError
        When it is not such a project, is damaged or too large, or declares entities.
    """
    folder = images_root or project.parent
    root = _parsed(project)
    images = [] if root is None else root.findall("./images/image")
    if root is None or root.tag != "project" or not images:
        raise InputError(f"{project} is not a ParticleTrieur project with images.")
    names = {t.findtext("code", ""): t.findtext("name", "") for t in root.iter("taxon")}
    unreadable: list[str] = []
    table = pd.DataFrame([_row(image, names, folder, unreadable) for image in images], dtype=object)
    table, notes = without_control_characters(table.fillna(""), project)
    if unreadable:
        notes.append(
            f"{project.name}: {len(unreadable)} scores are not numbers, the first is "
            f"{unreadable[0]!r}; they count as 0."
        )
    filled = (table != "").any() | table.columns.isin(ALWAYS)
    table["label"] = table["label"].replace("", None)
    return SourceListing(table.loc[:, filled], folder, notes)


def particle_trieur_columns(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Rename the columns of ParticleTrieur's CSV; other tables are returned unchanged."""
    if not set(CSV_COLUMNS) <= set(rows.columns):
        return rows
    return rows.drop(columns="resolution").assign(
        filename=[_relative(name, folder) for name in rows["filename"]],
        label=rows["label"].where(~rows["label"].isin(UNLABELLED), ""),
        um_per_px=rows["resolution"].map(_um_per_px),
    )


def _parsed(project: Path) -> Element | None:
    try:
        if project.stat().st_size > MAX_BYTES:
            raise InputError(f"{project} is larger than {MAX_BYTES / 1e6:.0f} MB; split it.")
        return parse(project, forbid_dtd=True).getroot()
    except DefusedXmlException:
        raise InputError(
            f"{project} declares a document type or entities, which ParticleTrieur projects do "
            f"not have; it is refused for safety."
        ) from None
    except LookupError as error:
        raise InputError(f"{project}: {error}; save it as UTF-8.") from None
    except (ParseError, OSError, ValueError) as error:
        raise InputError(f"{project} is not a well-formed XML file: {error}.") from None


def _row(
    image: Element, names: dict[str, str], folder: Path, unreadable: list[str]
) -> dict[str, str]:
    """The columns of one image; scores that are not numbers are added to `unreadable`."""
    scores = {
        c.findtext("code", ""): _score(c.findtext("value", "").strip(), unreadable)
        for c in image.iterfind("./classifications/classification")
    }
    code = max(scores, key=lambda c: scores[c], default="")
    label = "" if code in UNLABELLED else code
    source = image.find("source")
    fields = {e.tag: (e.text or "").strip() for e in source} if source is not None else {}
    row = {
        "image": _relative(fields.pop("filename", ""), folder),
        "label": label,
        "taxon": taxon_of(names.get(label) or label),
        "sample": fields.pop("sampleID", "") or fields.pop("coreID", ""),
        "um_per_px": _um_per_px(fields.pop("resolution", "")),
        "score": f"{scores[code]:g}" if label else "",
        "validated_by": image.findtext("val_by", "").strip(),
        "tags": ";".join(sorted(t.text or "" for t in image.iterfind("./tags/tag"))),
    }
    return row | {k: v for k, v in fields.items() if k not in ("width", "height", *row)}


def _score(text: str, unreadable: list[str]) -> float:
    try:
        return parse_number(text) if text else 0.0
    except ValueError:
        unreadable.append(text)
        return 0.0


def _um_per_px(pixels_per_mm: str) -> str:
    """The scale of a resolution; 0 means that it is not known."""
    try:
        resolution = parse_number(pixels_per_mm)
    except ValueError:
        return ""
    return f"{1000 / resolution:.9g}" if resolution > 0 else ""


def _relative(name: str, folder: Path) -> str:
    """A path relative to the project's folder.

    Absolute paths in a project are wrong after the folder was moved. They are replaced by their
    longest tail that exists below the folder.
    """
    parts = (PureWindowsPath(name) if "\\" in name or ":" in name else PurePosixPath(name)).parts
    plain = [p for p in parts if p not in ("/", "\\") and not p.endswith((":", ":\\"))]
    if len(plain) == len(parts):
        return "/".join(plain)
    for start in range(len(plain)):
        tail = "/".join(plain[start:])
        if (folder / tail).is_file():
            return tail
    return "/".join(plain[-1:])
