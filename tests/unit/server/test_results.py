"""The check of the collection, samples and exports over HTTP."""

import zipfile
from io import BytesIO

import pandas as pd

from tests.support.serving import decide, wait_for


def test_the_check_lists_what_is_not_settled(client, session):
    assert client.get("/api/check-findings").json() == {"made": False, "findings": []}
    assert client.post("/api/check-findings").json() == {"started": True}
    assert wait_for(session, "checking").state == "done"
    found = client.get("/api/check-findings").json()
    assert found["made"]
    if found["findings"]:
        one = found["findings"][0]
        assert one["message"]
        decide(client, one["id"], verdict="unlisted")
        left = client.get("/api/check-findings").json()["findings"]
        assert one["id"] not in {f["id"] for f in left}


def test_damaged_findings_are_refused_with_a_sentence(client, session):
    (session.project.folder / "findings.csv").write_text("kind,id\nblank,x\n")
    got = client.get("/api/check-findings")
    assert got.status_code == 400
    assert "check the collection again" in got.json()["detail"]


def test_samples_are_counted_and_exported(client, session):
    empty = client.get("/api/samples").json()
    assert empty == {"made": False, "depth": "depth", "abundances": [], "samples": []}
    client.post("/api/samples")
    assert wait_for(session, "counting").state == "done"
    found = client.get("/api/samples").json()
    assert [sample["depth"] for sample in found["samples"]] == [0, 1, 2, 3]
    assert {row["taxon"] for row in found["abundances"]} >= {"unknown"}
    assert all(row["low"] <= row["abundance"] <= row["high"] for row in found["abundances"])
    precision = client.get("/api/samples/precision?sample=core 9").json()
    assert (precision["specimens"], precision["settled"]) == (16, 0)
    assert 0 < precision["interval_width"] < 1
    assert client.get("/api/samples/precision?sample=nowhere").status_code == 404
    kinds = client.get("/api/project").json()["exports"]
    assert {"csv", "excel", "ecotaxa", "darwin-core", "history", "figure"} <= set(kinds)
    for kind in kinds:
        got = client.get(f"/api/exports/{kind}")
        assert got.status_code == 200, (kind, got.text)
        assert len(got.content) > 50, kind
        assert "attachment" in got.headers["content-disposition"]
    assert client.get("/api/exports/nothing").status_code == 404


def test_an_export_tells_validated_from_predicted(client, session):
    collection = session.workspace.collection
    object.__setattr__(collection, "specimens", collection.specimens.assign(taxon=None))
    settled, rejected = map(str, session.workspace.ids[:2])
    decide(client, settled, "Aa bb")
    decide(client, rejected, verdict="not_a_specimen")
    data = client.get("/api/exports/ecotaxa").content
    with zipfile.ZipFile(BytesIO(data)) as archive, archive.open(archive.namelist()[0]) as file:
        rows = pd.read_csv(file, sep="\t", skiprows=[1], keep_default_na=False)
    rows = rows.set_index("object_id")
    assert rows.loc[settled, "object_annotation_status"] == "validated"
    assert rows.loc[settled, "object_annotation_category"] == "Aa bb"
    assert rows.loc[settled, "object_annotation_person_name"] == "A"
    assert rows.loc[rejected, "object_annotation_category"] == ""
    others = rows.drop([settled, rejected])
    assert set(others["object_annotation_status"]) <= {"predicted", ""}
