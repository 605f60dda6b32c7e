"""Out to the formats of the field, and back."""

import zipfile

import numpy as np
import pandas as pd
import pytest
from dwca.read import DwCAReader
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from openpyxl import load_workbook

from forametric.data.collection import Collection
from forametric.data.exporters import EXPORTERS, export
from forametric.data.importers import import_collection
from forametric.errors import InputError

SIGNS = st.sampled_from("\"'\\\t\r\n ;,")


@pytest.fixture
def core(shells) -> Collection:
    """Twelve shells of a core, with what a lab records."""
    table = shells.specimens.iloc[::4].reset_index(drop=True).copy()
    table["sample"] = [f"GC37 {10 * (i // 3)} cm" for i in range(len(table))]
    table["um_per_px"] = np.linspace(1, 3, len(table))
    table["taxon"] = ["Orbulina universa", "Globorotalia inflata", *table["taxon"][2:]]
    table["eventDate"] = "2019-06-01"
    table["equivalent diameter_um"] = 250.0
    table["remark"] = "=1+1"
    return Collection(table, shells.images, {"name": "GC37", "licence": "CC BY 4.0"})


@pytest.fixture
def names(core) -> pd.DataFrame:
    return pd.DataFrame(
        {"image": core.specimens["image"][2:6], "taxon": "Candeina nitida", "score": 0.875}
    )


def test_csv_round_trip(core, tmp_path):
    export(core, tmp_path / "out.csv")
    table = pd.read_csv(tmp_path / "out.csv")
    assert table["image"].tolist() == core.specimens["image"].tolist()
    assert table["um_per_px"].tolist() == pytest.approx(core.specimens["um_per_px"].tolist())


def test_excel_runs_no_formula(core, tmp_path):
    export(core, tmp_path / "out.xlsx", format="excel")
    sheet = load_workbook(tmp_path / "out.xlsx")["specimens"]
    header = [cell.value for cell in sheet[1]]
    cell = sheet.cell(2, header.index("remark") + 1)
    assert (cell.value, cell.data_type) == ("=1+1", "s")


def test_ecotaxa_round_trip(core, names, tmp_path):
    export(
        core, tmp_path / "out.zip", format="ecotaxa", identifications=names,
        identified_by="model x",
    )  # fmt: skip
    again = import_collection(tmp_path / "out.zip", tmp_path / "back")
    assert again.source == "ecotaxa"
    table = again.collection.specimens
    assert table["id"].tolist() == core.specimens["id"].tolist(), "the very bytes"
    assert table["sample"].tolist() == core.specimens["sample"].tolist()
    assert table["um_per_px"].to_numpy() == pytest.approx(core.specimens["um_per_px"].to_numpy())
    assert table["taxon"].tolist()[:3] == [
        "Orbulina universa",
        "Globorotalia inflata",
        "Candeina nitida",
    ]
    assert table["object_annotation_status"].value_counts().to_dict() == {
        "validated": 8,
        "predicted": 4,
    }
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        second = archive.read("ecotaxa_forametric.tsv").decode().splitlines()[1].split("\t")
    assert set(second) == {"[t]", "[f]"}


def test_ecotaxa_keeps_the_status_of_what_nobody_named_anew(core, names, tmp_path):
    core.specimens["object_annotation_status"] = ["dubious", "predicted", "predicted", "", *"v" * 8]
    core.specimens["object_annotation_person_name"] = "B. Jones"
    core.specimens["verdict_by"] = [None, None, "R. Mayer", *[None] * 9]

    def statuses(names):
        export(
            core, tmp_path / "out.zip", format="ecotaxa",
            identifications=names, identified_by="model x", overwrite=True,
        )  # fmt: skip
        with zipfile.ZipFile(tmp_path / "out.zip") as archive:
            table = pd.read_csv(archive.open("ecotaxa_forametric.tsv"), sep="\t", skiprows=[1])
        assert table["object_annotation_person_name"].tolist()[2] == (
            "R. Mayer" if names is None else "model x"
        )
        assert set(table["object_annotation_person_name"].drop(range(2, 6))) == {"B. Jones"}
        return table["object_annotation_status"].tolist()

    assert statuses(None) == ["dubious", "predicted", "validated", "validated", *"v" * 8]
    assert statuses(names) == ["dubious", *["predicted"] * 5, *"v" * 6]


def test_particle_trieur_round_trip(core, tmp_path):
    export(core, core.images / "out.csv", format="particle-trieur", overwrite=True)
    header = (core.images / "out.csv").read_text().splitlines()[0]
    assert header == (
        "id,filename,label,sample,index1,index2,resolution,GUID,labeled_by,validated_by"
    )
    again = import_collection(core.images / "out.csv", tmp_path / "back").collection.specimens
    (core.images / "out.csv").unlink()
    assert again["id"].tolist() == core.specimens["id"].tolist()
    assert again["taxon"].tolist() == core.specimens["taxon"].tolist()
    assert again["um_per_px"].to_numpy() == pytest.approx(core.specimens["um_per_px"], rel=1e-4)


def test_a_darwin_core_archive_is_read_by_another_reader(core, names, tmp_path):
    export(
        core, tmp_path / "out.zip", format="darwin-core", identifications=names,
        identified_by="forametric, model x",
    )  # fmt: skip
    term = "http://rs.tdwg.org/dwc/terms/"
    with DwCAReader(str(tmp_path / "out.zip")) as archive:
        assert archive.descriptor.core.type == f"{term}Occurrence"
        rows = {row.id: row for row in archive.rows}
        assert len(rows) == len(core)
        first = rows[core.specimens["id"][0]]
        assert first.data[f"{term}scientificName"] == "Orbulina universa"
        assert first.data[f"{term}family"] == "Globigerinidae"
        assert first.data[f"{term}eventDate"] == "2019-06-01"
        assert first.data[f"{term}scientificNameID"] == "", "no AphiaID was fetched"
        named = rows[core.specimens["id"][2]]
        assert named.data[f"{term}identifiedBy"] == "forametric, model x"
        assert named.data[f"{term}verbatimIdentification"] == core.specimens["label"][2]
        assert named.data[f"{term}identificationRemarks"] == "score 0.8750"
        kinds = {
            e.data[f"{term}measurementType"]
            for e in first.extensions
            if f"{term}measurementType" in e.data
        }
        assert kinds == {"pixel size", "equivalent diameter"}
        media = [e for e in first.extensions if e.rowtype.endswith("Multimedia")]
        assert media[0].data["http://purl.org/dc/terms/license"] == "CC BY 4.0"


def test_darwin_core_qualifies_what_the_model_left_open(core, tmp_path):
    names = pd.DataFrame(
        {
            "image": core.specimens["image"][:4],
            "taxon": ["Orbulina universa", "Globigerina", "", ""],
            "decision": ["accepted", "genus", "ambiguous", "unknown"],
            "probability": [0.9, 0.8, 0.4, 0.3],
            "best": [
                "Orbulina universa",
                "Globigerina bulloides",
                "Beella digitata",
                "Beella digitata",
            ],
        }
    )
    export(core, tmp_path / "out.zip", format="darwin-core", identifications=names)
    term = "http://rs.tdwg.org/dwc/terms/"
    with DwCAReader(str(tmp_path / "out.zip")) as archive:
        rows = {row.id: row.data for row in archive.rows}
    found = [rows[i] for i in core.specimens["id"][:5]]
    assert [row[f"{term}identificationQualifier"] for row in found] == [
        "", "indet.", "cf. Beella digitata", "", "",
    ]  # fmt: skip
    assert [row[f"{term}scientificName"] for row in found[:4]] == [
        "Orbulina universa", "Globigerina", "incertae sedis", "incertae sedis",
    ]  # fmt: skip


def test_darwin_core_has_specimens_only(core, tmp_path):
    verdicts = ["not_a_specimen", "duplicate", "taxon", "unlisted"]
    labels = core.specimens["label"].tolist()
    labels[4] = "not a specimen, fibre"
    table = core.specimens.assign(
        label=labels,
        taxon=labels,
        verdict=[*verdicts, *[None] * (len(core) - 4)],
    )
    reviewed = Collection(table, core.images, core.info)
    names = pd.DataFrame(
        {"image": [table["image"][5]], "taxon": [""], "decision": ["not_a_specimen"]}
    )
    report = export(reviewed, tmp_path / "a.zip", format="darwin-core", identifications=names)
    with DwCAReader(str(tmp_path / "a.zip")) as archive:
        ids = {row.id for row in archive.rows}
    assert ids == set(table["id"]) - set(table["id"][[0, 1, 4, 5]])
    assert len(report) == len(ids)
    assert len(export(reviewed, tmp_path / "a.csv")) == len(core), "other formats keep all"


@given(
    st.lists(st.text(SIGNS | st.characters(codec="utf-8"), max_size=9), min_size=12, max_size=12)
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(
    [
        '"Globigerina" x',
        "a\\b",
        "a\tb",
        "a\nb",
        "a\r\nb",
        '"',
        '""',
        "\\",
        " a ",
        "\x85",
        "\x1c",
        "a",
    ]
)
def test_darwin_core_keeps_every_character_for_another_reader(core, tmp_path, texts):
    table = core.specimens.assign(label=texts, locality=texts)
    changed = Collection(table, core.images, {"name": texts[0], "licence": texts[1]})
    export(changed, tmp_path / "out.zip", format="darwin-core", overwrite=True)
    with DwCAReader(str(tmp_path / "out.zip")) as archive:
        rows = list(archive.rows)
        for term in ("verbatimIdentification", "locality"):
            assert [row.data[f"http://rs.tdwg.org/dwc/terms/{term}"] for row in rows] == texts
        assert [row.id for row in rows] == table["id"].tolist()
        images = [e for e in rows[3].extensions if e.rowtype.endswith("Multimedia")]
        assert images[0].data["http://purl.org/dc/terms/license"] == texts[1]
        assert archive.metadata.find("dataset/title") is not None


@pytest.mark.parametrize("kind", EXPORTERS)
def test_a_wrong_suffix_or_an_existing_file_is_refused(core, tmp_path, kind):
    with pytest.raises(InputError, match="should end in"):
        export(core, tmp_path / "out.doc", format=kind)
    taken = tmp_path / f"out{EXPORTERS[kind].suffix}"
    taken.write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        export(core, taken, format=kind)
    assert taken.read_text() == "mine"


def test_names_of_other_specimens_are_refused(core, tmp_path):
    foreign = pd.DataFrame({"image": ["no.png"], "taxon": ["x"]})
    with pytest.raises(InputError, match="none of this collection"):
        export(core, tmp_path / "o.csv", identifications=foreign)
    with pytest.raises(InputError, match="lacks the column taxon"):
        export(core, tmp_path / "o.csv", identifications=foreign[["image"]])
