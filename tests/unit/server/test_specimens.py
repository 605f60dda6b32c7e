"""The project, its map, its images and its specimens over HTTP."""

import shutil
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from forametric.data.collection import Collection
from forametric.review import DecisionStore, Project
from forametric.server.session import ReviewSession
from tests.support.serving import client_of, decide, unpack, wait_for


def test_the_map_and_its_columns_are_sent_as_numbers_in_one_order(client, session):
    description, data = unpack(client.get("/api/map"))
    coordinates = np.frombuffer(data, "<f4").reshape(-1, 2)
    workspace = session.workspace
    order = workspace.embedded.order
    assert description == {"ids": workspace.ids[order].tolist(), "model": 0}
    assert np.array_equal(coordinates, workspace.embedded.morphospace.coordinates_[order])
    columns = client.get("/api/project").json()["columns"]
    assert columns[:2] == ["taxon", "state"]
    assert {"sample", "label", "depth"} <= set(columns)
    for name in columns:
        description, data = unpack(client.get("/api/column", params={"name": name}))
        values = np.frombuffer(data, "<u2" if description["levels"] else "<f4")
        assert len(values) == 64, name
        if description["levels"]:
            assert values.max() < len(description["levels"])
    description, data = unpack(client.get("/api/column?name=taxon"))
    named = [description["levels"][code] for code in np.frombuffer(data, "<u2")]
    assert named == workspace.taxa()[order].tolist()
    assert client.get("/api/column?name=nothing").status_code == 404


def test_a_sheet_is_refused_for_another_model_than_the_one_in_use(client, session):
    sheets = client.get("/api/project").json()["sheets"]
    assert sheets == {"count": 1, "columns": 16, "thumbnail_size": 64, "per_sheet": 256}
    plain = client.get("/api/sheets/0")
    assert plain.status_code == 200
    assert Image.open(BytesIO(plain.content)).size == (1024, 1024)
    assert client.get("/api/sheets/0?model=0").content == plain.content
    refused = client.get("/api/sheets/0?model=1")
    assert refused.status_code == 409
    assert "model 1 is not in use" in refused.json()["detail"]
    assert client.get("/api/sheets/1?model=0").status_code == 404
    session.project = session.project.with_model(session.project.model)
    client.post("/api/models/current", json={"model": 1})
    assert wait_for(session, "switching").state == "done"
    assert client.get("/api/status").json()["model"] == 1
    assert unpack(client.get("/api/map"))[0]["model"] == 1
    assert client.get("/api/sheets/0?model=1").status_code == 200
    assert client.get("/api/sheets/0?model=0").status_code == 409


def test_search_by_taxon_id_sample_and_similarity(client, session):
    specimen = str(session.workspace.ids[7])
    assert client.get(f"/api/specimens?text={specimen[:12]}").json()["ids"] == [specimen]
    assert client.get("/api/specimens?text=CORE 9").json()["count"] == 16
    assert client.get("/api/specimens?text=(").json()["count"] == 0
    similar = client.get(f"/api/specimen/similar?specimen={specimen}").json()
    assert (similar[0]["id"], similar[0]["distance"]) == (specimen, 0)
    assert len(similar) == 24
    assert client.get("/api/specimen/similar?specimen=nobody").status_code == 404


ODD_IDS = [
    "a/b c%é.png", "..", "../x", "a/similar", "?a=1&b#c", "x" * 1000, " a ", "a\nb", "%2e%2e",
]  # fmt: skip


@pytest.fixture
def odd_client(folder, more_shells, tmp_path):
    """A client of a project whose ids and samples have any characters."""
    shells = Collection.open(more_shells)
    table = shells.specimens.assign(id=[*ODD_IDS, *shells.specimens["id"][len(ODD_IDS) :]])
    table.loc[0, "sample"] = "core 1/2 %"
    core = Collection(table, shells.images, shells.info).save(tmp_path / "core")
    project = Project(folder, core, Project.open(folder).models)
    session = ReviewSession.open(project, DecisionStore(folder / "odd.sqlite"))
    with client_of(session) as client:
        yield client
    session.close()


def test_a_specimen_with_any_id_is_shown_decided_and_undone(odd_client):
    queue = {"reviewer": "A", "count": 100, "exclude": ODD_IDS[:3]}
    shown = {one["id"] for one in odd_client.get("/api/queue", params=queue).json()["specimens"]}
    assert shown == {*ODD_IDS, *shown} - set(ODD_IDS[:3])
    for specimen in ODD_IDS:
        asked = {"specimen": specimen}
        assert odd_client.get("/api/specimen", params=asked).json()["id"] == specimen
        assert odd_client.get("/api/specimen/similar", params=asked).json()[0]["id"] == specimen
        assert odd_client.get("/api/image", params=asked).headers["content-type"] == "image/jpeg"
        assert decide(odd_client, specimen, "Aa bb").status_code == 200, specimen
        undone = odd_client.post("/api/decisions/undo", json={"reviewer": "A"}).json()
        assert undone["specimen"] == specimen
    moved = odd_client.post("/api/morphotypes/move", json={"reviewer": "A", "specimens": ODD_IDS})
    assert moved.status_code == 200
    precision = odd_client.get("/api/samples/precision", params={"sample": "core 1/2 %"})
    assert precision.json()["specimens"] == 1


def test_an_uploaded_image_is_identified_and_placed(client, session):
    workspace = session.workspace
    data = workspace.collection.path(4).read_bytes()
    got = client.post("/api/identifications", content=data).json()
    assert got["similar"][0]["id"] == workspace.ids[4]
    coordinates = workspace.embedded.morphospace.coordinates_
    distance = np.hypot(got["x"] - coordinates[4][0], got["y"] - coordinates[4][1])
    assert distance < np.ptp(coordinates) / 4


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "0 bytes"), (b"#!/bin/sh\nrm -rf /\n", "image"), (b"\x89PNG\r\n\x1a\n" + b"x" * 50, "")],
)
def test_an_upload_that_is_not_an_image_is_refused_with_a_sentence(client, data, message):
    got = client.post("/api/identifications", content=data, headers={"Content-Type": "image/png"})
    assert got.status_code == 400
    assert message in got.json()["detail"]


def test_a_missing_image_file_is_reported_and_everything_else_works(folder, more_shells, tmp_path):
    moved = tmp_path / "images"
    shells = Collection.open(more_shells)
    shutil.copytree(shells.images, moved)
    core = Collection(shells.specimens, moved, shells.info).save(tmp_path / "core")
    project = Project(folder, core, Project.open(folder).models)
    session = ReviewSession.open(project, DecisionStore(folder / "other.sqlite"))
    shells.specimens["image"].map(lambda name: (moved / name).unlink())
    specimen = str(session.workspace.ids[0])
    with client_of(session) as client:
        got = client.get(f"/api/image?specimen={specimen}")
        assert got.status_code == 404
        assert "does not exist" in got.json()["detail"]
        assert client.get("/api/sheets/0").status_code == 200
        assert decide(client, specimen, "Aa bb").status_code == 200
        assert client.get("/api/status").json()["collection_changed"] is False
        Collection(shells.specimens[:9], moved, shells.info).save(core, overwrite=True)
        assert client.get("/api/status").json()["collection_changed"] is True
    session.close()
