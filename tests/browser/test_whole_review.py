"""An expert's way through all views of the review page."""

import math
import re
from pathlib import Path

import pandas as pd
import pytest

from tests.support.browser import Visit, history

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.slow


def draw_lasso(visit: Visit, radius: int = 100) -> None:
    """Draw a lasso around a specimen of the map and its neighbours, starting towards the middle."""
    page = visit.page
    button = page.get_by_role("button", name="Lasso")
    button.click()
    playwright.expect(button).to_have_attribute("aria-pressed", "true", timeout=60_000)
    box = page.locator("canvas.points").bounding_box()
    assert box is not None
    left, top = page.evaluate("window.forametricMap.plot.getScreenPosition(0)")
    start = math.atan2(box["height"] / 2 - top, box["width"] / 2 - left)
    for step in range(41):
        angle = start + step / 40 * 2 * math.pi
        page.mouse.move(
            box["x"] + left + radius * math.cos(angle), box["y"] + top + radius * math.sin(angle)
        )
        if step == 0:
            page.mouse.down()
        page.wait_for_timeout(12)
    page.mouse.up()


def test_an_expert_selects_decides_names_searches_and_exports(project, server, visit, tmp_path):
    expert = visit(server)
    page = expert.page
    assert "key" not in page.url

    # Map: specimens in a lasso become a morphotype.
    draw_lasso(expert)
    page.get_by_role("heading", name=re.compile(r"^\d+ selected$")).wait_for()
    chosen = page.evaluate("window.forametricMap.selected()")
    assert chosen > 1
    page.get_by_role("button", name="Make a morphotype").click()
    page.get_by_text(re.compile(rf"Morphotype \d+ of {chosen} specimens")).wait_for()

    # Review, with keys alone: accept, choose the second candidate, undo, type a name.
    expert.wait_for_queue()
    offered = page.get_by_role("button", name="Accept").inner_text()
    page.keyboard.press("Enter")
    expert.wait_for_settled(1)
    image = page.locator("section.specimen img")
    shown = image.get_attribute("src")
    page.keyboard.press("2")
    expert.wait_for_settled(2)
    page.keyboard.press("z")
    expert.wait_for_settled(1)
    playwright.expect(image).to_have_attribute("src", shown)
    page.keyboard.press("t")
    page.keyboard.type("orb un")
    page.get_by_role("option", name="Orbulina universa").wait_for()
    page.keyboard.press("Enter")
    expert.wait_for_settled(2)
    rows = history(project)
    accepted = "unlisted" if offered.endswith("unlisted") else "taxon"
    assert rows["verdict"].tolist() == [accepted, "taxon", "undo", "taxon"]
    assert rows["taxon"].iloc[-1] == "Orbulina universa"
    assert (rows["reviewer"] == "K. Lee").all()

    # Morphotypes: one is named; the page knows it after it is loaded again.
    expert.go_to("Morphotypes")
    page.get_by_label(re.compile("Name of morphotype")).fill("Nova palynologica")
    page.get_by_role("option", name=re.compile("Nova palynologica")).click()
    page.get_by_text(f"{chosen} specimens named Nova palynologica").wait_for()
    page.reload()
    page.get_by_role("heading", name="Nova palynologica").wait_for()
    expert.go_to("Map")
    page.get_by_role("button", name=re.compile("Nova palynologica")).wait_for()
    page.get_by_label("Search specimens").fill("nova palyn")
    page.keyboard.press("Enter")
    found = page.get_by_text(re.compile(r"^\d+ found"))
    found.wait_for()
    assert int(found.inner_text().split()[0]) >= chosen

    # Samples: decisions and names are exported.
    expert.go_to("Samples")
    page.locator("svg[role=img]").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="All decisions, CSV").click()
    download.value.save_as(tmp_path / "history.csv")
    assert len(pd.read_csv(tmp_path / "history.csv")) == len(history(project))
    with page.expect_download() as download:
        page.get_by_role("button", name="Darwin Core").click()
    assert Path(download.value.path()).stat().st_size > 1000


def test_no_view_is_wider_than_a_narrow_window(server, visit):
    narrow = visit(server)
    narrow.page.set_viewport_size({"width": 420, "height": 800})
    for view in ("Map", "Review", "Morphotypes", "Check", "Samples", "Models"):
        narrow.go_to(view)
        narrow.page.wait_for_timeout(300)
        width = narrow.page.evaluate("document.documentElement.scrollWidth")
        assert width <= 420, view


@pytest.mark.parametrize("key", ["u", "n", "d", "s"])
def test_each_verdict_has_a_key(project, server, visit, key):
    verdicts = {"u": "unlisted", "n": "not_a_specimen", "d": "duplicate", "s": "skip"}
    expert = visit(server)
    expert.wait_for_queue()
    image = expert.page.locator("section.specimen img")
    first = image.get_attribute("src")
    with expert.page.expect_response("**/api/decisions"):
        expert.page.keyboard.press(key)
    playwright.expect(image).not_to_have_attribute("src", first)
    assert history(project)["verdict"].tolist() == [verdicts[key]]
