"""Morphotypes: grouping, splitting and undoing."""

import re

import pytest

pytestmark = pytest.mark.slow
COUNT = "count => document.querySelectorAll('section h3').length === count"


def test_unknown_specimens_are_grouped_and_a_step_is_undone(server, visit):
    expert = visit(server)
    page = expert.page
    expert.go_to("Morphotypes")
    page.get_by_role("button", name="Group the unknown").click()
    page.get_by_text(re.compile(r"\d+ morphotypes found")).wait_for()
    page.get_by_role("button", name="Split").first.wait_for()
    before = page.get_by_role("button", name="Split").count()
    assert before > 1
    page.get_by_role("button", name="Split").first.click()
    page.get_by_text("Split in two").wait_for()
    page.wait_for_function(COUNT, arg=before + 1)
    page.keyboard.press("z")
    page.wait_for_function(COUNT, arg=before)


def test_opening_the_view_requests_morphotypes_once(server, visit):
    expert = visit(server)
    expert.go_to("Morphotypes")
    expert.page.get_by_text("There are no morphotypes yet").wait_for()
    assert [url for url in expert.requests if url.endswith("/api/morphotypes")] == [
        f"{server}/api/morphotypes"
    ]
