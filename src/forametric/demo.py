"""The first minutes: simulated shells through the whole path, with something to look at."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from forametric._version import __version__
from forametric.data.collection import Collection
from forametric.utils.files import (
    atomic_folder,
    atomic_path,
    read_json,
    refuse_existing,
    write_json,
)
from forametric.utils.progress import bar, console

PER_FORM = 18
SIZE = 128
UNSEEN = 5
MARK = "demo.json"
SETTINGS = ("epochs=12", "network.image_size=96", "tta_views=4")


def run_demo(output: Path, *, overwrite: bool = False) -> dict[str, str]:
    """Draw simulated shells, train on them, measure, map, and name a few new ones.

    A demo that was stopped goes on where it was when it is run again.

    Returns
    -------
    dict of str to str
        Where the report, the map (picture and page), the names and the model lie.
    """
    from forametric.analysis.discovery import discover_collection
    from forametric.analysis.morphospace import Morphospace
    from forametric.data.importers import import_collection
    from forametric.data.splits import draw_split, save_split
    from forametric.embedding.recipe import Recipe
    from forametric.evaluation.evaluate import evaluate
    from forametric.images import load_image
    from forametric.model.model import Model
    from forametric.simulation import FORMS, write_shells
    from forametric.training.train import train

    _enter(output, overwrite)
    console.print(f"1/6  drawing {PER_FORM * len(FORMS)} simulated shells of {len(FORMS)} forms")
    if not (output / "shells").is_dir():
        with (
            bar("drawing shells", PER_FORM * len(FORMS)) as advance,
            atomic_folder(output / "shells") as temporary,
        ):
            table = write_shells(
                temporary, PER_FORM, size=SIZE, workers=os.cpu_count() or 1, progress=advance
            )
            table.to_csv(temporary / "specimens.csv", index=False)
    shells: Collection = import_collection(
        output / "shells" / "specimens.csv", output / "collection", overwrite=True
    ).collection
    subsets = draw_split(shells, seed=0, unseen=UNSEEN)
    save_split(subsets, output / "split.csv")

    console.print("2/6  training on all forms but five")
    if not (output / "model").is_dir():
        recipe = Recipe.load("default", SETTINGS)
        train(shells, subsets, recipe, output / "model", split_name="split.csv")
    model = Model.load(output / "model")

    console.print("3/6  measuring on shells it never saw")
    evaluate(model, shells, subsets, output / "results", overwrite=True, split_name="split.csv")

    console.print("4/6  drawing the morphospace")
    vectors = model.embed(shells).vectors
    space = Morphospace.fit(vectors, shells.specimens["id"].tolist())
    space.save(output / "morphospace.parquet")
    taxa = shells.taxa().tolist()

    def picture(i: int):  # type: ignore[no-untyped-def]
        return load_image(shells.path(i), 96)

    space.plot(output / "morphospace.png", taxa, picture, title="Morphospace of simulated shells")
    space.write_html(output / "morphospace.html", taxa, picture, title="Simulated shells")

    console.print("5/6  naming new shells")
    if not (output / "new-shells").is_dir():
        with atomic_folder(output / "new-shells") as temporary:
            write_shells(temporary, 1, seed=1, size=SIZE)
    names = model.identify(output / "new-shells").table
    with atomic_path(output / "names.csv") as temporary:
        names.to_csv(temporary, index=False)

    console.print("6/6  grouping the forms it never saw")
    held_out = shells.select((subsets == "unseen").to_numpy())
    discover_collection(model, held_out, output / "morphotypes", everything=True, overwrite=True)
    write_json(output / MARK, _mark(finished=True))
    return {
        "report": str(output / "results" / "report.html"),
        "map": str(output / "morphospace.png"),
        "map page": str(output / "morphospace.html"),
        "names": str(output / "names.csv"),
        "morphotypes": str(output / "morphotypes" / "discover.html"),
        "model": str(output / "model"),
    }


def _mark(finished: bool) -> dict[str, Any]:
    return {"made_by": f"forametric {__version__}", "settings": SETTINGS, "finished": finished}


def _enter(output: Path, overwrite: bool) -> None:
    """Take the folder: an empty one, or one that an unfinished demo of this version began."""
    begun = (output / MARK).is_file() and not overwrite
    if begun and read_json(output / MARK) == json.loads(json.dumps(_mark(finished=False))):
        return
    refuse_existing(output, overwrite)
    shutil.rmtree(output, ignore_errors=True)
    write_json(output / MARK, _mark(finished=False))
