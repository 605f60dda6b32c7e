"""What a client is told when a request fails: never a traceback, always a sentence."""

import json
import logging

import pytest
import sqlalchemy as sql
from starlette.testclient import TestClient

from forametric.errors import StoreBusyError
from forametric.server.app import make_app
from tests.support.serving import ADDRESS, HEADERS, access, client_of

JSON = {"Content-Type": "application/json"}


BODIES = [
    b"", b"{", b"null", b"[]", b"\xff\xfe", b"{" * 100_000, b"1" * 5000,
    b'{"reviewer": "\\ud800", "decisions": []}',
    b'{"\\udcff": 1, "reviewer": "A"}',
    b'{"reviewer": NaN}', b'{"reviewer": Infinity, "decisions": NaN}',
    b'{"reviewer": "A", "decisions": [{"specimen": "\\ud800", "verdict": "taxon"}]}',
    b'{"reviewer": "A", "decisions": [{"specimen": "x", "verdict": "skip", "probability": NaN}]}',
]  # fmt: skip


def test_an_origin_that_cannot_be_read_is_another_origin(client):
    for origin in (b"http://[", b"http://[::1", b"\xff", b"null", b"http://\x00"):
        assert client.get("/api/status", headers={"Origin": origin}).status_code == 403, origin


def test_a_body_that_is_not_valid_is_refused_with_a_reason(client):
    for body in BODIES:
        got = client.post("/api/decisions", content=body, headers=JSON)
        assert got.status_code in (400, 404, 422), body[:80]
        assert got.json()["detail"]


def test_a_body_of_another_type_is_refused(client):
    body = json.dumps({"reviewer": "A"}).encode()
    for kind in ("text/plain", "application/xml", "multipart/form-data", "x"):
        got = client.post("/api/decisions/undo", content=body, headers={"Content-Type": kind})
        assert got.status_code == 422, kind
        assert got.json()["detail"][0]["loc"] == ["body"]


def test_a_locked_database_asks_to_send_again(client, session, monkeypatch):
    def locked(*_):
        raise StoreBusyError("the store of decisions is busy")

    monkeypatch.setattr(session.store, "undo", locked)
    got = client.post("/api/decisions/undo", json={"reviewer": "A"})
    assert got.status_code == 503
    assert int(got.headers["retry-after"]) > 0
    assert "busy" in got.json()["detail"]


def test_a_locked_database_of_sessions_asks_to_try_again(session, monkeypatch):
    def locked(*_):
        raise sql.exc.OperationalError("SELECT", {}, Exception("database is locked"))

    known = access()
    monkeypatch.setattr(known.sessions, "find", locked)
    visitor = TestClient(make_app(session, known), base_url=ADDRESS)
    got = visitor.get("/api/status", headers={"Cookie": "forametric-8765=x"})
    assert got.status_code == 503
    assert "busy" in got.json()["detail"]


def test_an_unexpected_error_is_logged_once_with_the_id_that_the_client_is_told(
    client, session, monkeypatch, caplog
):
    def broken(*_):
        raise RuntimeError("the inside of the server")

    monkeypatch.setattr(session.store, "undo", broken)
    got = client.post("/api/decisions/undo", json={"reviewer": "A"})
    assert got.status_code == 500
    assert got.headers["content-security-policy"]
    assert "inside" not in got.text
    logged = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(logged) == 1
    assert logged[0].args[0] in got.json()["detail"]


@pytest.mark.parametrize("path", ["/login", "/api/decisions/undo", "/api/identifications"])
def test_a_client_that_hangs_up_leaves_no_traceback(session, path, caplog):
    import anyio

    app, sent = make_app(session, access()), []
    messages = iter([{"type": "http.request", "body": b"tok", "more_body": True}])
    headers = {"Host": "127.0.0.1:8765", "Content-Length": "100"} | HEADERS

    async def receive():
        return next(messages, {"type": "http.disconnect"})

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(),
        "query_string": b"", "http_version": "1.1", "scheme": "http", "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8765), "root_path": "",
        "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
    }  # fmt: skip
    anyio.run(app, scope, receive, send)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not sent or sent[0]["status"] == 400


def test_an_answer_repeats_whatever_characters_an_error_has(session, monkeypatch):
    from forametric.errors import InputError

    def refuse(*_):
        raise InputError("no \ud800")

    monkeypatch.setattr(session.store, "undo", refuse)
    with client_of(session) as client:
        got = client.post("/api/decisions/undo", json={"reviewer": "A"})
    assert got.status_code == 400
    assert json.loads(got.content)["detail"] == "no \ud800"


def test_a_visitor_without_a_token_gets_no_traceback_either(session):
    visitor = TestClient(make_app(session, access()), base_url=ADDRESS)
    assert visitor.get("/", headers={"Origin": "http://["}).status_code == 403
    assert visitor.post("/login", content=b"\xff\xfe%zz").status_code == 401
