"""Make the images of docs/review.md, of simulated shells: python docs/review_pictures.py FOLDER.

Runs `forametric demo` into FOLDER, unless it has run there already, and opens the review page on
new shells. Needs Chromium and `pip install -e '.[dev]'`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

from forametric.data.collection import Collection
from forametric.data.importers import import_collection
from forametric.review.project import Project
from forametric.simulation import FORMS, write_shells

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from experiments.review import FLAGS
from tests.support.serving import running

IMAGES = Path(__file__).parent / "images"
TOKEN = "a-token-for-images"
PER_FORM = 14


def project(folder: Path) -> Path:
    """A project: the demo's model, and new shells of all forms in six samples down a core."""
    if not (folder / "demo").is_dir():
        command = [sys.executable, "-m", "forametric", "demo", "-o", str(folder / "demo")]
        subprocess.run(command, check=True)
    shutil.rmtree(folder / "review", ignore_errors=True)
    if not (folder / "core").is_dir():
        write_shells(folder / "shells", PER_FORM, size=160, seed=77)
        import_collection(folder / "shells", folder / "core")
        shells = Collection.open(folder / "core")
        # Forms come and go down the core.
        rng, levels = np.random.default_rng(1), np.arange(6)
        optimum = dict(zip(FORMS, rng.uniform(-1, 6, len(FORMS)), strict=True))
        depth = [
            rng.choice(levels, p=_near(levels, optimum[str(taxon)])) * 10.0
            for taxon in shells.specimens["taxon"]
        ]
        table = shells.specimens.assign(
            taxon=None, label=None, depth_cm=depth, sample=[f"SIM {d:.0f} cm" for d in depth]
        )
        name = {"name": "Core of simulated shells"}
        Collection(table, shells.images, name).save(folder / "core", overwrite=True)
    return Project.create(
        folder / "review",
        folder / "core",
        folder / "demo" / "model",
        reference_images=[folder / "demo" / "collection"],
        depth="depth_cm",
    ).folder


def _near(levels: np.ndarray, optimum: float) -> np.ndarray:
    weights = np.exp(-((levels - optimum) ** 2) / 4)
    return np.asarray(weights / weights.sum())


def save(page: Page, name: str) -> None:
    """Save the screen, once its images have loaded."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1500)
    page.screenshot(path=IMAGES / f"review-{name}.jpg", type="jpeg", quality=82)


def main(folder: Path) -> None:
    """Open the page and walk through the guide."""
    executable = (
        os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    )
    with running(project(folder), TOKEN) as (address, _), sync_playwright() as started:
        browser = started.chromium.launch(executable_path=executable, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"{address}/login")
        page.get_by_label("token that the server was given").fill(TOKEN)
        page.get_by_role("button", name="Log in").click()
        page.get_by_label("Your name").fill("K. Lee")
        page.keyboard.press("Enter")
        page.wait_for_function("window.forametricMap?.count() > 0")
        with page.expect_response(lambda response: "/api/sheets/" in response.url):
            page.evaluate(
                "window.forametricMap.plot.zoomToArea({x: -.45, y: -.35, width: .7, height: .7})"
            )
        save(page, "map")
        page.get_by_role("link", name="Review", exact=True).click()
        page.get_by_role("button", name="Accept").wait_for()
        for key in ("Enter", "u", "Enter", "2", "Enter"):
            page.wait_for_timeout(900)
            page.keyboard.press(key)
        save(page, "queue")
        page.get_by_role("link", name="Morphotypes", exact=True).click()
        page.get_by_role("button", name="Group the unknown").click()
        page.get_by_role("button", name="Split").first.wait_for()
        page.wait_for_timeout(4500)
        save(page, "morphotypes")
        page.get_by_role("link", name="Samples", exact=True).click()
        page.locator("svg[role=img]").wait_for()
        save(page, "samples")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "review-images"))
