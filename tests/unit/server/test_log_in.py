"""Who may use the server of one user: links, tokens, sessions, and delays after failures."""

import re

import pytest
from starlette.testclient import TestClient

from forametric.errors import InputError
from forametric.server import run
from forametric.server.access import sessions as session_times
from forametric.server.access.accounts import SingleUser
from forametric.server.access.database import AccessDatabase
from forametric.server.access.middleware import Access
from forametric.server.access.secrets import CODE_SECONDS, Codes
from forametric.server.access.sessions import Sessions
from forametric.server.access.throttle import ADDRESS as BY_ADDRESS
from forametric.server.access.throttle import MOST_COUNTERS, PAIR, Throttle, TooManyAttemptsError
from forametric.server.app import make_app
from forametric.server.request_checks import LOOPBACK
from tests.support.serving import ADDRESS, HEADERS, TOKEN, access

UNDO = "/api/decisions/undo"


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: float = 1e9) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def browser_of(session, control=None) -> TestClient:
    """A browser that nobody has logged in with."""
    app = make_app(session, control or access())
    return TestClient(app, base_url=ADDRESS, follow_redirects=False)


def key_of(answer) -> dict[str, str]:
    """The header that the page sends after this log-in."""
    assert answer.status_code == 303, answer.text
    place, _, key = answer.headers["location"].partition("#key=")
    assert place == "/", "no secret stays in the address that is sent to servers"
    return {"X-Forametric-Key": key}


def test_nothing_is_told_without_a_log_in(session):
    visitor = browser_of(session)
    for path in ("/api/project", "/api/openapi.json", "/assets/x.js", "/api/nothing"):
        assert visitor.get(path).status_code == 401, path
    assert visitor.post(UNDO, json={"reviewer": "A"}).status_code == 401
    page = visitor.get("/", headers={"Accept": "text/html"})
    assert page.status_code == 401
    assert "password" in page.text
    assert visitor.get("/?code=wrong").status_code == 401


def test_the_code_of_a_link_opens_one_browser_and_is_not_the_token(session):
    """The link once had the token, which stood in the process list and was good for the run."""
    control = access()
    code = control.new_code()
    assert TOKEN not in code
    first, second = browser_of(session, control), browser_of(session, control)
    key = key_of(first.get(f"/?code={code}"))
    assert first.get("/api/status", headers=key).status_code == 200
    used = second.get(f"/?code={code}")
    assert used.status_code == 401
    assert "was used already" in used.text
    assert first.get(f"/?code={code}").headers["location"] == "/", "opened twice in one browser"


def test_the_code_of_a_link_ends(session):
    clock = Clock()
    codes = Codes(clock)
    in_time, late = codes.new(), codes.new()
    clock.now += CODE_SECONDS - 1
    assert codes.spend(in_time)
    clock.now += 1
    assert not codes.spend(late)


def test_another_link_is_shown_where_the_server_was_started(session):
    shown = []
    control = access(shown.append)
    visitor = browser_of(session, control)
    assert "another link" in visitor.get("/login").text
    answer = visitor.post("/login/link")
    assert len(shown) == 1
    assert shown[0] not in answer.text
    visitor.post("/login/link")
    assert len(shown) == 1, "a visitor cannot fill the terminal"
    key_of(visitor.get(f"/?code={shown[0]}"))


def test_the_form_takes_the_token_and_refuses_another(session):
    visitor = browser_of(session)
    refused = visitor.post("/login", data={"password": "wrong"})
    assert refused.status_code == 401
    assert "The token is wrong." in refused.text
    key = key_of(visitor.post("/login", data={"password": TOKEN}))
    assert visitor.get("/api/status", headers=key).status_code == 200


def test_without_a_token_only_links_open_the_page(session):
    control = Access(SingleUser(), AccessDatabase.temporary())
    visitor = browser_of(session, control)
    assert visitor.post("/login", data={"password": ""}).status_code == 401
    assert visitor.get("/api/status", headers={"Authorization": "Bearer "}).status_code == 401
    assert 'type="password"' not in visitor.get("/login").text


def test_the_cookie_is_random_and_hidden_from_scripts_and_secure_with_https(session):
    visitor = browser_of(session)
    cookies = [
        visitor.post("/login", data={"password": TOKEN}).headers["set-cookie"] for _ in range(2)
    ]
    values = {re.match(r"forametric-8765=([\w-]{43});", cookie)[1] for cookie in cookies}
    assert len(values) == 2
    assert "HttpOnly" in cookies[0]
    assert "SameSite=lax" in cookies[0]
    assert "Secure" not in cookies[0]
    with_tls = TestClient(
        make_app(session, access(), loopback=False), base_url="https://review.example.org",
        follow_redirects=False,
    )  # fmt: skip
    cookie = with_tls.post("/login", data={"password": TOKEN}).headers["set-cookie"]
    assert cookie.startswith("__Host-forametric-443=")
    assert "Secure" in cookie


def test_the_cookie_alone_shows_images_and_permits_nothing_else(session):
    """A browser sends the cookie to every port of the host; whoever has it there cannot use it."""
    visitor = browser_of(session)
    key = key_of(visitor.post("/login", data={"password": TOKEN}))
    specimen = str(session.workspace.ids[0])
    assert visitor.get(f"/api/image?specimen={specimen}").status_code == 200
    for path in (
        "/api/status",
        "/api/map",
        f"/api/specimen?specimen={specimen}",
        "/api/exports/history",
    ):
        assert visitor.get(path).status_code == 401, path
        assert visitor.get(path, headers=key).status_code == 200, path
    body = {"reviewer": "A"}
    assert visitor.post(UNDO, json=body).status_code == 401
    assert visitor.post(UNDO, json=body, headers={"X-Forametric-Key": "x"}).status_code == 401
    assert visitor.post(UNDO, json=body, headers=key).status_code == 200
    visitor.cookies.clear()
    assert visitor.get("/api/status", headers=key).status_code == 401, "nor is the key enough"


def test_a_log_in_ends_the_earlier_session_and_a_log_out_the_present_one(session):
    visitor, other = (browser_of(session, control) for control in [access()] * 2)
    earlier = key_of(visitor.post("/login", data={"password": TOKEN}))
    earlier_cookie = dict(visitor.cookies)
    key = key_of(visitor.post("/login", data={"password": TOKEN}))
    other.cookies.update(earlier_cookie)
    assert other.get("/api/status", headers=earlier).status_code == 401
    present = dict(visitor.cookies)
    assert visitor.post("/api/log-out", headers=key).status_code == 204
    other.cookies.update(present)
    assert other.get("/api/status", headers=key).status_code == 401


def test_sessions_end_without_activity_and_after_a_week():
    clock, database = Clock(), AccessDatabase.temporary()
    sessions = Sessions(database, clock)
    cookie, _ = sessions.begin("Ann")
    step = session_times.IDLE_SECONDS - 1
    for _ in range(session_times.LONGEST_SECONDS // step):
        clock.now += step
        sessions.touch(cookie, sessions.find(cookie))
    clock.now += step
    assert sessions.find(cookie) is None, "a week, whatever the activity"
    idle, _ = sessions.begin("Ann")
    clock.now += session_times.IDLE_SECONDS
    assert sessions.find(idle) is None


def test_only_hashes_of_sessions_are_stored(session):
    control = access()
    visitor = browser_of(session, control)
    key = key_of(visitor.post("/login", data={"password": TOKEN}))
    stored = b"".join(path.read_bytes() for path in control.database.path.parent.iterdir())
    for secret in (*visitor.cookies.values(), key["X-Forametric-Key"], TOKEN):
        assert secret.encode() not in stored


# Failures


def test_wrong_tokens_are_slowed_down(session):
    """184 wrong tokens a second were once answered."""
    visitor = browser_of(session)
    wrong = {"Authorization": "Bearer wrong"}
    statuses = [visitor.get("/api/status", headers=wrong).status_code for _ in range(25)]
    assert statuses == [401] * BY_ADDRESS.free + [429] * 5
    answer = visitor.get("/api/status", headers=wrong)
    assert int(answer.headers["Retry-After"]) >= 1
    assert "try again in" in answer.json()["detail"]
    assert visitor.get("/api/status", headers=HEADERS).status_code == 429, "it could be a guess"
    form = visitor.post("/login", data={"password": TOKEN})
    assert form.status_code == 429
    assert "Retry-After" in form.headers


def test_one_client_that_fails_does_not_lock_out_sessions_links_or_random_tokens(session):
    token = "t" * 43
    control = Access(SingleUser(token), AccessDatabase.temporary())
    inside = browser_of(session, control)
    key = key_of(inside.get(f"/?code={control.new_code()}"))
    failing = browser_of(session, control)
    for _ in range(30):
        failing.get("/api/status", headers={"Authorization": "Bearer wrong"})
    assert inside.get("/api/status", headers=key).status_code == 200
    right = {"Authorization": f"Bearer {token}"}
    assert failing.get("/api/status", headers=right).status_code == 200
    key_of(failing.get(f"/?code={control.new_code()}"))


def test_delays_grow_for_an_account_at_an_address_and_are_short_for_others():
    clock = Clock()
    throttle = Throttle(clock)
    waits = []
    for _ in range(PAIR.free + 11):
        try:
            throttle.check("10.0.0.1", "Ann")
        except TooManyAttemptsError as error:
            waits.append(error.seconds)
            clock.now += error.seconds
        throttle.failed("10.0.0.1", "Ann")
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == PAIR.longest
    throttle.check("10.0.0.2", "Ann")
    throttle.check("10.0.0.1", "Ben")
    clock.now += 3600
    throttle.check("10.0.0.1", "Ann")


def test_a_success_forgets_the_failures_of_the_account_at_this_address():
    throttle = Throttle(Clock())
    for _ in range(3):
        for _ in range(PAIR.free - 1):
            throttle.failed("10.0.0.1", "Ann")
        throttle.check("10.0.0.1", "Ann")
        throttle.succeeded("10.0.0.1", "Ann")


def test_the_memory_of_failures_is_bounded_and_ipv6_networks_count_as_one():
    throttle = Throttle(Clock())
    for number in range(MOST_COUNTERS + 10):
        throttle.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(throttle._failures) == MOST_COUNTERS
    for number in range(BY_ADDRESS.free):
        throttle.failed(f"2001:db8::{number:x}")
    with pytest.raises(TooManyAttemptsError):
        throttle.check("2001:db8::ffff")


def test_another_host_needs_a_long_token():
    with pytest.raises(InputError, match="FORAMETRIC_TOKEN"):
        run.checked_token("0.0.0.0", "short")
    assert run.checked_token("0.0.0.0", "long-enough-token") == "long-enough-token"
    for host in LOOPBACK:
        assert run.checked_token(host, "") == ""


def test_the_token_is_neither_printed_nor_given_to_the_browser(session, monkeypatch):
    """FORAMETRIC_TOKEN once stood in the list of processes and on standard output."""
    said, opened = [], []

    class AtOnce:
        def __init__(self, _seconds, function, arguments):
            self.start = lambda: function(*arguments)

    monkeypatch.setattr(run.webbrowser, "open", opened.append)
    monkeypatch.setattr(run.threading, "Timer", AtOnce)
    monkeypatch.setattr(run, "_serve", lambda *given: given[-1]())
    run.serve(session, host="127.0.0.1", port=0, token=TOKEN, browser=True, report=said.append)
    assert said == opened
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?code=[\w-]{43}", said[0])


def test_guessing_with_a_wrong_code_is_slowed_down_in_a_sentence(session):
    visitor = browser_of(session)
    for _ in range(BY_ADDRESS.free + 1):
        answer = visitor.get("/?code=wrong", headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 429
    assert "Retry-After" in answer.headers
