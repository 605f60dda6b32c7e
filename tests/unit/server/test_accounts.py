"""A server with accounts: who may do what, under which name, and what the log says of it."""

import asyncio
import os
import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from forametric.errors import InputError, NotFoundError
from forametric.server.access import accounts as accounts_module
from forametric.server.access.accounts import Accounts
from forametric.server.access.database import AccessDatabase
from forametric.server.access.middleware import MOST_LOG_INS, Access
from forametric.server.access.requirements import requirements, requires
from forametric.server.access.roles import Role
from forametric.server.access.throttle import PAIR, Throttle
from forametric.server.app import make_app, make_interface, make_lab_app
from forametric.server.routes import accounts as account_routes
from forametric.server.routes import decisions, morphotypes, results, specimens
from tests.support.serving import ADDRESS, next_specimens, run_alone

DOCS = Path(__file__).parents[3] / "docs" / "review.md"
ROUTERS = [module.router for module in (account_routes, decisions, morphotypes, results, specimens)]
NAMES = {Role.VIEWER: "Vera", Role.REVIEWER: "Ann", Role.CURATOR: "Carl", Role.ADMIN: "Ada"}
PASSWORD = "three words in a row"
NOT_PERMITTED = "this needs the role"


@pytest.fixture
def quick_hashes(monkeypatch):
    """Hash passwords in a millisecond."""
    from argon2 import PasswordHasher

    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr("forametric.server.access.secrets._hasher", hasher)
    monkeypatch.setattr("forametric.server.access.secrets._dummies", [])


@pytest.fixture
def accounts(tmp_path, quick_hashes):
    """A user of each role."""
    known = Accounts(AccessDatabase(tmp_path / "accounts.sqlite"))
    for role, name in NAMES.items():
        known.add(name, role, PASSWORD)
    yield known
    known.database.close()


@dataclass
class Lab:
    """A server with accounts, and clients of it."""

    accounts: Accounts
    access: Access
    app: object

    def visitor(self) -> TestClient:
        return TestClient(self.app, base_url=ADDRESS, follow_redirects=False)

    def browser_of(self, name: str, password: str = PASSWORD) -> TestClient:
        """A browser in which somebody has logged in."""
        browser = self.visitor()
        answer = browser.post("/login", data={"name": name, "password": password})
        assert answer.status_code == 303, answer.text
        browser.headers["X-Forametric-Key"] = answer.headers["location"].partition("#key=")[2]
        return browser

    def actions(self) -> list[tuple[str, str, str]]:
        """User, action and detail of the entries of the log, in their order."""
        return [(e.user, e.action, e.detail) for e in self.access.log.entries()[::-1]]


@pytest.fixture
def lab(session, accounts) -> Lab:
    access = Access(accounts, accounts.database)
    return Lab(accounts, access, make_app(session, access))


# Roles


def test_every_route_requires_a_role_and_the_docs_have_the_same_table():
    found = {
        f"{method} /api{path}": str(needed.role)
        for (method, path), needed in requirements(*ROUTERS).items()
    }
    described = {
        f"{method.upper()} {path}"
        for path, methods in make_interface().openapi()["paths"].items()
        for method in methods
    }
    assert {route.replace(":path}", "}") for route in found} == described
    text = DOCS.read_text(encoding="utf-8")
    table = {}
    for role, routes in re.findall(r"^\| (\w+) \| [^|]+ \| (`[^|]+`) \|$", text, re.MULTILINE):
        table |= dict.fromkeys(re.findall(r"`([^`]+)`", routes), role)
    assert table == {route.replace(":path}", "}"): role for route, role in found.items()}


def test_a_route_without_a_role_cannot_be_served():
    from fastapi import APIRouter

    router = APIRouter()
    router.add_api_route("/forgotten", lambda: None)
    with pytest.raises(RuntimeError, match="GET /forgotten must require one role"):
        requirements(router)
    unlogged = APIRouter()
    unlogged.add_api_route("/x", lambda: None, methods=["POST"], dependencies=requires(Role.VIEWER))
    with pytest.raises(RuntimeError, match="be logged"):
        requirements(unlogged)


@pytest.mark.parametrize("role", list(Role))
def test_every_route_refuses_the_roles_below_the_one_it_requires(lab, role, monkeypatch):
    """All routes with all roles. What is permitted fails afterwards, for the lack of a body."""
    client = lab.browser_of(NAMES[role])
    for (method, path), needed in requirements(*ROUTERS).items():
        if role.includes(needed.role) and path in HARMFUL:
            continue
        filled = re.sub(r"\{[^}]*\}", "0", path)
        answer = client.request(method, f"/api{filled}", json={} if method == "POST" else None)
        refused = answer.status_code == 403 and NOT_PERMITTED in answer.text
        if role.includes(needed.role):
            assert answer.status_code in (200, 400, 404, 422), (method, path, answer.text)
        else:
            assert refused, (method, path, answer.status_code)


# What would end the session of the test, or starts long work without needing a body.
HARMFUL = ("/log-out", "/models", "/check-findings", "/samples")


def test_a_user_acts_under_no_other_name(lab):
    """Every route that takes the name of a reviewer."""
    client = lab.browser_of("Carl")
    named = 0
    for path, methods in make_interface().openapi()["paths"].items():
        for method, operation in methods.items():
            if "reviewer" not in str(operation.get("parameters", "")) and not _has_reviewer(
                operation
            ):
                continue
            named += 1
            specimen = {"specimen": "x", "verdict": "unlisted"}
            body = {"reviewer": "Ann"} | EXTRA.get(path, {"decisions": [specimen]})
            if path in ("/api/decisions/undo", "/api/morphotypes", "/api/morphotypes/undo") or (
                path.endswith("split")
            ):
                body = {"reviewer": "Ann"}
            answer = client.request(
                method, path.replace("{number}", "1"), params={"reviewer": "Ann"},
                json=None if method == "get" else body,
            )  # fmt: skip
            assert answer.status_code == 403, (path, answer.text)
            assert "logged in as Carl" in answer.json()["detail"]
    assert named == 9


EXTRA = {
    "/api/morphotypes/move": {"specimens": ["x"]},
    "/api/morphotypes/merge": {"morphotypes": [1, 2]},
    "/api/morphotypes/{number}/name": {"name": "Nova species"},
}


def _has_reviewer(operation: dict) -> bool:
    schemas = make_interface().openapi()["components"]["schemas"]
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    return "reviewer" in schemas.get(name, {}).get("properties", {})


def test_two_users_decide_under_their_own_names(lab, session):
    for name in ("Ann", "Carl"):
        client = lab.browser_of(name)
        specimen = next_specimens(client, name, 1)[0]["id"]
        decision = {"specimen": specimen, "verdict": "unlisted"}
        answer = client.post("/api/decisions", json={"reviewer": name, "decisions": [decision]})
        assert answer.status_code == 200, answer.text
    assert session.store.history()["reviewer"].tolist() == ["Ann", "Carl"]


# Accounts


def test_the_right_name_and_password_log_in_and_nothing_else_does(lab):
    client = lab.browser_of("  ann ")
    assert client.get("/api/account").json() == {
        "name": "Ann", "role": "reviewer", "projects": None,
    }  # fmt: skip
    answers = {
        lab.visitor().post("/login", data={"name": name, "password": password}).text
        for name, password in (("Ann", "wrong"), ("Nobody", PASSWORD), ("", PASSWORD))
    }
    assert len({re.sub(r'value="[^"]*"', "", answer) for answer in answers}) == 1, "no difference"
    assert "The name or the password is wrong." in answers.pop()
    assert lab.visitor().post("/login", data={"password": PASSWORD}).status_code == 401


def test_an_unknown_name_takes_a_password_check_too(lab, monkeypatch):
    checked = []
    verify = accounts_module.verify_password
    monkeypatch.setattr(
        accounts_module, "verify_password", lambda *given: checked.append(given) or verify(*given)
    )
    assert lab.accounts.verify("Nobody", "wrong") is None
    assert checked == [("wrong", None)]


def test_passwords_are_stored_as_argon2id_and_tokens_as_hashes(accounts):
    token = accounts.add_token("Ann", "script", days=1)
    stored = b"".join(p.read_bytes() for p in accounts.database.path.parent.iterdir())
    assert b"$argon2id$" in stored
    assert PASSWORD.encode() not in stored
    assert token.encode() not in stored


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_only_the_owner_can_read_the_accounts(accounts):
    modes = {p.name: p.stat().st_mode & 0o777 for p in accounts.database.path.parent.iterdir()}
    assert "accounts.sqlite" in modes
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("name", ["", " ", "a|b", "<b>", "x" * 61, "a\x00b", "a\u202eb"])
def test_a_name_that_no_decision_could_have_is_refused(accounts, name):
    with pytest.raises(InputError, match="cannot be a name"):
        accounts.add(name, Role.VIEWER, PASSWORD)


def test_names_that_look_the_same_are_the_same(accounts):
    accounts.add("Zoe\u0301", Role.VIEWER, PASSWORD)
    for again in ("Zoé", "ZOÉ", " zoé ", "ANN"):
        with pytest.raises(InputError, match="already"):
            accounts.add(again, Role.VIEWER, PASSWORD)


def test_a_short_password_is_refused(accounts):
    with pytest.raises(InputError, match="at least 12"):
        accounts.add("Short", Role.VIEWER, "elevenchars")
    assert accounts.find("Short") is None


def test_a_removed_user_and_a_changed_password_end_sessions_at_once(lab):
    client, other = lab.browser_of("Ann"), lab.browser_of("Carl")
    lab.accounts.remove("ann")
    assert client.get("/api/status").status_code == 401
    lab.accounts.set_password("Carl", "another four words here")
    assert other.get("/api/status").status_code == 401
    assert lab.browser_of("Carl", "another four words here").get("/api/status").status_code == 200
    with pytest.raises(NotFoundError):
        lab.accounts.remove("Ann")


def test_another_role_counts_at_once(lab):
    client = lab.browser_of("Ann")
    assert client.get("/api/users").status_code == 403
    lab.accounts.set_role("Ann", Role.ADMIN)
    assert [user["name"] for user in client.get("/api/users").json()] == sorted(NAMES.values())


def test_a_user_changes_their_password_with_the_present_one(lab):
    client = lab.browser_of("Ann")
    asked = {"password": "wrong", "new_password": "another four words here"}
    refused = client.post("/api/account/password", json=asked)
    assert (refused.status_code, refused.json()["detail"]) == (
        400, "the present password is wrong.",
    )  # fmt: skip
    changed = client.post("/api/account/password", json=asked | {"password": PASSWORD})
    assert changed.status_code == 204, changed.text
    assert client.get("/api/status").status_code == 401
    lab.browser_of("Ann", "another four words here")


def test_a_script_acts_for_a_user_with_a_token_until_that_ends(lab, monkeypatch):
    token = lab.accounts.add_token("Ann", "script", days=2)
    script = lab.visitor()
    script.headers["Authorization"] = f"Bearer {token}"
    assert script.get("/api/account").json()["name"] == "Ann"
    assert script.get("/api/exports/csv").status_code == 403
    with pytest.raises(InputError, match="already"):
        lab.accounts.add_token("Ann", "script", days=2)
    now = accounts_module.time.time()
    monkeypatch.setattr(accounts_module.time, "time", lambda: now + 2 * accounts_module.DAY)
    assert script.get("/api/account").status_code == 401
    monkeypatch.undo()
    assert script.get("/api/account").status_code == 200
    lab.accounts.revoke_token("Ann", "script")
    assert script.get("/api/account").status_code == 401
    assert script.post("/login", data={"name": "Ann", "password": token}).status_code == 401


def test_guessing_one_account_is_slowed_down_and_others_are_not(lab):
    lab.access.throttle = Throttle(lambda: 1000.0)  # or the delay ends while passwords are hashed
    guessing = lab.visitor()
    for _ in range(PAIR.free):
        answer = guessing.post("/login", data={"name": "Ann", "password": "wrong"})
        assert answer.status_code == 401
    for same in ("ANN", "Ａnn", "\U0001d400nn"):
        answer = guessing.post("/login", data={"name": same, "password": PASSWORD})
        assert answer.status_code == 429
        assert "Retry-After" in answer.headers
    lab.browser_of("Carl")


def test_many_log_ins_at_once_are_delayed_too(lab, monkeypatch):
    """Those that wait for their turn when the first have failed are not looked at."""
    hashed = []
    verify = accounts_module.verify_password
    monkeypatch.setattr(
        accounts_module, "verify_password", lambda *given: hashed.append(given) or verify(*given)
    )

    async def guess_together() -> list[int]:
        transport = httpx.ASGITransport(lab.app)
        async with httpx.AsyncClient(transport=transport, base_url=ADDRESS) as client:
            form = {"name": "Ann", "password": "wrong"}
            answers = [client.post("/login", data=form) for _ in range(30)]
            return [answer.status_code for answer in await asyncio.gather(*answers)]

    statuses = run_alone(guess_together())
    assert set(statuses) == {401, 429}
    assert len(hashed) <= PAIR.free + MOST_LOG_INS


def test_sessions_survive_a_restart_of_the_server(lab, session):
    client = lab.browser_of("Ann")
    again = AccessDatabase.open(lab.accounts.database.path)
    restarted = make_app(session, Access(Accounts(again), again))
    with TestClient(restarted, base_url=ADDRESS, headers=client.headers) as other:
        other.cookies.update(dict(client.cookies))
        assert other.get("/api/account").json()["name"] == "Ann"
    again.close()


@pytest.mark.parametrize("content", [b"not a database at all " * 50, None])
def test_another_file_is_not_taken_for_accounts(tmp_path, content):
    path = tmp_path / "other.sqlite"
    if content:
        path.write_bytes(content)
    else:
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE decisions (number INTEGER)")
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"other\.sqlite"):
        AccessDatabase(path)
    assert path.read_bytes() == before
    with pytest.raises(NotFoundError, match="forametric users add"):
        AccessDatabase.open(tmp_path / "absent.sqlite")


# The log


def test_the_log_says_who_did_what_and_has_no_secret(lab):
    lab.visitor().post("/login", data={"name": "Ann", "password": "a wrong password"})
    lab.visitor().post("/login", data={"name": "my secret password", "password": "x"})
    ann = lab.browser_of("Ann")
    ids = [one["id"] for one in next_specimens(ann, "Ann", 3)]
    decisions = [{"specimen": i, "verdict": "unlisted"} for i in ids]
    ann.post("/api/decisions", json={"reviewer": "Ann", "decisions": decisions})
    ann.post("/api/decisions", json={"reviewer": "Carl", "decisions": decisions})
    lab.browser_of("Carl").get("/api/exports/history")
    ann.post("/api/log-out")
    assert lab.actions() == [
        ("Ann", "failed log-in", ""),
        ("", "failed log-in", ""),
        ("Ann", "log-in", ""),
        ("Ann", "decisions", "3"),
        ("Carl", "log-in", ""),
        ("Carl", "export", "history"),
        ("Ann", "log-out", ""),
    ]
    entries = lab.browser_of("Ada").get("/api/log").json()
    assert entries[-1] | {"time": ""} == {
        "number": 1, "time": "", "user": "Ann", "address": "testclient", "project": "",
        "action": "failed log-in", "detail": "",
    }  # fmt: skip
    stored = b"".join(p.read_bytes() for p in lab.accounts.database.path.parent.iterdir())
    for secret in (b"a wrong password", b"my secret password", PASSWORD.encode()):
        assert secret not in stored


def test_the_log_cannot_be_changed(lab):
    lab.browser_of("Ann")
    for change in ("DELETE FROM log", "UPDATE log SET user = ''"):
        with (
            sqlite3.connect(lab.accounts.database.path) as other,
            pytest.raises(sqlite3.IntegrityError, match="append-only"),
        ):
            other.execute(change)


# Several projects


def test_each_project_has_a_page_of_its_own_and_one_log_in_opens_them(session, accounts):
    app = make_lab_app({"core-1": session, "core-2": session}, Access(accounts, accounts.database))
    lab = Lab(accounts, Access(accounts, accounts.database), app)
    assert lab.visitor().get("/projects/core-1/").status_code == 401
    client = lab.browser_of("Ann")
    assert client.get("/api/account").json()["projects"] == [
        {"name": "core-1", "path": "/projects/core-1/"},
        {"name": "core-2", "path": "/projects/core-2/"},
    ]
    assert client.get("/api/status").status_code == 404
    for name in ("core-1", "core-2"):
        assert client.get(f"/projects/{name}/api/status").status_code == 200
        assert client.get(f"/projects/{name}/api/account").json()["projects"] is None
    assert client.get("/projects/core-3/api/status").status_code == 404
    undo = client.post("/projects/core-2/api/decisions/undo", json={"reviewer": "Ann"})
    assert undo.status_code == 200
    assert lab.access.log.entries()[0].project == "core-2"


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ("/projects/core-1/", "/projects/core-1/"),
        ("//evil.example/", "/"),
        ("https://evil.example/", "/"),
        ("/projects/../login", "/"),
        ("/projects/a\\b/", "/"),
    ],
)
def test_a_log_in_leads_back_to_a_page_of_this_server_only(lab, asked, place):
    form = {"name": "Ann", "password": PASSWORD, "next": asked}
    answer = lab.visitor().post("/login", data=form)
    assert answer.headers["location"].partition("#")[0] == place
