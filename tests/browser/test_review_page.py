"""The review page in a real browser, through the real server, on real pollen and plankton."""

import math
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pandas as pd
import pytest

from experiments.review import FLAGS, many_reviewers
from forametric.data.collection import Collection
from forametric.data.importers import import_collection
from forametric.review import Decisions
from forametric.review.project import STORE, Project, embed_project
from tests.support.cli import forametric
from tests.support.serving import running

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.slow
TOKEN = "a-token-for-tests"


@pytest.fixture(scope="module")
def pollen_project(real_data, tmp_path_factory) -> Path:
    """Pollen grains with and without a known species, and pictures of something else altogether."""
    folder = tmp_path_factory.mktemp("page")
    for name in ("pollen", "plankton"):
        import_collection(real_data / name / "specimens.csv", folder / name)
    pollen, plankton = Collection.open(folder / "pollen"), Collection.open(folder / "plankton")
    done = forametric("train", folder / "pollen", "--split", "open_1", "--recipe", "frozen",
                      "-o", folder / "model")  # fmt: skip
    assert done.returncode == 0, done.stderr
    role = pollen.specimens["open_1"]
    some = pollen.select(role.isin(("test", "unseen")).to_numpy())
    some = some.select(range(0, len(some), 3))
    foreign = plankton.select((plankton.specimens["open_1"] == "unknown").to_numpy())
    core = some.merge(foreign.select(range(0, len(foreign), 200)))
    table = core.specimens.assign(taxon=None, label=None)
    table["sample"] = [f"core {n % 3}" for n in range(len(table))]
    Collection(table, core.images, {"name": "GC37"}).save(folder / "core")
    project = Project.create(
        folder / "project", folder / "core", folder / "model", references=[folder / "pollen"]
    )
    embed_project(project)
    return folder / "project"


@pytest.fixture
def folder(pollen_project):
    copy = pollen_project.with_name(f"project-{time.monotonic_ns()}")
    shutil.copytree(pollen_project, copy)
    yield copy
    shutil.rmtree(copy)


@pytest.fixture(scope="module")
def browser():
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        pytest.skip("no Chromium is installed; name one in the variable CHROMIUM")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=found, args=FLAGS)
        yield chromium
        chromium.close()


class Visit:
    """A reviewer with the page open; problems in the page are problems of the test."""

    def __init__(self, browser, address, reviewer="K. Lee"):
        self.context = browser.new_context(viewport={"width": 1280, "height": 800})
        self.context.set_default_timeout(15_000)
        self.page = self.context.new_page()
        self.asked, self.problems = [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.goto(f"{address}/?token={TOKEN}")
        self.page.get_by_label("Your name").fill(reviewer)
        self.page.keyboard.press("Enter")
        self.page.wait_for_function("window.forametricMap?.count() > 0")
        self.page.get_by_text("Laying out").wait_for(state="detached")

    def to(self, view):
        self.page.get_by_role("link", name=view, exact=True).click()

    def settled(self, number):
        self.page.get_by_text(re.compile(rf"^{number} of \d+ settled")).wait_for()

    def close(self):
        self.context.close()
        assert not self.problems
        outside = [
            u for u in self.asked if not u.startswith(("http://127.0.0.1:", "data:", "blob:"))
        ]
        assert not outside, "nothing is asked of another place"


@pytest.fixture
def visiting(browser):
    visits = []

    def visit(address, reviewer="K. Lee"):
        visits.append(Visit(browser, address, reviewer))
        return visits[-1]

    yield visit
    for one in visits:
        one.close()


def history(folder) -> pd.DataFrame:
    return Decisions(folder / STORE).history()


def test_an_expert_looks_decides_names_and_finds_it_again(folder, visiting, tmp_path):
    with running(folder, TOKEN) as (address, _):
        visit = visiting(address)
        page = visit.page
        assert "token" not in page.url
        # A lasso around the middle of the map.
        page.get_by_role("button", name="Lasso").click()
        box = page.locator("canvas.points").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x + 120, y)
        page.mouse.down()
        for step in range(41):
            angle = step / 40 * 2 * math.pi
            page.mouse.move(x + 120 * math.cos(angle), y + 120 * math.sin(angle))
            page.wait_for_timeout(12)
        page.mouse.up()
        page.get_by_role("heading", name=re.compile(r"^\d+ selected$")).wait_for()
        chosen = page.evaluate("window.forametricMap.selected()")
        assert chosen > 1
        page.get_by_role("button", name="Make a morphotype").click()
        page.get_by_text(re.compile(rf"Morphotype \d+ of {chosen} specimens")).wait_for()
        # The queue, by keys alone: accept, choose the second, undo.
        visit.to("Review")
        page.get_by_role("button", name="Accept").wait_for()
        page.keyboard.press("Enter")
        visit.settled(1)
        shell = page.locator("section.shell img")
        shown = shell.get_attribute("src")
        page.keyboard.press("2")
        visit.settled(2)
        page.keyboard.press("z")
        visit.settled(1)
        playwright.expect(shell).to_have_attribute("src", shown)
        page.keyboard.press("t")
        page.keyboard.type("orb un")
        page.get_by_role("option", name="Orbulina universa").wait_for()
        page.keyboard.press("Enter")
        visit.settled(2)
        rows = history(folder)
        assert rows["verdict"].tolist() == ["taxon", "taxon", "undo", "taxon"]
        assert rows["taxon"].iloc[-1] == "Orbulina universa"
        assert (rows["reviewer"] == "K. Lee").all()
        # A morphotype is named; the page is loaded again and knows it.
        visit.to("Morphotypes")
        page.get_by_label(re.compile("Name of morphotype")).fill("Nova palynologica")
        page.get_by_role("option", name=re.compile("Nova palynologica")).click()
        page.get_by_text(f"{chosen} specimens are Nova palynologica now").wait_for()
        page.reload()
        page.get_by_role("heading", name="Nova palynologica").wait_for()
        visit.to("Map")
        page.get_by_role("button", name=re.compile("Nova palynologica")).wait_for()
        page.get_by_label("Search specimens").fill("nova palyn")
        page.keyboard.press("Enter")
        page.get_by_text(re.compile(r"^\d+ found")).wait_for()
        found = page.get_by_text(re.compile(r"^\d+ found")).inner_text()
        assert int(re.match(r"\d+", found).group()) >= chosen
        # What was decided is taken away as a file.
        visit.to("Samples")
        page.locator("svg[role=img]").wait_for()
        with page.expect_download() as download:
            page.get_by_role("link", name="All decisions, CSV").click()
        download.value.save_as(tmp_path / "history.csv")
        assert len(pd.read_csv(tmp_path / "history.csv")) == len(history(folder))
        with page.expect_download() as download:
            page.get_by_role("link", name="Darwin Core").click()
        assert Path(download.value.path()).stat().st_size > 1000


def test_two_reviewers_work_at_once_and_their_conflict_is_shown(folder, visiting):
    with running(folder, TOKEN) as (address, _):
        one, other = visiting(address, "Ann"), visiting(address, "Ben")
        for visit in (one, other):
            visit.to("Review")
            visit.page.get_by_role("button", name="Accept").wait_for()
        for number in range(4):
            one.page.keyboard.press("Enter")
            other.page.keyboard.press("u")
            one.settled(2 * number + 2)
        rows = history(folder)
        assert rows.groupby("reviewer").size().to_dict() == {"Ann": 4, "Ben": 4}
        assert not rows["specimen"].duplicated().any(), "they were lent different specimens"
        # Ben looks at one of Ann's and says otherwise.
        specimen = rows.loc[rows["reviewer"] == "Ann", "specimen"].iloc[0]
        other.to("Map")
        other.page.get_by_label("Search specimens").fill(specimen)
        other.page.keyboard.press("Enter")
        other.page.get_by_role("button", name="Not a foraminifer").click()
        one.to("Audit")
        one.page.get_by_text("They differ about").wait_for()
        one.page.get_by_text("Ben: none").wait_for()


def test_a_server_killed_under_the_page_is_said_and_nothing_is_lost_or_repeated(folder, visiting):
    with running(folder, TOKEN) as (address, process):
        port = address.rsplit(":", 1)[1]
        visit = visiting(address)
        visit.to("Review")
        visit.page.get_by_role("button", name="Accept").wait_for()
        visit.page.keyboard.press("Enter")
        visit.settled(1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for _ in range(3):
            visit.page.keyboard.press("Enter")
        visit.page.get_by_role("alert").filter(has_text="3 decisions wait here").wait_for()
    with running(folder, TOKEN, "--port", port):
        visit.page.get_by_text("The server is back").wait_for()
        visit.settled(4)
    rows = history(folder)
    assert len(rows) == 4
    assert not rows["specimen"].duplicated().any()


def test_two_tabs_of_one_reviewer_see_each_others_decisions(folder, visiting):
    with running(folder, TOKEN) as (address, _):
        first = visiting(address)
        second = first.context.new_page()
        second.goto(f"{address}/#review")
        second.get_by_role("button", name="Accept").wait_for()
        second.keyboard.press("Enter")
        first.settled(1)
        first.to("Review")
        first.page.get_by_role("button", name="Accept").wait_for()
        first.page.keyboard.press("Enter")
        first.settled(2)


def test_an_image_is_named_and_one_that_is_none_is_refused(folder, visiting, tmp_path):
    project = Project.open(folder)
    core = Collection.open(project.collection)
    with running(folder, TOKEN) as (address, _):
        visit = visiting(address)
        page = visit.page
        page.locator("input[type=file]").set_input_files(core.path(0))
        page.get_by_role("heading", name="Most similar here").wait_for()
        script = tmp_path / "shell.png"
        script.write_text("<script>alert(1)</script>")
        page.locator("input[type=file]").set_input_files(script)
        page.get_by_role("alert").wait_for()
        assert "image" in page.get_by_role("alert").inner_text()


def test_unknown_pictures_are_grouped_and_a_step_is_undone(folder, visiting):
    with running(folder, TOKEN) as (address, _):
        visit = visiting(address)
        page = visit.page
        visit.to("Morphotypes")
        page.get_by_role("button", name="Group the unknown").click()
        page.get_by_text(re.compile(r"\d+ groups found")).wait_for()
        before = page.get_by_role("button", name="Split").count()
        assert before > 1
        page.get_by_role("button", name="Split").first.click()
        page.get_by_text("Parted in two").wait_for()
        page.wait_for_function(
            "n => document.querySelectorAll('section h3').length === n", arg=before + 1
        )
        page.keyboard.press("z")
        page.wait_for_function(
            "n => document.querySelectorAll('section h3').length === n", arg=before
        )


def test_fifty_reviewers_at_once_for_a_minute_without_an_error(folder):
    with running(folder, TOKEN) as (address, _):
        found = many_reviewers(address, 50, 60, TOKEN)
    assert found["errors"] == []
    assert found["requests"] > 500
    rows = history(folder)
    assert rows["reviewer"].nunique() == 50


def test_without_webgl_a_message_stands_in_place_of_the_map(folder, browser):
    with running(folder, TOKEN) as (address, _):
        context = browser.new_context()
        context.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
        page = context.new_page()
        page.goto(f"{address}/?token={TOKEN}")
        page.get_by_label("Your name").fill("A")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="The map needs WebGL 2").wait_for()
        page.get_by_role("link", name="Review", exact=True).click()
        page.get_by_role("button", name="Accept").wait_for()
        context.close()


def test_a_wrong_link_shows_the_form_and_the_form_opens_the_page(folder, browser):
    with running(folder, TOKEN) as (address, _):
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{address}/?token=wrong")
        page.get_by_text("not, or no longer, valid").wait_for()
        page.get_by_label("Token or password").fill(TOKEN)
        page.get_by_role("button", name="Open").click()
        page.get_by_label("Your name").wait_for()
        context.close()
