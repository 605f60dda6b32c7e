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
from forametric.errors import InputError

UNLABELLED = ("", "unlabeled", "unsure")
CSV_COLUMNS = ("filename", "label", "sample", "index1", "index2", "resolution", "GUID")


def read_particle_trieur(project: Path) -> SourceListing:
    """List the images of an XML project.

    Raises
    ------
    InputError
        When it is not such a project, is damaged, or declares entities.
    """
    try:
        root = parse(project, forbid_dtd=True).getroot()
    except DefusedXmlException:
        raise InputError(
            f"{project} declares a document type or entities, which ParticleTrieur projects do "
            f"not have; it is refused for safety."
        ) from None
    except (ParseError, OSError, ValueError) as error:
        raise InputError(f"{project} is not a well-formed XML file: {error}.") from None
    images = [] if root is None else root.findall("./images/image")
    if root is None or root.tag != "project" or not images:
        raise InputError(f"{project} is not a ParticleTrieur project with images.")
    names = {t.findtext("code", ""): t.findtext("name", "") for t in root.iter("taxon")}
    rows = [_row(image, names, project.parent) for image in images]
    table = pd.DataFrame(rows)
    return SourceListing(
        table.loc[:, (table != "").any() | (table.columns == "image")], project.parent
    )


def particle_trieur_columns(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Rename the columns of ParticleTrieur's CSV; other tables are returned unchanged."""
    if not set(CSV_COLUMNS) <= set(rows.columns):
        return rows
    return rows.drop(columns="resolution").assign(
        filename=[_relative(name, folder) for name in rows["filename"]],
        label=rows["label"].where(~rows["label"].isin(UNLABELLED), ""),
        um_per_px=rows["resolution"].map(_um_per_px),
    )


def _row(image: Element, names: dict[str, str], folder: Path) -> dict[str, str]:
    scores = {
        c.findtext("code", ""): float(c.findtext("value", "0") or 0)
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
    return row | {k: v for k, v in fields.items() if k not in ("width", "height")}


def _um_per_px(pixels_per_mm: str) -> str:
    try:
        resolution = float(pixels_per_mm.replace(",", "."))
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
