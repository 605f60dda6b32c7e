"""The review project, its desk and its server, on simulated shells."""

import json
import shutil
import struct
import subprocess
import threading
import zipfile
from dataclasses import replace
from io import BytesIO

import httpx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from forametric.data.collection import Collection
from forametric.data.importers import import_collection
from forametric.errors import InputError, ModelError
from forametric.model.model import Model
from forametric.review import Decision, Decisions, training_set
from forametric.review.groups import Groups
from forametric.review.project import STORE, Project, embed_project
from forametric.review.workspace import Desk, Word
from forametric.server.app import make_app
from forametric.server.run import checked_token
from forametric.server.security import MOST_BYTES
from forametric.server.session import Studio
from forametric.simulation import write_shells
from tests.support.cli import FORMS, QUICK, forametric
from tests.support.serving import running

TOKEN = "a-token-for-tests"
ADDRESS = "http://127.0.0.1:8765"


@pytest.fixture(scope="session")
def prepared_project(calibrated_folder, more_shells, shells_folder, tmp_path_factory):
    """A project whose vectors and map are made; tests copy it."""
    folder = tmp_path_factory.mktemp("review") / "project"
    project = Project.create(
        folder, more_shells, calibrated_folder, references=[shells_folder], depth="depth"
    )
    embed_project(project)
    return folder


@pytest.fixture
def folder(prepared_project, tmp_path_factory):
    # Beside the first, since the paths in a project are relative to it.
    copy = prepared_project.with_name(tmp_path_factory.mktemp("p").name)
    shutil.copytree(prepared_project, copy)
    yield copy
    shutil.rmtree(copy)


@pytest.fixture
def studio(folder):
    found = Studio.open(Project.open(folder), Decisions(folder / STORE))
    yield found
    found.close()


@pytest.fixture
def client(studio):
    with TestClient(
        make_app(studio, TOKEN), base_url=ADDRESS, headers={"Authorization": f"Bearer {TOKEN}"}
    ) as one:
        yield one


def wait_for(studio, kind):
    for _ in range(600):
        state = studio.jobs.states()[kind]
        if state["state"] in ("done", "failed"):
            return state
        threading.Event().wait(0.1)
    raise AssertionError(f"{kind} does not end: {state}")


def first_of(client, reviewer="A", count=5):
    return client.post(f"/api/queue?count={count}", json={"reviewer": reviewer}).json()["specimens"]


def says(client, specimen, taxon="", verdict="taxon", reviewer="A"):
    word = {"specimen": specimen, "verdict": verdict, "taxon": taxon}
    return client.post("/api/decisions", json={"reviewer": reviewer, "decisions": [word]})


# The project


def test_a_project_opens_again_with_what_was_made_and_makes_anew_what_has_changed(
    folder, more_shells, calibrated_folder, monkeypatch, tmp_path
):
    project = Project.open(folder)
    assert project.depth == "depth"
    assert project.model.samefile(calibrated_folder)
    calls = []
    embed = Model.embed_in_batches
    monkeypatch.setattr(
        Model, "embed_in_batches", lambda *a, **k: calls.append(1) or embed(*a, **k)
    )
    before = embed_project(project)
    assert not calls, "vectors are read, not made"
    shells = Collection.open(more_shells)
    fewer = shells.select(np.arange(20)).save(tmp_path / "fewer")
    changed = Project(folder, fewer, project.models)
    assert len(embed_project(changed).shells) == 20
    assert calls, "another collection's vectors are made anew"
    assert len(before.shells) == 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ('{"format": 9}', "project format 9"),
        ('{"format": 1, "models": []}', "damaged"),
        ('{"format": 1, "models": ["a"], "current": 3, "collection": "c", "references": [], '
         '"depth": "", "database": ""}', "damaged"),
    ],
)  # fmt: skip
def test_a_damaged_project_is_refused_with_a_sentence(tmp_path, text, message):
    (tmp_path / "project.json").write_text(text)
    with pytest.raises(InputError, match=message):
        Project.open(tmp_path)


def test_a_model_without_calibration_is_refused_before_the_long_work(
    model_folder, more_shells, tmp_path
):
    with pytest.raises(ModelError, match="forametric calibrate"):
        Project.create(tmp_path / "p", more_shells, model_folder)
    assert not (tmp_path / "p").exists()
    with pytest.raises(ModelError, match="forametric calibrate"):
        embed_project(Project(tmp_path / "p", more_shells, (model_folder,)))
    assert not (tmp_path / "p").exists()


def test_sheets_follow_the_map_so_that_neighbours_share_one(folder):
    prepared = embed_project(Project.open(folder))
    grid = np.stack(np.meshgrid(np.arange(8), np.arange(8)), axis=-1).reshape(-1, 2)
    shuffled = np.random.default_rng(0).permutation(grid).astype(np.float32)
    is_landmark = replace(prepared, space=replace(prepared.space, coordinates=shuffled))
    assert sorted(is_landmark.order) == list(range(64))
    walk = shuffled[is_landmark.order]
    assert walk[:4].tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]
    for start in range(0, 64, 16):  # a quarter of the walk is a quarter of the map
        assert np.ptp(walk[start : start + 16], axis=0).tolist() == [3, 3]


# The desk


def test_what_is_settled_shows_at_once_and_an_undo_takes_it_back(studio):
    desk = studio.desk
    specimen = desk.ids[0]
    desk.decide("A", [Word(specimen, "taxon", "Nova  species")])
    assert desk.names()[0] == "Nova species"
    assert desk.states()[0] == "settled"
    assert desk.progress()["settled"] == 1
    assert [taken.taxon for taken in desk.undo("A")] == ["Nova species"]
    assert desk.progress()["settled"] == 0
    assert desk.undo("A") == []


def test_the_same_word_sent_twice_is_kept_once(studio):
    word = [Word(studio.desk.ids[0], "taxon", "Aa bb")]
    assert len(studio.desk.decide("A", word)) == 1
    assert studio.desk.decide("A", word) == []
    assert len(studio.store.history()) == 1


def test_reviewers_who_differ_are_shown_and_a_third_settles(studio):
    desk = studio.desk
    specimen = desk.ids[3]
    desk.decide("A", [Word(specimen, "taxon", "Aa bb")])
    desk.decide("B", [Word(specimen, "none", "")])
    assert desk.states()[3] == "conflict"
    assert desk.settled[3] == ""
    desk.decide("C", [Word(specimen, "none", "")])
    assert desk.settled[3] == "<none>"
    assert desk.names()[3] == ""


def test_decisions_of_another_program_on_the_same_store_are_taken_in(studio, folder):
    other = Decisions(folder / STORE)
    other.record([Decision(studio.desk.ids[5], "taxon", "Aa bb", "B")])
    other.record([Decision("not of this collection", "taxon", "Aa bb", "B")])
    studio.desk.refresh()
    assert studio.desk.names()[5] == "Aa bb"
    other.undo("B")
    other.undo("B")
    studio.desk.refresh()
    assert studio.desk.settled[5] == ""


def test_the_queue_gives_two_reviewers_different_specimens_until_none_are_left(studio):
    desk = studio.desk
    mine, yours = desk.next_for("A", 30), desk.next_for("B", 30)
    assert not set(mine) & set(yours)
    assert desk.next_for("A", 30) == mine, "until they are settled they are A's"
    assert not set(desk.next_for("A", 3, held=mine)) & set(mine)
    desk.decide("A", [Word(i, "skip", "") for i in mine])
    assert not set(desk.next_for("A", 64)) & set(mine)
    assert desk.left_for("A") == 34
    rest = desk.next_for("A", 64, held=[i for i in desk.ids if i not in yours and i not in mine])
    assert set(rest) <= set(yours), "what another has on screen comes when nothing else is left"
    assert rest


def test_the_first_in_the_queue_are_the_most_doubtful(studio):
    desk = studio.desk
    first = [desk.row_of[i] for i in desk.next_for("A", 10)]
    assert desk.naming.doubt[first].mean() > desk.naming.doubt.mean()


def test_a_name_for_a_group_is_learnt_at_once_and_forgotten_with_an_undo(folder):
    prepared, rng = embed_project(Project.open(folder)), np.random.default_rng(0)
    vectors = prepared.got.vectors.copy()
    # Eight specimens like each other and like nothing else.
    other = rng.normal(size=vectors.shape[1])
    other *= np.linalg.norm(vectors, axis=1).mean() / np.linalg.norm(other)
    vectors[:8] = other + rng.normal(0, 1e-3, (8, len(other)))
    planted = replace(prepared, got=replace(prepared.got, vectors=vectors))
    desk = Desk(planted, Decisions(folder / STORE))
    group = desk.groups.next_number()
    desk.groups.move("A", "move", {str(i): group for i in desk.ids[:6]})
    desk.name_group("A", group, "Nova species")
    assert desk.is_stale(), "a name that the model does not know"
    desk.renew()
    best = desk.naming.taxa[desk.naming.ranking.argmax(1)]
    assert (best[6:8] == "Nova species").all(), "its like are recognised"
    assert (best[8:] != "Nova species").all()
    assert desk.morphotypes()[-1]["name"] == "Nova species"
    desk.undo_step("A")
    assert desk.progress()["settled"] == 0
    assert desk.is_stale()
    desk.renew()
    assert "Nova species" not in desk.naming.taxa


def test_only_samples_with_new_decisions_are_estimated_again(studio, monkeypatch):
    from forametric.analysis import assemblages as assemblage

    desk, seen = studio.desk, []
    estimate = assemblage.estimate_shares
    monkeypatch.setattr(
        assemblage, "estimate_shares", lambda *a, **k: seen.append(1) or estimate(*a, **k)
    )
    first = desk.assemblage()
    assert len(seen) == len(first.samples) == 4
    desk.decide("A", [Word(desk.ids[0], "unknown", "")])
    again = desk.assemblage()
    assert len(seen) == 5
    assert again.samples["depth"].tolist() == [0, 1, 2, 3]
    known = desk.assemblage(str(desk.samples[0]))
    assert known.samples["sample"].tolist() == [desk.samples[0]]
    assert len(seen) == 5


def test_an_estimate_of_before_a_decision_is_not_kept(studio, monkeypatch):
    from forametric.analysis import assemblages as assemblage

    desk, estimate = studio.desk, assemblage.estimate_shares

    def meanwhile(*arguments, **settings):
        monkeypatch.setattr(assemblage, "estimate_shares", estimate)
        desk.decide("A", [Word(desk.ids[0], "taxon", "Nova species")])
        return estimate(*arguments, **settings)

    monkeypatch.setattr(assemblage, "estimate_shares", meanwhile)
    desk.assemblage(str(desk.samples[0]))
    found = desk.assemblage().shares.set_index(["sample", "taxon"])
    assert found.loc[(desk.samples[0], "Nova species"), "count"] == 1
    assert found.loc[(desk.samples[1], "Nova species"), "count"] == 0


def test_a_second_reviewer_is_not_shown_the_first_ones_answer(studio):
    desk = studio.desk
    before = desk.candidates(0), desk.naming.table.iloc[0].to_dict(), desk.evidence(0)
    others = {"known", "doubt", "influence", "priority"}  # these are seen among all specimens
    desk.decide("A", [Word(i, "taxon", "Nova species") for i in desk.ids[:4]])
    desk.renew()
    said = desk.naming.table.iloc[0].to_dict()
    assert {k: v for k, v in said.items() if k not in others} == {
        k: v for k, v in before[1].items() if k not in others
    }
    both = [c["taxon"] for c in before[0]]
    assert [c["taxon"] for c in desk.candidates(0)] == [*both, "Nova species"]
    assert desk.candidates(0)[-1]["probability"] == 0
    assert desk.evidence(0) == before[2]
    shown = {r["id"] for c in desk.candidates(0) for r in c["references"]}
    assert desk.ids[0] not in shown
    desk.decide("B", [Word(desk.ids[0], "taxon", "Nova species")])
    assert desk.store.history()["suggested"].iloc[-1] == before[1]["best"]


def test_a_verdict_that_is_typed_as_a_name_is_a_verdict(studio):
    desk = studio.desk
    desk.decide("A", [Word(desk.ids[0], "taxon", " None ")])
    assert desk.settled[0] == "<none>"
    desk.groups.move("A", "move", {str(desk.ids[1]): 1})
    with pytest.raises(InputError, match="a verdict, not a name"):
        desk.name_group("A", 1, "Unknown")


def test_what_is_decided_together_is_taken_back_together(client):
    ids = [one["id"] for one in first_of(client, count=5)]
    words = [{"specimen": i, "verdict": "taxon", "taxon": "Aa bb"} for i in ids]
    client.post("/api/decisions", json={"reviewer": "A", "decisions": words})
    taken = client.post("/api/undo", json={"reviewer": "A"}).json()
    assert taken["count"] == 5
    assert taken["progress"]["settled"] == 0


def test_models_trained_one_after_the_other_are_tested_on_the_same_specimens(
    more_shells, shells_folder, tmp_path
):
    core, base = Collection.open(more_shells), Collection.open(shells_folder)
    store = Decisions(tmp_path / "d.sqlite")
    truth = core.specimens["taxon"].tolist()
    unnamed = Collection(core.specimens.assign(taxon=None), core.images, core.info)
    ids = core.specimens["id"].tolist()

    def tested():
        together, subsets = training_set(unnamed, store, [base])
        assert set(subsets[base.specimens["id"]]) <= {"train", "val", "unused"}
        assert subsets.index.tolist() == together.specimens["id"].tolist()
        return set(subsets.index[subsets == "test"])

    store.record([Decision(i, "taxon", t, "A") for i, t in zip(ids[:40], truth, strict=False)])
    first = tested()
    store.record([Decision(i, "taxon", t, "A") for i, t in zip(ids[40:], truth[40:], strict=True)])
    second = tested()
    assert first
    assert second & set(ids[:40]) == first


def test_a_duplicate_and_what_is_no_shell_are_not_counted(studio):
    desk = studio.desk
    before = desk.assemblage().samples.set_index("sample")["specimens"]
    rows = np.flatnonzero(desk.samples == desk.samples[0])[:2]
    desk.decide("A", [Word(desk.ids[rows[0]], "duplicate"), Word(desk.ids[rows[1]], "none")])
    after = desk.assemblage().samples.set_index("sample")["specimens"]
    assert (before - after).to_dict() == {s: 2 if s == desk.samples[0] else 0 for s in before.index}


# Groups

STEPS = st.lists(
    st.tuples(st.sampled_from("AB"), st.dictionaries(st.sampled_from("pqrs"), st.integers(0, 3))),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_undoing_every_step_leads_back_to_no_groups(tmp_path_factory, steps):
    groups = Groups(Decisions(tmp_path_factory.mktemp("g") / "d.sqlite"))
    for reviewer, moves in steps:
        groups.move(reviewer, "move", moves)
    # Backwards in time, as one undoes: with the steps of both reviewers in their turn.
    for reviewer, _ in reversed(steps):
        assert groups.undo(reviewer) is not None
    assert groups.of == {}
    assert groups.undo("A") is None


def test_another_reviewers_later_step_is_not_undone(tmp_path):
    groups = Groups(Decisions(tmp_path / "d.sqlite"))
    groups.move("A", "move", {"p": 1, "q": 1})
    groups.move("B", "move", {"q": 2})
    groups.undo("A")
    assert groups.of == {"q": 2}


def test_groups_are_found_again_in_a_store_that_was_closed(tmp_path):
    store = Decisions(tmp_path / "d.sqlite")
    groups = Groups(store)
    groups.move("A", "move", {"p": 1, "q": 1})
    groups.move("A", "merge", {"q": 4})
    groups.move("A", "name", {}, group=4, name="Nova")
    store.close()
    found = Groups(Decisions(tmp_path / "d.sqlite"))
    assert found.of == {"p": 1, "q": 4}
    assert found.names == {4: "Nova"}
    assert found.next_number() == 5


def test_two_servers_on_one_postgresql_see_each_others_decisions_and_steps(folder, postgresql):
    project = Project.open(folder)
    prepared = embed_project(project)
    one, other = (Desk(prepared, Decisions(postgresql), "depth") for _ in range(2))
    one.decide("A", [Word(one.ids[0], "taxon", "Aa bb")])
    other.refresh()
    assert other.names()[0] == "Aa bb"
    number = one.groups.next_number()
    one.groups.move("A", "move", {str(i): number for i in one.ids[:3]})
    other.name_group("B", number, "Nova species")
    one.refresh()
    assert one.morphotypes()[0]["name"] == "Nova species"
    assert one.conflict[0], "B calls it Nova species, A does not"
    assert other.undo_step("B")["kind"] == "name"
    one.refresh()
    assert not one.conflict[0]

    def many(desk, who):
        for i in desk.ids[10:30]:
            desk.decide(who, [Word(i, "taxon", "Aa bb")])

    threads = [threading.Thread(target=many, args=pair) for pair in ((one, "A"), (other, "B"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for desk in (one, other):
        desk.refresh()
        assert (desk.settled[10:30] == "Aa bb").all()
        assert desk._said_by("A")[10:30].all()
        assert desk._said_by("B")[10:30].all(), "no row was passed over"
    # The tables are only added to there as well.
    with pytest.raises(Exception, match="only ever added to"), one.store._engine.begin() as raw:
        raw.exec_driver_sql("DELETE FROM steps")


# Access


def test_nothing_is_told_without_the_token(studio):
    stranger = TestClient(make_app(studio, TOKEN), base_url=ADDRESS)
    for path in ("/api/project", "/api/openapi.json", "/assets/x.js", "/api/nothing"):
        assert stranger.get(path).status_code == 401, path
    assert stranger.post("/api/undo", json={"reviewer": "A"}).status_code == 401
    page = stranger.get("/")
    assert page.status_code == 401
    assert "password" in page.text
    assert stranger.get("/?token=wrong", follow_redirects=False).status_code == 401


@pytest.mark.parametrize("how", ["link", "form"])
def test_the_link_or_the_form_gives_a_cookie_that_scripts_cannot_read(studio, how):
    visitor = TestClient(make_app(studio, TOKEN), base_url=ADDRESS)
    if how == "link":
        got = visitor.get(f"/?token={TOKEN}", follow_redirects=False)
    else:
        assert visitor.post("/login", data={"token": "wrong"}).status_code == 401
        got = visitor.post("/login", data={"token": TOKEN}, follow_redirects=False)
    assert got.status_code == 303
    assert got.headers["location"] == "/", "the token leaves the address bar"
    cookie = got.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert visitor.get("/api/status").status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "evil.example:8765"}, 403),
        ({"Content-Length": str(MOST_BYTES + 1)}, 413),
        ({"Transfer-Encoding": "chunked"}, 411),
        ({"Origin": ADDRESS, "Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_pages_of_other_origins_and_large_bodies_are_refused(client, headers, status):
    body = json.dumps({"reviewer": "A"}).encode()
    got = client.post(
        "/api/undo", content=body, headers={"Content-Type": "application/json", **headers}
    )
    assert got.status_code == status, got.text


def test_answers_forbid_other_places_and_frames(client):
    headers = client.get("/api/status").headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["/../project.json", "/%2e%2e/project.json", "/..%2f..%2fproject.json", "/assets/../../app.py",
     "/api/pictures/..%2f..%2fetc%2fpasswd", "/api/sheets/..%2f0"],
)  # fmt: skip
def test_no_path_leaves_what_is_served(client, path):
    assert client.get(path).status_code in (404, 422)


def test_another_host_needs_a_long_token():
    with pytest.raises(InputError, match="FORAMETRIC_TOKEN"):
        checked_token("0.0.0.0", "short")
    assert checked_token("0.0.0.0", "long-enough-token") == "long-enough-token"
    assert len(checked_token("127.0.0.1", "")) > 20


# The interface


def _unpacked(answer):
    length = struct.unpack("<I", answer.content[:4])[0]
    return json.loads(answer.content[4 : 4 + length]), answer.content[4 + length :]


def test_the_map_and_its_columns_are_sent_as_numbers_in_one_order(client, studio):
    about, data = _unpacked(client.get("/api/map"))
    places = np.frombuffer(data, "<f4").reshape(-1, 2)
    order = studio.desk.prepared.order
    assert about["ids"] == studio.desk.ids[order].tolist()
    assert np.array_equal(places, studio.desk.prepared.space.coordinates[order])
    for name in client.get("/api/project").json()["columns"]:
        about, data = _unpacked(client.get(f"/api/columns/{name}"))
        values = np.frombuffer(data, "<u2" if about["levels"] else "<f4")
        assert len(values) == 64, name
        if about["levels"]:
            assert values.max() < len(about["levels"])
    about, data = _unpacked(client.get("/api/columns/name"))
    named = [about["levels"][code] for code in np.frombuffer(data, "<u2")]
    assert named == studio.desk.names()[order].tolist()
    assert client.get("/api/columns/nothing").status_code == 404


def test_a_specimen_is_reviewed_from_the_queue_to_the_history(client):
    one = first_of(client)[0]
    assert one["candidates"][0]["taxon"] == one["suggested"]
    assert one["candidates"][0]["references"]
    picture = client.get(f"/api/pictures/{one['candidates'][0]['references'][0]['id']}?size=96")
    assert Image.open(BytesIO(picture.content)).size == (96, 96)
    got = says(client, one["id"], one["suggested"])
    assert got.json()["progress"]["settled"] == 1
    assert one["id"] not in [other["id"] for other in first_of(client, count=20)]
    told = client.get(f"/api/specimens/{one['id']}").json()
    assert (told["state"], told["history"][0]["reviewer"]) == ("settled", "A")
    history = pd.read_csv(BytesIO(client.get("/api/export/history").content))
    assert history["suggested"][0] == one["suggested"]
    assert history["model"][0]
    assert client.post("/api/undo", json={"reviewer": "A"}).json()["specimen"] == one["id"]
    assert client.post("/api/undo", json={"reviewer": "A"}).json()["specimen"] is None


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ({"specimen": "nobody", "verdict": "taxon", "taxon": "Aa"}, 404),
        ({"specimen": "SELF", "verdict": "taxon", "taxon": ""}, 400),
        ({"specimen": "SELF", "verdict": "unknown", "taxon": "Aa"}, 400),
        ({"specimen": "SELF", "verdict": "maybe", "taxon": ""}, 422),
        ({"specimen": "SELF", "verdict": "taxon", "taxon": "<none>"}, 422),
        ({"specimen": "SELF", "verdict": "taxon", "taxon": "x" * 200}, 422),
    ],
)
def test_a_word_that_says_nothing_is_refused_and_nothing_kept(client, studio, word, status):
    specimen = str(studio.desk.ids[0])
    words = [
        {"specimen": specimen, "verdict": "taxon", "taxon": "Aa bb"},
        word | {"specimen": word["specimen"].replace("SELF", specimen)},
    ]
    got = client.post("/api/decisions", json={"reviewer": "A", "decisions": words})
    assert got.status_code == status, got.text
    assert not len(studio.store.history()), "all are kept or none"


def test_search_by_name_id_sample_and_likeness(client, studio):
    specimen = str(studio.desk.ids[7])
    assert client.get(f"/api/search?text={specimen[:12]}").json()["ids"] == [specimen]
    assert client.get("/api/search?text=CORE 9").json()["count"] == 16
    assert client.get("/api/search?text=(").json()["count"] == 0
    alike = client.get(f"/api/similar/{specimen}").json()
    assert (alike[0]["id"], alike[0]["distance"]) == (specimen, 0)


def test_an_uploaded_image_is_named_and_placed(client, studio):
    data = studio.desk.shells.path(4).read_bytes()
    got = client.post("/api/identify", content=data).json()
    assert got["similar"][0]["id"] == studio.desk.ids[4]
    place = studio.desk.prepared.space.coordinates[4]
    spread = np.ptp(studio.desk.prepared.space.coordinates)
    assert np.hypot(got["x"] - place[0], got["y"] - place[1]) < spread / 4


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "0 bytes"), (b"#!/bin/sh\nrm -rf /\n", "image"), (b"\x89PNG\r\n\x1a\n" + b"x" * 50, "")],
)
def test_an_upload_that_is_no_image_is_refused_with_a_sentence(client, data, message):
    got = client.post("/api/identify", content=data, headers={"Content-Type": "image/png"})
    assert got.status_code == 400
    assert message in got.json()["detail"]


def test_a_missing_image_file_is_said_and_the_rest_goes_on(folder, more_shells, tmp_path):
    moved = tmp_path / "images"
    shells = Collection.open(more_shells)
    shutil.copytree(shells.images, moved)
    core = Collection(shells.specimens, moved, shells.info).save(tmp_path / "core")
    project = Project(folder, core, Project.open(folder).models)
    studio = Studio.open(project, Decisions(folder / "other.sqlite"))
    shells.specimens["image"].map(lambda name: (moved / name).unlink())
    with TestClient(
        make_app(studio, TOKEN), base_url=ADDRESS, headers={"Authorization": f"Bearer {TOKEN}"}
    ) as client:
        got = client.get(f"/api/pictures/{studio.desk.ids[0]}")
        assert got.status_code == 404
        assert "cannot be opened" in got.json()["detail"]
        assert client.get("/api/sheets/0").status_code == 200
        assert says(client, str(studio.desk.ids[0]), "Aa bb").status_code == 200
        assert client.get("/api/status").json()["changed"] is False
        Collection(shells.specimens[:9], moved, shells.info).save(core, overwrite=True)
        assert client.get("/api/status").json()["changed"] is True
    studio.close()


def test_groups_over_the_interface(client, studio):
    ids = [str(i) for i in studio.desk.ids[:8]]
    made = client.post("/api/morphotypes/move", json={"reviewer": "A", "specimens": ids[:5]})
    first = made.json()["group"]
    more = {"reviewer": "A", "specimens": ids[5:]}
    second = client.post("/api/morphotypes/move", json=more).json()["group"]
    asked = {"reviewer": "A", "groups": [first, second]}
    assert client.post("/api/morphotypes/merge", json=asked).json() == {"group": first}
    assert client.get("/api/morphotypes").json()[0]["specimens"] == 8
    part = client.post(f"/api/morphotypes/{first}/split", json={"reviewer": "A"}).json()["group"]
    sizes = {g["number"]: g["specimens"] for g in client.get("/api/morphotypes").json()}
    assert sizes[first] >= sizes[part]
    assert sizes[first] + sizes[part] == 8
    named = client.post(
        f"/api/morphotypes/{part}/name", json={"reviewer": "A", "name": "Nova species"}
    )
    assert named.json()["decided"] == sizes[part]
    assert wait_for(studio, "naming")["state"] == "done"
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


def test_the_audit_lists_what_is_not_settled(client, studio):
    assert client.get("/api/audit").json() == {"made": False, "findings": []}
    client.post("/api/audit")
    assert wait_for(studio, "audit")["state"] == "done"
    found = client.get("/api/audit").json()
    assert found["made"]
    if found["findings"]:
        one = found["findings"][0]
        says(client, one["id"], verdict="unknown")
        left = client.get("/api/audit").json()["findings"]
        assert one["id"] not in {f["id"] for f in left}


def test_samples_are_counted_and_taken_away(client, studio):
    client.post("/api/samples")
    assert wait_for(studio, "counting")["state"] == "done"
    found = client.get("/api/samples").json()
    assert len(found["samples"]) == 4
    precision = client.get("/api/precision/core 9").json()
    assert precision["specimens"] == 16
    assert 0 < precision["width"] < 1
    assert client.get("/api/precision/nowhere").status_code == 404
    kinds = client.get("/api/project").json()["exports"]
    assert {"csv", "excel", "ecotaxa", "darwin-core", "history", "figure"} <= set(kinds)
    for kind in kinds:
        got = client.get(f"/api/export/{kind}")
        assert got.status_code == 200, (kind, got.text)
        assert len(got.content) > 50, kind
        assert "attachment" in got.headers["content-disposition"]
    assert client.get("/api/export/nothing").status_code == 404


def test_an_export_tells_validated_from_predicted(client, studio, tmp_path):
    table = studio.desk.shells.specimens
    object.__setattr__(studio.desk.shells, "specimens", table.assign(taxon=None))
    settled = str(studio.desk.ids[0])
    says(client, settled, "Aa bb")
    says(client, str(studio.desk.ids[1]), verdict="none")
    data = client.get("/api/export/ecotaxa").content
    with zipfile.ZipFile(BytesIO(data)) as archive, archive.open(archive.namelist()[0]) as file:
        rows = pd.read_csv(file, sep="\t", skiprows=[1], keep_default_na=False)
    rows = rows.set_index("object_id")
    assert rows.loc[settled, "object_annotation_status"] == "validated"
    assert rows.loc[settled, "object_annotation_category"] == "Aa bb"
    assert rows.loc[settled, "object_annotation_person_name"] == "A"
    none = str(studio.desk.ids[1])
    assert rows.loc[none, "object_annotation_category"] == ""
    others = rows.drop([settled, none])
    assert set(others["object_annotation_status"]) <= {"predicted", ""}


def test_agreement_and_conflicts_are_told(client, studio):
    ids = [str(i) for i in studio.desk.ids[:4]]
    for i in ids:
        says(client, i, "Aa bb")
        says(client, i, "Aa bb" if i != ids[0] else "Cc dd", reviewer="B")
    found = client.get("/api/agreement").json()
    assert found["cohen"][0]["specimens"] == 4
    (conflict,) = found["conflicts"]
    assert conflict["specimen"] == ids[0]
    assert {s["taxon"] for s in conflict["said"]} == {"Aa bb", "Cc dd"}


# Decisions survive


def test_a_killed_server_has_kept_every_acknowledged_decision(folder):
    """Killed three times while a client sends; what was acknowledged is there, once."""
    acknowledged = []
    for _ in range(3):
        with (
            running(folder, TOKEN) as (address, process),
            httpx.Client(base_url=address, headers={"Authorization": f"Bearer {TOKEN}"}) as client,
        ):
            asked = client.post("/api/queue?count=20", json={"reviewer": "A"}).json()
            queue = asked["specimens"]
            timer = threading.Timer(0.15, process.kill)
            timer.start()
            for one in queue:
                try:
                    got = says(client, one["id"], "Aa bb")
                except httpx.HTTPError:
                    break
                if got.status_code == 200:
                    acknowledged.append(one["id"])
            timer.join()
    history = Decisions(folder / STORE).history()
    assert acknowledged
    assert set(acknowledged) <= set(history["specimen"])
    assert not history["specimen"].duplicated().any()


def test_a_new_model_is_trained_with_the_decisions_measured_and_taken_back(
    calibrated_folder, shells_folder, tmp_path, monkeypatch
):
    write_shells(tmp_path / "images", 40, size=64, forms=FORMS, seed=7)
    import_collection(tmp_path / "images", tmp_path / "core")
    folder = tmp_path / "project"
    project = Project.create(
        folder, tmp_path / "core", calibrated_folder, references=[shells_folder]
    )
    studio = Studio.open(project, Decisions(folder / STORE))
    truth = studio.desk.shells.specimens["taxon"]
    words = [Word(i, "taxon", t) for i, t in zip(studio.desk.ids, truth, strict=True)]
    studio.desk.decide("A", words)
    run = subprocess.run
    monkeypatch.setattr(
        "forametric.server.session.subprocess.run", lambda c, **k: run([*c, *QUICK], **k)
    )
    client = TestClient(
        make_app(studio, TOKEN), base_url=ADDRESS, headers={"Authorization": f"Bearer {TOKEN}"}
    )
    assert client.post("/api/models").json() == {"started": True}
    assert wait_for(studio, "training")["state"] == "done", studio.jobs.states()
    old, new = client.get("/api/models").json()
    assert old["current"]
    assert new["measured"]["tested"] == old["measured"]["tested"] >= 25
    assert new["measured"]["macro_f1"] > old["measured"]["macro_f1"], "it knows two forms more"
    assert client.get("/api/models/1/report").status_code == 200
    assert client.post("/api/models/current", json={"model": 1}).json() == {"started": True}
    assert wait_for(studio, "switching")["state"] == "done", studio.jobs.states()
    assert client.get("/api/status").json()["model"] == 1
    assert client.get("/api/status").json()["progress"]["settled"] == 160, "decisions stay"
    assert Project.open(folder).current == 1
    client.post("/api/models/current", json={"model": 0})
    wait_for(studio, "switching")
    assert Project.open(folder).current == 0
    assert client.post("/api/models/current", json={"model": 9}).status_code == 404
    studio.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "no review project yet"),
        (["PROJECT", "--collection", "x"], "is a project already"),
        (["PROJECT", "--database", "postgresql://x/y"], "kept in its folder"),
        (["PROJECT", "--host", "0.0.0.0"], "FORAMETRIC_TOKEN"),
        (["new", "--collection", "nowhere", "--model", "nowhere"], "nowhere"),
        (["docs", "--collection", "x", "--model", "x"], "holds something else"),
    ],
)
def test_review_says_what_is_wrong(folder, arguments, message):
    done = forametric("review", *[str(folder) if a == "PROJECT" else a for a in arguments])
    assert done.returncode == 2, done.stderr
    assert message in " ".join(done.stderr.split())


def test_desk_names_are_those_of_the_model_with_what_is_settled(studio):
    desk = studio.desk
    assert isinstance(desk, Desk)
    plain = desk.prepared.model.predict_proba(desk.got)
    assert np.array_equal(plain, desk.naming.ranking)


def test_what_reviewers_reject_is_not_learnt_from_the_base_again(more_shells, tmp_path):
    core = Collection.open(more_shells)
    ids = core.specimens["id"].tolist()
    store = Decisions(tmp_path / "d.sqlite")
    verdicts = ["none", "duplicate", "unknown"]
    store.record([Decision(i, v, "", "A") for i, v in zip(ids, verdicts, strict=False)])
    store.record([Decision(ids[3], "taxon", "single sphere", "A")])
    together, subsets = training_set(core, store, [core])
    assert set(ids[3:]) == set(together.specimens["id"]) == set(subsets.index)


def test_undoing_a_second_name_of_a_group_leaves_the_first(tmp_path):
    groups = Groups(Decisions(tmp_path / "d.sqlite"))
    groups.move("A", "move", {"p": 1})
    groups.move("A", "name", {}, group=1, name="Alpha")
    groups.move("A", "name", {}, group=1, name="Beta")
    groups.undo("A")
    assert groups.names == {1: "Alpha"}
    groups.undo("A")
    assert groups.names == {}
