"""Morphotypes over HTTP."""

from tests.support.serving import decide, wait_for


def test_morphotypes_are_moved_merged_split_named_and_undone(client, session):
    ids = [str(i) for i in session.workspace.ids[:8]]
    asked = {"reviewer": "A", "specimens": ids[:5]}
    first = client.post("/api/morphotypes/move", json=asked).json()["number"]
    asked = {"reviewer": "A", "specimens": ids[5:], "morphotype": None}
    second = client.post("/api/morphotypes/move", json=asked).json()["number"]
    asked = {"reviewer": "A", "morphotypes": [first, second]}
    assert client.post("/api/morphotypes/merge", json=asked).json() == {"number": first}
    whole = client.get("/api/morphotypes").json()[0]
    assert whole["specimens"] == len(whole["members"]) == 8
    assert len(whole["nearest"]) == 2, "the taxa that the model knows"
    part = client.post(f"/api/morphotypes/{first}/split", json={"reviewer": "A"}).json()["number"]
    sizes = {g["number"]: g["specimens"] for g in client.get("/api/morphotypes").json()}
    assert sizes[first] >= sizes[part]
    assert sizes[first] + sizes[part] == 8
    named = client.post(
        f"/api/morphotypes/{part}/name", json={"reviewer": "A", "name": "Nova species"}
    )
    assert named.json()["decisions"] == sizes[part]
    assert wait_for(session, "identifying").state == "done"
    assert "Nova species" in client.get("/api/project").json()["taxa"]
    undone = [
        client.post("/api/morphotypes/undo", json={"reviewer": "A"}).json()["undone"]
        for _ in range(6)
    ]
    assert undone == ["name", "split", "merge", "move", "move", None]
    assert client.get("/api/morphotypes").json() == []
    for path in ("/api/morphotypes/77/split", "/api/morphotypes/77/name"):
        body = {"reviewer": "A"} | ({"name": "x"} if path.endswith("name") else {})
        assert client.post(path, json=body).status_code == 404


def test_specimens_without_a_name_are_grouped(client, session):
    for i in session.workspace.ids[:12]:
        decide(client, str(i), verdict="unlisted")
    assert client.post("/api/morphotypes", json={"reviewer": "A"}).json() == {"started": True}
    job = wait_for(session, "discovering")
    assert (job.state, job.message) == (
        "done", f"{len(client.get('/api/morphotypes').json())} morphotypes found",
    )  # fmt: skip
