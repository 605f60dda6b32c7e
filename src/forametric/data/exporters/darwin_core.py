"""Export a Darwin Core Archive: occurrences, measurements and images, as in TDWG's text guide.

`identifiedBy` is the title of the model for names that a model gave. `identificationQualifier` says
what it left open: `indet.` for the species of a genus, `cf.` with the most probable taxon for an
ambiguous specimen (open nomenclature). `verbatimIdentification` is the original label.
`scientificNameID` is the LSID of WoRMS if the taxonomy has the AphiaID. Columns of the collection
with the name of a Darwin Core term (eventDate, decimalLatitude, …) are exported. Images are
referenced by their path and are not in the archive.
"""

from __future__ import annotations

import csv
import re
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import pandas as pd

from forametric._version import __version__
from forametric.data.exporters.records import ExportTable

DWC, DC = "http://rs.tdwg.org/dwc/terms/", "http://purl.org/dc/terms/"
MULTIMEDIA = "http://rs.gbif.org/terms/1.0/Multimedia"
CONTROL = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
LSID = "urn:lsid:marinespecies.org:taxname:"
TERMS = (
    "eventDate", "decimalLatitude", "decimalLongitude", "geodeticDatum", "locality", "waterBody",
    "country", "minimumDepthInMeters", "maximumDepthInMeters", "recordedBy", "institutionCode",
    "collectionCode", "catalogNumber", "basisOfRecord", "preparations", "lifeStage", "eventID",
    "earliestAgeOrLowestStage", "latestAgeOrHighestStage", "identificationReferences",
)  # fmt: skip


def write_darwin_core(records: ExportTable, path: Path) -> None:
    """Write meta.xml, eml.xml, occurrence.txt, measurementorfact.txt and multimedia.txt."""
    parts = {
        "occurrence.txt": (f"{DWC}Occurrence", _occurrences(records)),
        "measurementorfact.txt": (f"{DWC}MeasurementOrFact", _measurements(records)),
        "multimedia.txt": (MULTIMEDIA, _images(records)),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "meta.xml", _meta({k: (row, [str(c) for c in t]) for k, (row, t) in parts.items()})
        )
        archive.writestr("eml.xml", _eml(records))
        for name, (_, table) in parts.items():
            # As meta.xml says: all fields are in quotation marks; those inside are doubled.
            text = table.to_csv(sep="\t", index=False, lineterminator="\n", quoting=csv.QUOTE_ALL)
            archive.writestr(name, text)


def _occurrences(records: ExportTable) -> pd.DataFrame:
    taxa = records.text("taxon")
    above = [records.taxonomy.above(t) for t in taxa]
    aphia = [records.taxonomy.aphia_id(t) for t in taxa]
    genus = records.text("decision") == "genus"
    above = [{**a, "genus": t} if g else a for a, t, g in zip(above, taxa, genus, strict=True)]
    ranks = [
        "genus" if g else "species" if len(t.split()) > 1 else ""
        for t, g in zip(taxa, genus, strict=True)
    ]
    table = pd.DataFrame(
        {
            "id": records.text("id"),
            "occurrenceID": records.text("id"),
            "basisOfRecord": "MaterialSample",
            "occurrenceStatus": "present",
            "scientificName": taxa.where(taxa != "", "incertae sedis"),
            "scientificNameID": [f"{LSID}{a}" if a else "" for a in aphia],
            "identificationQualifier": records.text("identification_qualifier"),
            "taxonRank": ranks,
            "order": [a["order"] for a in above],
            "family": [a["family"] for a in above],
            "genus": [a["genus"] for a in above],
            "verbatimIdentification": records.text("label"),
            "identifiedBy": records.text("identified_by"),
            "identificationVerificationStatus": [
                "predicted by machine" if p else "" for p in records.table["predicted"]
            ],
            "identificationRemarks": _remarks(records),
            "materialSampleID": records.text("sample"),
            "associatedMedia": records.text("image"),
        }
    )
    for term in TERMS:
        if term in records.table:
            table[term] = records.text(term)
    return table


def _remarks(records: ExportTable) -> list[str]:
    """The reason of the decision, or the score if there is none."""
    scores = [f"score {s}" if s else "" for s in records.text("score")]
    return [r or s for r, s in zip(records.text("reason"), scores, strict=True)]


def _measurements(records: ExportTable) -> pd.DataFrame:
    """The pixel size and, from segmented slides, the measurements of each specimen."""
    units = {"um_per_px": ("pixel size", "µm")}
    for column in records.extra():
        for suffix, unit in (("_um", "µm"), ("_um2", "µm²")):
            if column.endswith(suffix):
                units[column] = (column.removesuffix(suffix).replace("_", " "), unit)
    parts = []
    for column, (kind, unit) in units.items():
        values = records.text(column)
        known = values != ""
        parts.append(
            pd.DataFrame(
                {
                    "id": records.text("id")[known],
                    "measurementType": kind,
                    "measurementValue": values[known],
                    "measurementUnit": unit,
                    "measurementMethod": f"forametric {__version__}",
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _images(records: ExportTable) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": records.text("id"),
            "type": "StillImage",
            "identifier": records.text("image"),
            "license": str(records.collection.info.get("licence", "")),
        }
    )


def _meta(parts: dict[str, tuple[str, list[str]]]) -> str:
    """The descriptor: the files of the archive and their columns."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>']
    lines.append('<archive xmlns="http://rs.tdwg.org/dwc/text/" metadata="eml.xml">')
    for number, (name, (row, columns)) in enumerate(parts.items()):
        element, key = ("core", "id") if number == 0 else ("extension", "coreid")
        lines.append(
            f'  <{element} encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" '
            f'fieldsEnclosedBy="&quot;" ignoreHeaderLines="1" rowType={quoteattr(row)}>'
        )
        lines.append(f"    <files><location>{name}</location></files>")
        lines.append(f'    <{key} index="0"/>')
        for index, column in enumerate(columns[1:], 1):
            term = f"{DC}{column}" if row == MULTIMEDIA else f"{DWC}{column}"
            lines.append(f'    <field index="{index}" term={quoteattr(term)}/>')
        lines.append(f"  </{element}>")
    return "\n".join([*lines, "</archive>", ""])


def _eml(records: ExportTable) -> str:
    info = records.collection.info
    title = _xml(str(info.get("name") or "specimens"))
    terms = {"citation": info.get("citation"), "licence": info.get("licence")}
    abstract = _xml("; ".join(f"{k}: {v}" for k, v in terms.items() if v) or "Specimen images.")
    today = datetime.now(UTC).date().isoformat()
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<eml:eml xmlns:eml="https://eml.ecoinformatics.org/eml-2.2.0" packageId="forametric" '
        'system="forametric" scope="system">\n'
        f"  <dataset><title>{title}</title>\n"
        f"    <creator><organizationName>forametric {__version__}</organizationName></creator>\n"
        f"    <pubDate>{today}</pubDate><language>en</language>\n"
        f"    <abstract><para>{abstract}</para></abstract>\n"
        "    <contact><organizationName>see the collection</organizationName></contact>\n"
        "  </dataset>\n</eml:eml>\n"
    )


def _xml(text: str) -> str:
    """Text for XML, which has no control characters."""
    return escape(CONTROL.sub("\N{REPLACEMENT CHARACTER}", text))
