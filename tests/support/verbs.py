"""A quick command of each verb, so that what should hold for every verb is tested on each."""

from __future__ import annotations

import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from forametric.data.collection import Collection
from forametric.simulation import render_shell
from tests.support.cli import FORMS, QUICK

SLOW = {"train", "evaluate", "benchmark", "demo"}  # these take seconds
ASKS = {"download"}  # the network is what it is for


def each_verb(verbs: list[str]) -> list[object]:
    """Verbs as parameters of a test, with those that take seconds marked as slow."""
    return [pytest.param(v, marks=[pytest.mark.slow] if v in SLOW else []) for v in verbs]


@pytest.fixture
def command(request, tmp_path, monkeypatch):
    """Give the arguments of a quick, valid command; its output is `tmp_path / "out…"`."""

    def arguments(verb: str) -> list[str]:
        made = {name: request.getfixturevalue(name) for name in _FIXTURES}
        if verb == "review":  # everything but serving
            monkeypatch.setattr("uvicorn.Server.run", mock.Mock())
        if verb == "simulate":  # in one process, which starts at once
            monkeypatch.setattr("os.cpu_count", lambda: 1)
        if verb == "demo":
            for name, value in _SMALL_DEMO.items():
                monkeypatch.setattr(f"forametric.cli.demo.{name}", value)
        return [verb, *map(str, _arguments(verb, tmp_path, **made))]

    return arguments


_FIXTURES = ("shells_folder", "more_shells", "split_file", "model_folder", "calibrated_folder")
_SMALL_DEMO = {
    "PER_FORM": 6,
    "SIZE": 48,
    "SETTINGS": ("epochs=1", "network.image_size=32", "tta_views=1"),
}


def _arguments(
    verb: str,
    place: Path,
    shells_folder: Path,
    more_shells: Path,
    split_file: Path,
    model_folder: Path,
    calibrated_folder: Path,
) -> list[object]:
    out, store = ["-o", place / "out"], place / "d.sqlite"
    split = ["--split", split_file]
    given = {
        "import": [_folder(place, shells_folder), *out],
        "segment": [_slide(place), "--um-per-px", 3, *out],
        "download": out,
        "taxonomy": ["-o", place / "out.csv"],
        "check": [shells_folder, *out],
        "split": [shells_folder, "-o", place / "out.csv"],
        "export": [shells_folder, "-o", place / "out.csv"],
        "info": [model_folder],
        "train": [shells_folder, *split, *QUICK, *out],
        "evaluate": [model_folder, shells_folder, *split, *out],
        "benchmark": [shells_folder, "--recipes", "frozen", "--repeats", 1, *QUICK[2:], *out],
        "calibrate": [model_folder, more_shells, "--split", "check", *out],
        "add": [model_folder, more_shells, *out],
        "recipes": [],
        "identify": [calibrated_folder, more_shells, "-o", place / "out.csv"],
        "embed": [model_folder, shells_folder, "-o", place / "out.parquet"],
        "map": [model_folder, shells_folder, "-o", place / "out.png"],
        "discover": [calibrated_folder, more_shells, "--all", *out],
        "assemblage": [calibrated_folder, more_shells, "--depth", "depth", *out],
        "queue": [calibrated_folder, more_shells, *out],
        "record": [shells_folder, _decided(place, shells_folder), "--store", store,
                   "--reviewer", "K. Lee"],
        "decisions": ["--store", _recorded(place, shells_folder, store), "-o", place / "out.csv"],
        "apply-decisions": [shells_folder, "--store", _recorded(place, shells_folder, store), *out],
        "review": [place / "out", "--collection", more_shells, "--model", calibrated_folder,
                   "--no-browser", "--port", 0],
        "demo": out,
        "simulate": ["--total", 35, "--size", 16, *out],
    }  # fmt: skip
    return given[verb]


def _folder(place: Path, collection: Path) -> Path:
    folder = place / "images"
    if not folder.exists():
        (folder / "a").mkdir(parents=True)
        for number, path in enumerate(Collection.open(collection).paths()[:3]):
            shutil.copy(path, folder / "a" / f"{number}.png")
    return folder


def _slide(place: Path) -> Path:
    slide = np.full((220, 320, 3), 6, np.uint8)
    for number, x in enumerate((10, 120)):
        shell = render_shell(FORMS[number], number, 90)
        slide[60:150, x : x + 90] = np.maximum(slide[60:150, x : x + 90], shell)
    Image.fromarray(slide).save(place / "slide.png")
    return place / "slide.png"


def _decided(place: Path, collection: Path) -> Path:
    ids = Collection.open(collection).specimens["id"][:6]
    rows = "".join(f"{name},Nova species\n" for name in ids)
    (place / "decided.csv").write_text(f"id,expert\n{rows}", encoding="utf-8")
    return place / "decided.csv"


def _recorded(place: Path, collection: Path, store: Path) -> Path:
    from forametric.review import DecisionStore, read_decisions

    if not store.exists():
        opened = DecisionStore(store)
        given = read_decisions(_decided(place, collection), Collection.open(collection), "K. Lee")
        opened.record(given)
        opened.close()
    return store
