"""The map: images to identify, another model's order, and browsers that cannot draw it."""

import re

import pytest

from forametric.data.collection import Collection
from forametric.review.project import Project
from tests.support.browser import TOKEN, log_in

pytestmark = pytest.mark.slow


def test_an_image_is_identified_and_another_file_is_refused(project, server, visit, tmp_path):
    page = visit(server).page
    collection = Collection.open(Project.open(project).collection)
    upload = page.locator("input[type=file]")
    upload.set_input_files(collection.path(0))
    page.get_by_role("heading", name="Most similar here").wait_for()
    script = tmp_path / "specimen.png"
    script.write_text("<script>alert(1)</script>")
    upload.set_input_files(script)
    page.get_by_role("alert").wait_for()
    assert "image" in page.get_by_role("alert").inner_text()


def test_the_map_is_loaded_again_when_the_sheets_follow_another_model(server, visit):
    page = visit(server).page
    refused, maps = [], []

    def refuse_first(route):
        if refused:
            return route.continue_()
        refused.append(route.request.url)
        return route.fulfill(status=409, json={"detail": "model 0 is not in use."})

    page.route("**/api/sheets/*", refuse_first)
    page.on("request", lambda request: maps.append(request.url) if is_map(request) else None)
    with page.expect_response(lambda response: "/api/sheets/" in response.url and response.ok):
        page.evaluate("window.forametricMap.plot.zoomToPoints([0], { padding: 0.8 })")
    assert "model=0" in refused[0]
    assert len(maps) == 1


def is_map(request) -> bool:
    return request.url.endswith("/api/map")


def test_a_search_selects_specimens_before_the_map_is_drawn(server, visit):
    page = visit(server).page
    waiting = []
    page.route("**/api/column*", lambda route: waiting.append(route))  # the colors are late
    page.reload()
    page.wait_for_function("window.forametricMap?.count() > 0")
    page.get_by_label("Search specimens").fill("core 1")
    page.keyboard.press("Enter")
    found = int(page.get_by_text(re.compile(r"^\d+ found")).inner_text().split()[0])
    page.get_by_role("heading", name=f"{found} selected").wait_for()
    for route in waiting:
        route.continue_()
    page.get_by_text(re.compile("^Drawing")).wait_for(state="hidden")
    page.get_by_role("heading", name=f"{found} selected").wait_for()
    drawn = page.evaluate("window.forametricMap.plot.get('selectedPoints').length")
    assert drawn == found


def test_without_webgl_a_message_replaces_the_map_and_other_views_work(server, browser):
    context = browser.new_context()
    context.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page = context.new_page()
    log_in(page, server)
    page.get_by_label("Your name").fill("A")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="The map needs WebGL 2").wait_for()
    page.get_by_role("link", name="Review", exact=True).click()
    page.get_by_role("button", name="Accept").wait_for()
    context.close()


def test_a_wrong_link_shows_the_login_form_which_opens_the_page(server, browser):
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{server}/?code=wrong")
    page.get_by_role("alert").filter(has_text="was used already").wait_for()
    page.get_by_label("token that the server was given").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    page.get_by_label("Your name").wait_for()
    context.close()
