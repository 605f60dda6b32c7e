"""The benchmark: several recipes on the same draws of a collection, with honest statistics.

Each run is what `forametric train` and `forametric evaluate` do. A run that is finished is never
done again, so that a benchmark that was stopped, or given more rows, goes on. A run that fails (a
recipe that diverges) is a row that says why; the others go on, and the next call tries it again.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forametric import __version__
from forametric.collection import Collection
from forametric.embedder import Embedder
from forametric.errors import InputError
from forametric.evaluation.protocol import evaluate, unseen_scores
from forametric.evaluation.statistics import mean_interval, paired_difference
from forametric.files import read_json, refuse_existing, write_json, write_text
from forametric.learning.recipe import Recipe
from forametric.learning.train import train
from forametric.progress import bar
from forametric.splits import draw_split, load_split, save_split, split_hash
from forametric.vectors import read_vectors

# What the tables show, in this order, where there is something to show.
MEASURES = {
    "known.macro_f1": "known: macro F1",
    "known.accuracy": "known: accuracy",
    "known.top3": "known: top 3",
    "known.rare_macro_f1": "rare species: macro F1",
    "unseen.matched_accuracy": "unseen: matched accuracy",
    "unseen.matched_macro_f1": "unseen: matched macro F1",
    "unseen.ami": "unseen: AMI",
    "unseen.recall_at_1": "unseen: recall at 1",
    "unseen.estimated.ami": "unseen, number estimated: AMI",
    "unseen_without.matched_accuracy": "unseen without no. 29: matched accuracy",
    "unseen_without.matched_macro_f1": "unseen without no. 29: matched macro F1",
    "unknown.auroc": "unseen against known: AUROC",
    "unknown.not_a_taxon_auroc": "no taxon against known: AUROC",
    "training_seconds": "training, s",
    "images_per_second": "training, images/s",
}
DOMINANT = "Neogloboquadrina pachyderma"  # no. 29: nine tenths of the paper's unseen images
MARK, RUN, FAILED = "benchmark.json", "run.json", "failed.txt"


@dataclass(frozen=True)
class Run:
    """One recipe on one draw with one seed, and the folder of its results."""

    recipe: Recipe
    split: str  # a column of the collection, or a CSV
    draw: str
    seed: int
    folder: Path


def benchmark(
    collection: Path,
    output: Path,
    recipes: Sequence[Recipe],
    *,
    splits: Sequence[str] = (),
    draws: int = 3,
    unseen: int | None = None,
    seeds: int = 1,
    overwrite: bool = False,
) -> pd.DataFrame:
    """Train and evaluate every recipe on every draw with every seed.

    Parameters
    ----------
    collection : Path
        The collection's folder.
    output : Path
        Gets `runs/RECIPE/DRAW-SEED` with the results of each run, `splits` with the draws made
        here, `runs.csv`.
    splits : sequence of str
        Columns of the collection or CSV files; without any, `draws` are drawn.
    unseen : int, optional
        Taxa that each draw holds out whole; a quarter of them when not given.

    Returns
    -------
    DataFrame
        One row a run: recipe, backbone, draw, seed, folder, test_share, failed (why, or empty), and
        `MEASURES`.

    Raises
    ------
    InputError
        When a finished run in `output` was made with other settings or data.
    """
    if len({r.name for r in recipes}) < len(recipes):
        raise InputError("two recipes have the same name; give each its own.")
    shells = Collection.open(collection)
    roles = {split: load_split(shells, split) for split in splits}
    if overwrite or not (output / MARK).is_file():
        refuse_existing(output, overwrite)
        shutil.rmtree(output, ignore_errors=True)
    write_json(output / MARK, {"made_by": f"forametric {__version__}", "hardware": hardware()})
    roles = roles or _drawn(shells, output / "splits", draws, unseen)
    runs = [
        Run(
            r,
            split,
            Path(split).stem,
            seed,
            output / "runs" / r.name / f"{Path(split).stem}-{seed}",
        )
        for split in roles
        for seed in range(seeds)
        for r in recipes
    ]
    missing = [run for run in runs if not _finished(run, shells, roles[run.split])]
    with bar("runs", len(runs)) as advance:
        advance(len(runs) - len(missing))
        for run in _carried_out(missing, collection):
            advance(1, f"{run.recipe.name} {run.draw}-{run.seed}")
    table = pd.DataFrame([_row(run) for run in runs])
    if (table["failed"] != "").all():
        raise InputError(f"every run failed; the first: {table['failed'].iloc[0]}")
    table.to_csv(output / "runs.csv", index=False)
    return table


def digits_of(measure: str) -> int:
    """Decimals to show: three for figures of merit, none for seconds and rates."""
    return 3 if "." in measure else 0


def measured(table: pd.DataFrame) -> list[str]:
    """Those of `MEASURES` that at least one run has."""
    return [m for m in MEASURES if m in table and table[m].notna().any()]


def summary(table: pd.DataFrame, against: str) -> pd.DataFrame:
    """Mean, 95 % interval and difference from one recipe of every measure, over the draws.

    Seeds are averaged within a draw; with one draw only, they take its place.

    Returns
    -------
    DataFrame
        recipe, backbone, measure, mean, half (of the interval), n, difference, p.
    """
    if against not in set(table["recipe"]):
        raise InputError(f"no runs of {against!r}; there are {', '.join(set(table['recipe']))}.")
    table = table[table["failed"] == ""]
    if against not in set(table["recipe"]):
        raise InputError(f"every run of {against} failed; compare with another, --against.")
    unit = "draw" if table["draw"].nunique() > 1 else "seed"
    backbones = table.groupby("recipe", sort=False)["backbone"].first()
    share = float(table["test_share"].mean())
    rows = []
    for measure in measured(table):
        means = table.pivot_table(measure, unit, "recipe", dropna=False)
        theirs = means[against].to_numpy(float)
        for recipe, backbone in backbones.items():
            ours = means[str(recipe)].to_numpy(float)
            mean, half = mean_interval(ours)
            gain, p = paired_difference(ours, theirs, share)
            rows.append((recipe, backbone, measure, mean, half, len(ours), gain, p))
    columns = ["recipe", "backbone", "measure", "mean", "half", "n", "difference", "p"]
    return pd.DataFrame(rows, columns=columns)


def _drawn(
    shells: Collection, folder: Path, draws: int, unseen: int | None
) -> dict[str, pd.Series]:
    """Draw the splits and write them, so that anyone can use the very same: roles by file."""
    taxa = len(set(shells.taxa()) - {""})
    held_out = taxa // 4 if unseen is None else unseen
    drawn = {}
    for number in range(1, draws + 1):
        file = folder / f"draw_{number}.csv"
        roles = drawn[str(file)] = draw_split(shells, seed=number, unseen=held_out)
        if not file.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            save_split(roles, file)
        elif split_hash(load_split(shells, str(file))) != split_hash(roles):
            raise InputError(
                f"{file} was drawn with other taxa held out; name another output or pass "
                f"--overwrite."
            )
    return drawn


def _asked(run: Run, shells: Collection, roles: pd.Series) -> dict[str, Any]:
    return {
        "recipe": run.recipe.model_dump(mode="json"),
        "seed": run.seed,
        "split": split_hash(roles),
        "specimens": shells.fingerprint,
    }


def _finished(run: Run, shells: Collection, roles: pd.Series) -> bool:
    if not (run.folder / "results" / "metrics.json").is_file():
        return False
    if read_json(run.folder / RUN) != json.loads(json.dumps(_asked(run, shells, roles))):
        raise InputError(
            f"{run.folder} was run with other settings or data; name another output or pass "
            f"--overwrite."
        )
    return True


def _carried_out(runs: list[Run], collection: Path) -> Iterator[Run]:
    """Do the runs, one at a time, or one on each of several GPUs."""
    devices = _devices()
    if devices < 2 or len(runs) < 2:
        for run in runs:
            _carry_out(run, collection)
            yield run
        return
    context = multiprocessing.get_context("spawn")
    free = context.Queue()
    for device in range(devices):
        free.put(device)
    with ProcessPoolExecutor(devices, context, initializer=_take_device, initargs=(free,)) as pool:
        futures = {pool.submit(_carry_out, run, collection): run for run in runs}
        for future in as_completed(futures):
            future.result()
            yield futures[future]


def _devices() -> int:
    import torch

    return torch.cuda.device_count()


def _take_device(free: Any) -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = str(free.get())


def _carry_out(run: Run, collection: Path) -> None:
    shells = Collection.open(collection)
    roles = load_split(shells, run.split)
    run.folder.mkdir(parents=True, exist_ok=True)
    write_json(run.folder / RUN, _asked(run, shells, roles))
    place = run.folder / "model"
    shutil.rmtree(place, ignore_errors=True)  # of a run that was stopped while it was evaluated
    failed = run.folder / FAILED
    failed.unlink(missing_ok=True)
    try:
        train(shells, roles, run.recipe, place, seed=run.seed, split_name=run.split)
    except InputError as error:
        write_text(failed, str(error))
        shutil.rmtree(f"{place}.unfinished", ignore_errors=True)
        return
    model = Embedder.load(place)  # as a user would have it
    seen, seconds = model.card.training["images"], model.card.training["seconds"]
    write_json(
        run.folder / "training.json",
        {"seconds": seconds, "images_per_second": round(seen / max(seconds, 1e-9), 1)},
    )
    results = run.folder / "results"
    evaluate(model, shells, roles, results, overwrite=True, split_name=run.split)
    shutil.rmtree(place)  # tens of megabytes each; the same command makes it again


def _row(run: Run) -> dict[str, Any]:
    results = run.folder / "results"
    row = {
        "recipe": run.recipe.name,
        "backbone": run.recipe.network.backbone,
        "draw": run.draw,
        "seed": run.seed,
        "folder": str(run.folder),
        "failed": "",
    }
    if not (results / "metrics.json").is_file():
        return {**row, "failed": (run.folder / FAILED).read_text(encoding="utf-8")}
    found = read_json(results / "metrics.json")
    training = read_json(run.folder / "training.json")
    if "karaderi-open" in run.draw:
        table, vectors = read_vectors(results / "vectors.parquet")
        rest = ((table["role"] == "unseen") & (table["taxon"] != DOMINANT)).to_numpy()
        taxa = table["taxon"].to_numpy(dtype=object)[rest]
        learned = found["model"]["learned"]
        found["unseen_without"] = unseen_scores(vectors[rest], taxa, learned=learned)
    flat = pd.json_normalize(found).iloc[0].to_dict()
    test = found["n"]["test"]
    return {
        **row,
        "backbone": found["model"]["backbone"],
        "test_share": test / found["n"]["gallery"],
        **{name: flat[name] for name in MEASURES if name in flat},
        "training_seconds": training["seconds"],
        "images_per_second": training["images_per_second"] or np.nan,
    }


def hardware() -> str:
    """The machine in words: processors, system, and a GPU where there is one."""
    import torch

    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU"
    return f"{os.cpu_count()} cores ({platform.machine()}, {platform.system()}){gpu}"
