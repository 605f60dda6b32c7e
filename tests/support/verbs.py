"""A quick command of each verb, so that what should hold for every verb is tested on each."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

from forametric.cli import app
from forametric.data.collection import Collection
from forametric.simulation import render_shell
from tests.support.cli import FORMS, QUICK, forametric

SLOW = {"train", "evaluate", "benchmark", "demo"}  # these take seconds
ASKS = {"download"}  # the network is what it is for


def all_verbs() -> dict[str, Any]:
    """The commands of the command line, those of a group as "GROUP COMMAND"."""
    found = {}
    for name, command in typer.main.get_command(app).commands.items():
        parts = getattr(command, "commands", None)
        found |= {f"{name} {part}": c for part, c in parts.items()} if parts else {name: command}
    return dict(sorted(found.items()))


def each_verb(verbs: list[str]) -> list[object]:
    """Verbs as parameters of a test, with those that take seconds marked as slow."""
    return [pytest.param(v, marks=[pytest.mark.slow] if v in SLOW else []) for v in verbs]


@pytest.fixture
def command(request, tmp_path, monkeypatch):
    """Give the arguments of a quick, valid command; its output is `tmp_path / "out…"`."""

    def arguments(verb: str) -> list[str]:
        made = {name: request.getfixturevalue(name) for name in _FIXTURES}
        if verb in ("review", "serve"):  # everything but serving
            monkeypatch.setattr("forametric.server.run._serve", _close)
        if verb == "users password":
            monkeypatch.setattr("sys.stdin", io.StringIO("a long new password\n"))
        if verb == "simulate":  # in one process, which starts at once
            monkeypatch.setattr("os.cpu_count", lambda: 1)
        if verb == "demo":
            for name, value in _SMALL_DEMO.items():
                monkeypatch.setattr(f"forametric.cli.demo.{name}", value)
        return [*verb.split(), *map(str, _arguments(verb, tmp_path, **made))]

    return arguments


def _close(app, sessions, access, listening, proxy, ready) -> None:
    """In place of serving: say that it serves, and close what was opened."""
    ready()
    listening.close()
    for session in sessions:
        session.close()
    access.database.close()


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

    def users(*command: object) -> list[object]:
        return [*command, "--accounts", _accounts(place)]

    given: dict[str, Callable[[], list[object]]] = {
        "import": lambda: [_folder(place, shells_folder), *out],
        "segment": lambda: [_slide(place), "--um-per-px", 3, *out],
        "download": lambda: out,
        "taxonomy": lambda: ["-o", place / "out.csv"],
        "check": lambda: [shells_folder, *out],
        "split": lambda: [shells_folder, "-o", place / "out.csv"],
        "export": lambda: [shells_folder, "-o", place / "out.csv"],
        "info": lambda: [model_folder],
        "train": lambda: [shells_folder, *split, *QUICK, *out],
        "evaluate": lambda: [model_folder, shells_folder, *split, *out],
        "benchmark": lambda: [
            shells_folder,
            "--recipes",
            "frozen",
            "--repeats",
            1,
            *QUICK[2:],
            *out,
        ],
        "calibrate": lambda: [model_folder, more_shells, "--split", "check", *out],
        "add": lambda: [model_folder, more_shells, *out],
        "recipes": lambda: [],
        "identify": lambda: [calibrated_folder, more_shells, "-o", place / "out.csv"],
        "embed": lambda: [model_folder, shells_folder, "-o", place / "out.parquet"],
        "map": lambda: [model_folder, shells_folder, "-o", place / "out.png"],
        "discover": lambda: [calibrated_folder, more_shells, "--all", *out],
        "assemblage": lambda: [calibrated_folder, more_shells, "--depth", "depth", *out],
        "queue": lambda: [calibrated_folder, more_shells, *out],
        "record": lambda: [
            shells_folder,
            _decided(place, shells_folder),
            "--store",
            store,
            "--reviewer",
            "K. Lee",
        ],
        "decisions": lambda: [
            "--store",
            _recorded(place, shells_folder, store),
            "-o",
            place / "out.csv",
        ],
        "apply-decisions": lambda: [
            shells_folder,
            "--store",
            _recorded(place, shells_folder, store),
            *out,
        ],
        "review": lambda: [
            place / "out",
            "--collection",
            more_shells,
            "--model",
            calibrated_folder,
            "--no-browser",
            "--port",
            0,
        ],
        "demo": lambda: out,
        "simulate": lambda: ["--total", 35, "--size", 16, *out],
        "backup": lambda: [_recorded(place, shells_folder, store), "-o", place / "out.sqlite"],
        "restore": lambda: [_recorded(place, shells_folder, store), "-o", place / "out.sqlite"],
        "serve": lambda: users(_project(place, more_shells, calibrated_folder), "--port", 0),
        "users add": lambda: users("R. Mayer", "--no-password"),
        "users role": lambda: users("K. Lee", "curator"),
        "users password": lambda: users("K. Lee"),
        "users remove": lambda: users("K. Lee"),
        "users token": lambda: users("K. Lee", "export"),
        "users revoke": lambda: users("K. Lee", "nightly"),
        "users list": lambda: users(),
        "users log": lambda: users(),
    }
    assert verb in given, f"add a quick command of {verb} here, so that it is tested as all are"
    return given[verb]()


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


def _project(place: Path, collection: Path, model: Path) -> Path:
    from forametric.review.project import Project

    return Project.create(place / "project", collection, model).folder


def _accounts(place: Path) -> Path:
    path = place / "accounts.sqlite"
    if not path.exists():
        for more in (["add", "K. Lee", "--no-password"], ["token", "K. Lee", "nightly"]):
            assert forametric("users", *more, "--accounts", path).returncode == 0
    return path
