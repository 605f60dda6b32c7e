"""The queue, decisions and agreement over HTTP; decisions survive a killed server."""

import threading
from io import BytesIO
from types import SimpleNamespace

import httpx
import pandas as pd
import pytest
from PIL import Image

from forametric.review import DecisionStore
from forametric.review.project import STORE
from forametric.server.session import UPDATE_PAUSE
from tests.support.serving import HEADERS, TOKEN, decide, next_specimens, running, wait_for


def test_a_specimen_is_reviewed_from_the_queue_to_the_history(client):
    one = next_specimens(client)[0]
    assert one["candidates"][0]["taxon"] == one["suggested"]
    assert one["candidates"][0]["references"]
    image = client.get(f"/api/image?specimen={one['candidates'][0]['references'][0]['id']}&size=96")
    assert Image.open(BytesIO(image.content)).size == (96, 96)
    assert image.headers["cache-control"] == "private, max-age=86400"
    got = decide(client, one["id"], one["suggested"])
    assert got.json()["progress"]["settled"] == 1
    assert one["id"] not in [other["id"] for other in next_specimens(client, count=20)]
    shown = client.get(f"/api/specimen?specimen={one['id']}").json()
    assert (shown["state"], shown["verdict"], shown["taxon"]) == (
        "settled", "taxon", one["suggested"],
    )  # fmt: skip
    assert shown["history"][0]["reviewer"] == "A"
    history = pd.read_csv(BytesIO(client.get("/api/exports/history").content))
    assert history["suggested"][0] == one["suggested"]
    assert history["model"][0] == client.get("/api/project").json()["fingerprint"]
    undone = client.post("/api/decisions/undo", json={"reviewer": "A"}).json()
    assert (undone["specimen"], undone["verdict"], undone["taxon"]) == (
        one["id"], "taxon", one["suggested"],
    )  # fmt: skip
    assert client.post("/api/decisions/undo", json={"reviewer": "A"}).json()["specimen"] is None


def test_what_is_decided_together_is_undone_together(client):
    ids = [one["id"] for one in next_specimens(client, count=5)]
    decisions = [{"specimen": i, "verdict": "taxon", "taxon": "Aa bb"} for i in ids]
    client.post("/api/decisions", json={"reviewer": "A", "decisions": decisions})
    undone = client.post("/api/decisions/undo", json={"reviewer": "A"}).json()
    assert undone["count"] == 5
    assert undone["progress"]["settled"] == 0


def test_a_batch_of_the_queue_reserves_and_excludes(client):
    mine = [one["id"] for one in next_specimens(client, "A", 5)]
    asked = {"reviewer": "A", "count": 5, "exclude": mine}
    more = client.get("/api/queue", params=asked).json()
    assert not {one["id"] for one in more["specimens"]} & set(mine)
    assert not {one["id"] for one in next_specimens(client, "B", 20)} & set(mine)
    assert more["n_remaining"] == 64
    assert client.get("/api/queue").status_code == 422


@pytest.mark.parametrize(
    ("decision", "status"),
    [
        ({"specimen": "nobody", "verdict": "taxon", "taxon": "Aa"}, 404),
        ({"specimen": "SELF", "verdict": "taxon", "taxon": ""}, 400),
        ({"specimen": "SELF", "verdict": "unlisted", "taxon": "Aa"}, 400),
        ({"specimen": "SELF", "verdict": "maybe", "taxon": ""}, 422),
        ({"specimen": "SELF", "verdict": "unknown", "taxon": ""}, 422),
        ({"specimen": "SELF", "verdict": "taxon", "taxon": "<none>"}, 422),
        ({"specimen": "SELF", "verdict": "taxon", "taxon": "x" * 200}, 422),
    ],
)
def test_a_decision_that_says_nothing_is_refused_and_nothing_kept(
    client, session, decision, status
):
    specimen = str(session.workspace.ids[0])
    decisions = [
        {"specimen": specimen, "verdict": "taxon", "taxon": "Aa bb"},
        decision | {"specimen": decision["specimen"].replace("SELF", specimen)},
    ]
    got = client.post("/api/decisions", json={"reviewer": "A", "decisions": decisions})
    assert got.status_code == status, got.text
    assert not len(session.store.history()), "all are kept or none"


def test_agreement_and_conflicts_are_listed(client, session):
    ids = [str(i) for i in session.workspace.ids[:4]]
    for i in ids:
        decide(client, i, "Aa bb")
        decide(client, i, "Aa bb" if i != ids[0] else "Cc dd", reviewer="B")
    found = client.get("/api/agreement").json()
    assert found["cohen"][0]["specimens"] == 4
    assert found["reviewers"] == ["A", "B"]
    (conflict,) = found["conflicts"]
    assert conflict["specimen"] == ids[0]
    assert {s["taxon"] for s in conflict["decisions"]} == {"Aa bb", "Cc dd"}


@pytest.mark.slow
def test_a_killed_server_has_kept_every_acknowledged_decision(folder):
    """Killed three times while a client sends; what was acknowledged is there, once."""
    acknowledged = []
    for _ in range(3):
        with (
            running(folder, TOKEN) as (address, process),
            httpx.Client(base_url=address, headers=HEADERS) as client,
        ):
            queue = next_specimens(client, count=20)
            timer = threading.Timer(0.15, process.kill)
            timer.start()
            for one in queue:
                try:
                    got = decide(client, one["id"], "Aa bb")
                except httpx.HTTPError:
                    break
                if got.status_code == 200:
                    acknowledged.append(one["id"])
            timer.join()
    history = DecisionStore.open(folder / STORE).history()
    assert acknowledged
    assert set(acknowledged) <= set(history["specimen"])
    assert not history["specimen"].duplicated().any()


def test_identifying_again_leaves_most_of_the_time_to_requests(client, session, monkeypatch):
    began = []
    update, now = session.workspace.update, [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("forametric.server.session.time", clock)

    def slow() -> None:
        began.append(now[0])
        update()
        now[0] += 2

    monkeypatch.setattr(session.workspace, "update", slow)
    ids = [str(i) for i in session.workspace.ids]
    decide(client, ids[0], taxon="Nova species")
    wait_for(session, "identifying")
    decide(client, ids[1], taxon="Altera species")
    assert began == [1000.0], "not at once again"
    now[0] += UPDATE_PAUSE * 2 - 0.1
    client.get("/api/status")
    assert began == [1000.0]
    now[0] += 0.2
    client.get("/api/status")
    wait_for(session, "identifying")
    assert len(began) == 2
    assert "Altera species" in session.workspace.identification.taxa
