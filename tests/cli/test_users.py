"""The people who may use a server: commands for the person who runs it."""

import io
import json
import re

import pytest

from tests.support.cli import forametric

PASSWORD = "three words in a row"


@pytest.fixture
def users(tmp_path, monkeypatch):
    """Run a command about users; a password is a line of standard input."""
    from argon2 import PasswordHasher

    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr("forametric.server.access.secrets._hasher", hasher)

    def run(*arguments, password: str = PASSWORD):
        monkeypatch.setattr("sys.stdin", io.StringIO(password + "\n"))
        return forametric("users", *arguments, "--accounts", tmp_path / "accounts.sqlite")

    return run


def listed(users) -> dict[str, dict]:
    return {row["name"]: row for row in json.loads(users("list", "--json").stdout)}


def test_users_are_added_changed_listed_and_removed(users):
    added = users("add", "K. Lee", "--role", "curator")
    assert added.returncode == 0, added.stderr
    assert users("add", "Robot", "--no-password").returncode == 0
    assert users("role", "k. lee", "admin").returncode == 0
    assert users("password", "K. Lee", password="another four words here").returncode == 0
    known = listed(users)
    assert known["K. Lee"]["role"] == "admin"
    assert (known["Robot"]["role"], known["Robot"]["has_password"]) == ("reviewer", False)
    assert "K. Lee" in users("list").stdout
    assert users("remove", "Robot").returncode == 0
    assert set(listed(users)) == {"K. Lee"}


def test_a_token_is_printed_once_and_revoked(users):
    users("add", "Robot", "--no-password")
    made = users("token", "Robot", "nightly export", "--days", 30)
    assert re.fullmatch(r"forametric_[\w-]{43}\n", made.stdout)
    assert made.stdout.strip() not in users("list", "--json").stdout
    assert list(listed(users)["Robot"]["tokens"]) == ["nightly export"]
    assert users("revoke", "Robot", "nightly export").returncode == 0
    assert listed(users)["Robot"]["tokens"] == {}


def test_changes_of_users_are_in_the_log_without_secrets(users):
    users("add", "K. Lee")
    token = users("token", "K. Lee", "script").stdout.strip()
    users("remove", "K. Lee")
    shown = json.loads(users("log", "--json").stdout)
    assert [(entry["action"], entry["detail"]) for entry in shown] == [
        ("user added", "K. Lee, reviewer"),
        ("token made", "K. Lee, script"),
        ("user removed", "K. Lee"),
    ]
    assert all(entry["address"].startswith("command line") for entry in shown)
    text = users("log", "--json").stdout + users("log").stdout
    assert token not in text
    assert PASSWORD not in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("add", "Short"), "at least 12"),
        (("add", "a|b"), "cannot be a name"),
        (("remove", "Nobody"), "there is no user Nobody"),
        (("token", "Nobody", "x"), "there is no user Nobody"),
        (("revoke", "K. Lee", "x"), "no token"),
    ],
)
def test_what_cannot_be_done_is_said(users, arguments, sentence):
    users("add", "K. Lee")
    done = users(*arguments, password="short" if "Short" in arguments else PASSWORD)
    assert done.returncode == 2
    assert sentence in done.stderr


def test_accounts_are_made_by_add_alone(users, tmp_path):
    done = users("list")
    assert done.returncode == 2
    assert "forametric users add" in done.stderr
    assert not (tmp_path / "accounts.sqlite").exists()


def test_a_server_without_users_or_projects_is_not_started(users, tmp_path):
    asked = ("serve", tmp_path / "projects", "--accounts", tmp_path / "accounts.sqlite")
    assert "forametric users add" in forametric(*asked).stderr
    users("add", "K. Lee")
    users("remove", "K. Lee")
    nobody = forametric(*asked)
    assert nobody.returncode == 2
    assert "nobody could log in" in nobody.stderr
    users("add", "K. Lee")
    nothing = forametric(*asked)
    assert nothing.returncode == 2
    assert "no review project" in nothing.stderr
