"""Several reviewers at once, and a server that is killed under them."""

import signal

import pytest

from tests.support.browser import TOKEN, history, log_in, many_reviewers
from tests.support.serving import running

pytestmark = pytest.mark.slow


def test_two_reviewers_work_at_once_and_their_conflict_is_shown(project, server, visit):
    ann, ben = visit(server, "Ann"), visit(server, "Ben")
    for reviewer in (ann, ben):
        reviewer.wait_for_queue()
    for number in range(4):
        ann.page.keyboard.press("Enter")
        ben.page.keyboard.press("u")
        ann.wait_for_settled(2 * number + 2)
    rows = history(project)
    assert rows.groupby("reviewer").size().to_dict() == {"Ann": 4, "Ben": 4}
    assert not rows["specimen"].duplicated().any(), "different specimens were reserved for them"
    # Ben finds one of Ann's specimens and decides differently.
    specimen = rows.loc[rows["reviewer"] == "Ann", "specimen"].iloc[0]
    ben.go_to("Map")
    ben.page.get_by_label("Search specimens").fill(specimen)
    ben.page.keyboard.press("Enter")
    ben.page.get_by_role("button", name="Not a specimen").click()
    ann.go_to("Check")
    ann.page.get_by_role("heading", name="Conflicts").wait_for()
    ann.page.get_by_text("Ben: not a specimen").wait_for()


def test_two_tabs_of_one_reviewer_see_each_others_decisions(server, visit):
    first = visit(server)
    second = first.context.new_page()
    second.goto(f"{server}/#review")
    second.get_by_role("button", name="Accept").wait_for()
    second.keyboard.press("Enter")
    first.wait_for_settled(1)
    first.wait_for_queue()
    first.page.keyboard.press("Enter")
    first.wait_for_settled(2)


def test_when_the_server_is_killed_no_decision_is_lost_or_recorded_twice(project, visit):
    with running(project, TOKEN) as (address, process):
        port = address.rsplit(":", 1)[1]
        expert = visit(address)
        expert.wait_for_queue()
        expert.page.keyboard.press("Enter")
        expert.wait_for_settled(1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for _ in range(3):
            expert.page.keyboard.press("Enter")
        expert.page.get_by_role("alert").filter(has_text="3 decisions wait here").wait_for()
    with running(project, TOKEN, "--port", port):  # which knows no session of the killed one
        expert.page.get_by_role("alert").filter(has_text="not logged in").wait_for()
        log_in(expert.context.new_page(), address)
        expert.wait_for_settled(4)
    rows = history(project)
    assert len(rows) == 4
    assert not rows["specimen"].duplicated().any()


def test_fifty_reviewers_at_once_for_a_minute_without_an_error(project, server):
    load = many_reviewers(server, clients=50, seconds=60)
    assert load.errors == []
    assert len(load.seconds) > 500
    assert history(project)["reviewer"].nunique() == 50
