"""A reviewer in a real browser, and many reviewers without one."""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pandas as pd

from forametric.review.project import Project

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TOKEN = "a-token-for-tests"
FLAGS = [
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist", "--disable-background-networking", "--disable-component-update",
]  # fmt: skip


def find_chromium() -> str | None:
    """The browser to use: the one that CHROMIUM names, or one that is installed."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def chromium(executable: str | None = None) -> Iterator[Browser]:
    """A headless Chromium that draws WebGL without a graphics card."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable or find_chromium(), args=FLAGS
        )
        yield browser
        browser.close()


def log_in(page: Page, address: str, token: str = TOKEN) -> None:
    """Open the page with the token of the server."""
    page.goto(f"{address}/login")
    page.get_by_label("token that the server was given").fill(token)
    page.get_by_role("button", name="Log in").click()


def open_review(page: Page, address: str, reviewer: str, token: str = TOKEN) -> None:
    """Open the page and give a name; returns once the map is drawn."""
    log_in(page, address, token)
    page.get_by_label("Your name").fill(reviewer)
    page.keyboard.press("Enter")
    page.wait_for_function("window.forametricMap?.count() > 0")
    page.get_by_text(re.compile(r"^Drawing .* specimens")).wait_for(state="detached")


def history(project: Path) -> pd.DataFrame:
    """All rows of a project's store of decisions."""
    store = Project.open(project).open_store()
    try:
        return store.history()
    finally:
        store.close()


class Visit:
    """A reviewer with the page open; `close` fails if the page had errors."""

    def __init__(self, browser: Browser, address: str, reviewer: str):
        self.context = browser.new_context(viewport={"width": 1280, "height": 800})
        self.context.set_default_timeout(15_000)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        open_review(self.page, address, reviewer)

    def go_to(self, view: str) -> None:
        """Open one of the views."""
        self.page.get_by_role("link", name=view, exact=True).click()

    def wait_for_queue(self) -> None:
        """Open the queue; returns once a specimen is shown."""
        self.go_to("Review")
        self.page.get_by_role("button", name="Accept").wait_for()

    def wait_for_settled(self, number: int) -> None:
        """Return once the page says that a number of specimens is settled."""
        self.page.get_by_text(re.compile(rf"^{number} of \d+ settled")).wait_for()

    def close(self) -> None:
        """Close the page; `AssertionError` for errors in it, and for requests to other hosts."""
        self.context.close()
        assert not self.errors
        own = ("http://127.0.0.1:", "data:", "blob:")
        assert not [url for url in self.requests if not url.startswith(own)]


@dataclass
class Load:
    """What many reviewers at once have measured.

    Attributes
    ----------
    seconds : list of float
        The time of each request.
    errors : list of str
        Requests that were refused, or not answered.
    """

    seconds: list[float]
    errors: list[str]


def many_reviewers(address: str, clients: int, seconds: float, token: str = TOKEN) -> Load:
    """Clients that look at specimens, decide and undo at once, for a number of seconds."""
    end, load = time.monotonic() + seconds, Load([], [])

    def work(number: int) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=address, headers=headers, timeout=60) as client:
            while time.monotonic() < end:
                try:
                    _one_round(client, f"reviewer {number}", load)
                except httpx.HTTPError as error:
                    load.errors.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return load


def _one_round(client: httpx.Client, reviewer: str, load: Load) -> None:
    """Ask for five specimens, decide on them, and undo the last decision."""

    def request(method: str, path: str, body: object = None) -> httpx.Response:
        started = time.perf_counter()
        response = client.request(method, path, json=body)
        load.seconds.append(time.perf_counter() - started)
        if response.is_error:
            load.errors.append(f"{method} {path}: {response.status_code} {response.text[:100]}")
        return response

    queue = request("GET", f"/api/queue?count=5&reviewer={reviewer}")
    for specimen in queue.json()["specimens"] if queue.is_success else ():
        decision = {"specimen": specimen["id"], "verdict": "unlisted", "taxon": ""}
        request("GET", f"/api/image?specimen={specimen['id']}&size=320")
        request("POST", "/api/decisions", {"reviewer": reviewer, "decisions": [decision]})
    request("POST", "/api/decisions/undo", {"reviewer": reviewer})
    request("GET", "/api/status")
    request("GET", "/api/specimens?text=core 1")
