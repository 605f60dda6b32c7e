"""A review project of real pollen and plankton, a server on it, and reviewers in a browser."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import forametric as fm
from forametric.review.project import Project, embed_project
from tests.support.browser import TOKEN, Visit, chromium, find_chromium
from tests.support.serving import running

pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="session")
def pollen_project(real_data, tmp_path_factory) -> Path:
    """Pollen grains of known and unknown species, and images of something else altogether."""
    folder = tmp_path_factory.mktemp("page")
    pollen, plankton = (
        fm.import_collection(real_data / name / "specimens.csv", folder / name).collection
        for name in ("pollen", "plankton")
    )
    split = fm.Split.load(pollen, "open_1")
    fm.train(split, "frozen", folder / "model")
    some = pollen.select(split.of("test", "unseen"))
    some = some.select(range(0, len(some), 3))
    foreign = plankton.select(fm.Split.load(plankton, "open_1").of("distractor"))
    core = some.merge(foreign.select(range(0, len(foreign), 200)))
    table = core.specimens.assign(taxon=None, label=None)
    table["sample"] = [f"core {n % 3}" for n in range(len(table))]
    fm.Collection(table, core.images, {"name": "GC37"}).save(folder / "core")
    project = Project.create(
        folder / "project", folder / "core", folder / "model", reference_images=[folder / "pollen"]
    )
    embed_project(project)
    return project.folder


@pytest.fixture
def project(pollen_project) -> Iterator[Path]:
    """A project without decisions."""
    copy = pollen_project.with_name(f"project-{time.monotonic_ns()}")
    shutil.copytree(pollen_project, copy)
    yield copy
    shutil.rmtree(copy)


@pytest.fixture
def server(project) -> Iterator[str]:
    """The address of a server on the project."""
    with running(project, TOKEN) as (address, _):
        yield address


@pytest.fixture(scope="session")
def browser():
    if not find_chromium():
        pytest.skip("no Chromium is installed; name one in the variable CHROMIUM")
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser) -> Iterator[Callable[..., Visit]]:
    """Open the page as a reviewer; errors in the page fail the test."""
    visits: list[Visit] = []

    def open_as(address: str, reviewer: str = "K. Lee") -> Visit:
        visits.append(Visit(browser, address, reviewer))
        return visits[-1]

    yield open_as
    for one in visits:
        one.close()
