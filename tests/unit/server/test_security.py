"""Who may use the server."""

import json

import pytest
from starlette.testclient import TestClient

from forametric.errors import InputError
from forametric.server.app import make_app
from forametric.server.request_checks import LOOPBACK, MAX_BYTES
from forametric.server.run import checked_token
from tests.support.serving import ADDRESS, TOKEN


def test_nothing_is_told_without_the_token(session):
    visitor = TestClient(make_app(session, TOKEN), base_url=ADDRESS)
    for path in ("/api/project", "/api/openapi.json", "/assets/x.js", "/api/nothing"):
        assert visitor.get(path).status_code == 401, path
    assert visitor.post("/api/decisions/undo", json={"reviewer": "A"}).status_code == 401
    page = visitor.get("/")
    assert page.status_code == 401
    assert "password" in page.text
    assert visitor.get("/?token=wrong", follow_redirects=False).status_code == 401


@pytest.mark.parametrize("how", ["link", "form"])
def test_the_link_or_the_form_gives_a_cookie_that_scripts_cannot_read(session, how):
    visitor = TestClient(make_app(session, TOKEN), base_url=ADDRESS)
    if how == "link":
        got = visitor.get(f"/?token={TOKEN}", follow_redirects=False)
    else:
        refused = visitor.post("/login", data={"token": "wrong"})
        assert refused.status_code == 401
        assert "The password is wrong." in refused.text
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
        ({"Host": "[::1]:8765"}, 200),
        ({"Content-Length": str(MAX_BYTES + 1)}, 413),
        ({"Transfer-Encoding": "chunked"}, 411),
        ({"Origin": ADDRESS, "Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_pages_of_other_origins_and_large_bodies_are_refused(client, headers, status):
    body = json.dumps({"reviewer": "A"}).encode()
    got = client.post(
        "/api/decisions/undo", content=body, headers={"Content-Type": "application/json", **headers}
    )
    assert got.status_code == status, got.text


def test_answers_forbid_other_places_and_frames(client):
    headers = client.get("/api/status").headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    ["/../project.json", "/%2e%2e/project.json", "/..%2f..%2fproject.json", "/assets/../../app.py",
     "/api/image?specimen=..%2f..%2fetc%2fpasswd", "/api/sheets/..%2f0"],
)  # fmt: skip
def test_no_path_leaves_what_is_served(client, path):
    assert client.get(path).status_code in (404, 422)


def test_another_host_needs_a_long_token():
    with pytest.raises(InputError, match="FORAMETRIC_TOKEN"):
        checked_token("0.0.0.0", "short")
    assert checked_token("0.0.0.0", "long-enough-token") == "long-enough-token"
    for host in LOOPBACK:
        assert len(checked_token(host, "")) > 20
