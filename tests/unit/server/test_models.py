"""Training from the page, comparing models, and switching between them."""

import pytest

from forametric.data.importers import import_collection
from forametric.data.verdicts import Verdict
from forametric.review import Project
from forametric.review.workspace import VerdictOn
from forametric.server.session import ReviewSession
from forametric.simulation import write_shells
from tests.support.cli import FORMS
from tests.support.serving import client_of, wait_for


@pytest.mark.slow
def test_a_new_model_is_trained_with_the_decisions_compared_and_switched(
    calibrated_folder, shells_folder, tmp_path
):
    write_shells(tmp_path / "images", 40, size=64, forms=FORMS, seed=7)
    import_collection(tmp_path / "images", tmp_path / "core")
    folder = tmp_path / "project"
    project = Project.create(
        folder, tmp_path / "core", calibrated_folder, reference_images=[shells_folder]
    )
    session = ReviewSession.open(project, project.open_store())
    workspace = session.workspace
    truth = workspace.collection.specimens["taxon"]
    workspace.record(
        "A", [VerdictOn(i, Verdict.TAXON, t) for i, t in zip(workspace.ids, truth, strict=True)]
    )
    client = client_of(session)
    assert client.post("/api/models").json() == {"started": True}
    assert client.post("/api/models").json() == {"started": False}
    assert wait_for(session, "training").state == "done", session.jobs.states()
    old, new = client.get("/api/models").json()
    assert old["current"]
    assert new["measured"]["tested"] == old["measured"]["tested"] >= 25
    assert new["measured"]["macro_f1"] > old["measured"]["macro_f1"], "it knows two forms more"
    assert new["has_report"]
    assert client.get("/api/models/1/report").status_code == 200
    assert client.post("/api/models/current", json={"model": 1}).json() == {"started": True}
    assert wait_for(session, "switching").state == "done", session.jobs.states()
    assert client.get("/api/status").json()["model"] == 1
    assert client.get("/api/status").json()["progress"]["settled"] == 160, "decisions stay"
    assert Project.open(folder).current == 1
    client.post("/api/models/current", json={"model": 0})
    wait_for(session, "switching")
    assert Project.open(folder).current == 0
    assert client.post("/api/models/current", json={"model": 9}).status_code == 404
    session.close()


def test_a_project_without_reference_images_is_not_trained(session, client):
    object.__setattr__(session.project, "reference_images", ())
    got = client.post("/api/models")
    assert got.status_code == 400
    assert "no collection of reference images" in got.json()["detail"]
    assert client.get("/api/models/0/report").status_code == 404
