"""What is checked of every request, whoever makes it."""

import json

import pytest

from forametric.server.request_checks import MAX_BYTES
from tests.support.serving import ADDRESS


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
