"""The first minutes: simulated shells through the whole path, with something to look at."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import forametric as fm
from forametric.utils.files import read_json, refuse_existing, write_json

PER_FORM, FORMS = 18, 35
SIZE = 128
HELD_OUT_TAXA = 5
MARKER = "demo.json"
SETTINGS = ("epochs=12", "network.image_size=96", "tta_views=4")
logger = logging.getLogger(__name__)


def run_demo(output: Path, *, overwrite: bool = False) -> dict[str, str]:
    """Draw simulated shells, train on them, evaluate, map, and name a few new ones.

    An interrupted demo resumes when it is run again.

    Returns
    -------
    dict of str to str
        Where the report, the map (image and page), the names and the model are.
    """
    _enter(output, overwrite)
    logger.info("1/6  drawing %d simulated shells of %d forms", PER_FORM * FORMS, FORMS)
    if not (output / "shells").is_dir():
        fm.simulation.write_dataset(output / "shells", total=PER_FORM * FORMS, size=SIZE)
    table = output / "shells" / "specimens.csv"
    shells = fm.import_collection(table, output / "collection", overwrite=True).collection
    split = fm.make_split(shells, held_out_taxa=HELD_OUT_TAXA)
    split.to_csv(output / "split.csv", overwrite=True)

    logger.info("2/6  training on all forms except five")
    if (output / "model").is_dir():
        model = fm.Model.load(output / "model")
    else:
        model = fm.train(split, fm.Recipe.load("default", SETTINGS), output / "model")

    logger.info("3/6  evaluating on shells that the model has not seen")
    fm.evaluate(model, split).save(output / "results", overwrite=True)

    logger.info("4/6  drawing the morphospace")
    space = fm.Morphospace().fit(model.embed(shells))
    space.save(output / "morphospace.parquet")
    space.plot(output / "morphospace.png", title="Morphospace of simulated shells")
    space.to_html(output / "morphospace.html", title="Simulated shells")

    logger.info("5/6  naming new shells")
    if not (output / "new-shells").is_dir():
        fm.simulation.write_dataset(output / "new-shells", total=FORMS, size=SIZE, seed=1)
    model.identify(output / "new-shells").to_csv(output / "names.csv", overwrite=True)

    logger.info("6/6  grouping the forms that the model has not seen")
    found = fm.discover_unknown(model, split.unseen, include_known=True)
    found.save(output / "morphotypes", overwrite=True)
    write_json(output / MARKER, _marker(finished=True))
    return {
        "report": str(output / "results" / "report.html"),
        "map": str(output / "morphospace.png"),
        "map page": str(output / "morphospace.html"),
        "names": str(output / "names.csv"),
        "morphotypes": str(output / "morphotypes" / "discover.html"),
        "model": str(output / "model"),
    }


def _marker(finished: bool) -> dict[str, Any]:
    made_by = f"forametric {fm.__version__}"
    return {"made_by": made_by, "settings": SETTINGS, "finished": finished}


def _enter(output: Path, overwrite: bool) -> None:
    """Take the folder: an empty one, or that of an unfinished demo of this version."""
    started = (output / MARKER).is_file() and not overwrite
    if started and read_json(output / MARKER) == json.loads(json.dumps(_marker(finished=False))):
        return
    refuse_existing(output, overwrite)
    shutil.rmtree(output, ignore_errors=True)
    write_json(output / MARKER, _marker(finished=False))
