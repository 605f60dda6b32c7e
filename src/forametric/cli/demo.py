"""The first minutes: simulated shells through the whole path, with something to look at."""

from __future__ import annotations

import logging
from pathlib import Path

import forametric as fm
from forametric.utils.outputs import check_folder, put_in_place, resumable_folder

PER_FORM, FORMS = 18, 35
SIZE = 128
HELD_OUT_TAXA = 5
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
    check_folder(output, overwrite)
    settings = {"settings": SETTINGS, "version": fm.__version__}
    with resumable_folder(output, settings, overwrite) as work:
        _make(work)
        put_in_place(work, output)
    return {
        "report": str(output / "results" / "report.html"),
        "map": str(output / "morphospace.png"),
        "map page": str(output / "morphospace.html"),
        "names": str(output / "names.csv"),
        "morphotypes": str(output / "morphotypes" / "discover.html"),
        "model": str(output / "model"),
    }


def _make(work: Path) -> None:
    """Do every step that has not been done in this folder."""
    logger.info("1/6  drawing %d simulated shells of %d forms", PER_FORM * FORMS, FORMS)
    if not (work / "shells").is_dir():
        fm.simulation.write_dataset(work / "shells", total=PER_FORM * FORMS, size=SIZE)
    table = work / "shells" / "specimens.csv"
    shells = fm.import_collection(table, work / "collection", overwrite=True).collection
    split = fm.make_split(shells, held_out_taxa=HELD_OUT_TAXA)
    split.to_csv(work / "split.csv", overwrite=True)

    logger.info("2/6  training on all forms except five")
    if (work / "model").is_dir():
        model = fm.Model.load(work / "model")
    else:
        model = fm.train(split, fm.Recipe.load("default", SETTINGS), work / "model")

    logger.info("3/6  evaluating on shells that the model has not seen")
    fm.evaluate(model, split).save(work / "results", overwrite=True)

    logger.info("4/6  drawing the morphospace")
    space = fm.Morphospace().fit(model.embed(shells))
    space.save(work / "morphospace.parquet")
    space.plot(work / "morphospace.png", title="Morphospace of simulated shells")
    space.to_html(work / "morphospace.html", title="Simulated shells")

    logger.info("5/6  naming new shells")
    if not (work / "new-shells").is_dir():
        fm.simulation.write_dataset(work / "new-shells", total=FORMS, size=SIZE, seed=1)
    model.identify(work / "new-shells").to_csv(work / "names.csv", overwrite=True)

    logger.info("6/6  grouping the forms that the model has not seen")
    found = fm.discover_unknown(model, split.unseen, include_known=True)
    found.save(work / "morphotypes", overwrite=True)
