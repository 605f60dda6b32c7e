"""A server with accounts: people log in, decide under their names, and log out."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from forametric.server.access.accounts import Accounts
from forametric.server.access.database import AccessDatabase
from forametric.server.access.roles import Role
from tests.support.browser import history

pytestmark = pytest.mark.slow
PASSWORD = "three words in a row"
PEOPLE = {"Ann": Role.REVIEWER, "Carl": Role.CURATOR, "Vera": Role.VIEWER}


@pytest.fixture
def lab(project, tmp_path) -> Iterator[str]:
    """The address of a server with accounts on the project."""
    accounts = Accounts(AccessDatabase(tmp_path / "accounts.sqlite"))
    for name, role in PEOPLE.items():
        accounts.add(name, role, PASSWORD)
    process = subprocess.Popen(
        [sys.executable, "-m", "forametric", "serve", str(project), "--port", "0",
         "--accounts", str(accounts.database.path)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        yield re.search(r"http://[\w.:]+", process.stdout.readline()).group()
    finally:
        process.kill()
        process.communicate()
        accounts.database.close()


def log_in(page, name: str, password: str = PASSWORD) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def page_of(browser, address: str, name: str):
    """The page of the project, in a browser of somebody's own."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(15_000)
    page.goto(address)
    log_in(page, name)
    page.get_by_role("link", name=re.compile("^project-")).click()
    page.wait_for_function("window.forametricMap?.count() > 0")
    return page


def test_two_users_log_in_decide_under_their_names_and_log_out(lab, project, browser):
    ann, carl = (page_of(browser, lab, name) for name in ("Ann", "Carl"))
    for page, name in ((ann, "Ann"), (carl, "Carl")):
        assert page.get_by_label("Your name").count() == 0, "names are not typed"
        page.get_by_role("button", name=name, exact=True).wait_for()
        page.get_by_role("link", name="Review", exact=True).click()
        page.get_by_role("button", name="Accept").wait_for()
        page.keyboard.press("u")
        page.get_by_text(re.compile("^[12] of .* settled")).wait_for()
    ann.get_by_text(re.compile("^2 of .* settled")).wait_for()
    assert history(project)["reviewer"].tolist() == ["Ann", "Carl"]
    ann.get_by_role("link", name="Samples", exact=True).click()
    ann.get_by_role("heading", name="Samples").wait_for()
    assert ann.get_by_role("heading", name="Export").count() == 0, "for curators"
    carl.get_by_role("link", name="Samples", exact=True).click()
    carl.get_by_role("heading", name="Export").wait_for()
    ann.get_by_role("button", name="Log out").click()
    ann.get_by_label("Password").wait_for()
    ann.goto(lab)
    ann.get_by_label("Password").wait_for()


def test_a_viewer_sees_the_map_and_no_button_that_decides(lab, browser):
    page = page_of(browser, lab, "Vera")
    assert page.get_by_role("link", name="Review", exact=True).count() == 0
    page.get_by_label("Search specimens").fill("core 1")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name=re.compile("selected$")).wait_for()
    for name in ("Unlisted", "Make a morphotype", "Identify an image"):
        assert page.get_by_role("button", name=name).count() == 0


def test_decisions_wait_for_the_log_in_of_the_same_user(lab, project, browser, tmp_path):
    page = page_of(browser, lab, "Ann")
    page.get_by_role("link", name="Review", exact=True).click()
    page.get_by_role("button", name="Accept").wait_for()
    accounts = Accounts(AccessDatabase.open(tmp_path / "accounts.sqlite"))
    accounts.set_password("Ann", "another four words here")
    page.keyboard.press("u")
    page.get_by_role("alert").filter(has_text="1 decisions wait here").wait_for()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Log in").click()
    log_in(opened.value, "Carl")
    page.get_by_text("you are logged in as Carl").wait_for()
    opened.value.get_by_role("button", name="Log out").click()
    log_in(opened.value, "Ann", "another four words here")
    page.get_by_text(re.compile("^1 of .* settled")).wait_for()
    assert history(project)["reviewer"].tolist() == ["Ann"]


def test_a_user_changes_their_password_in_the_page(lab, browser):
    page = page_of(browser, lab, "Ann")
    page.get_by_role("button", name="Ann", exact=True).click()
    page.get_by_label("Present password").fill(PASSWORD)
    page.get_by_label("New password").fill("another four words here")
    page.get_by_role("button", name="Change").click()
    log_in(page, "Ann", "another four words here")
    page.wait_for_function("window.forametricMap?.count() > 0")
