"""Benchmark recipes on the same splits of a collection: means, intervals, paired differences.

Each run is what `forametric train` and `forametric evaluate` do. A finished run is never repeated,
so a benchmark that was stopped, or is given more recipes, splits or seeds, resumes. A run that
fails (a recipe that diverges) is a row that says why; the others continue, and the next call tries
it again.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forametric._typing import PathLike
from forametric._version import __version__
from forametric.data.collection import Collection
from forametric.data.embeddings import skipped_table
from forametric.data.inputs import check_output_folder
from forametric.data.splits import Split, make_split
from forametric.data.taxonomy import Taxonomy
from forametric.embedding.recipe import Recipe
from forametric.errors import InputError
from forametric.evaluation import karaderi2022
from forametric.evaluation.benchmark_report import REPORT_FILES, write_benchmark_report
from forametric.evaluation.evaluate import evaluate
from forametric.evaluation.measures import MEASURES, hardware, summarise
from forametric.model.model import Model, read_skipped
from forametric.training.train import train
from forametric.utils.files import read_json, write_json, write_text
from forametric.utils.manifest import adding, remove_folder
from forametric.utils.outputs import (
    put_in_place,
    remove_working_folder,
    resumable_folder,
    write_csv,
    writing,
)
from forametric.utils.progress import bar
from forametric.utils.ranges import COUNT, NUMBER
from forametric.utils.results import Result

MARKER, RUN, FAILED = "benchmark.json", "run.json", "failed.txt"
SKIPPED = "skipped.csv"  # images that a run could not read
TRAINED = "training.json"  # of a run whose model was trained and evaluated


@dataclass(frozen=True, eq=False)
class Run:
    """One recipe on one split with one seed.

    `folder` is where it is made, `name` the path of its results below the output. `corruptions`:
    whether corrupted images are named too.
    """

    recipe: Recipe
    split: Split
    draw: str
    seed: int
    folder: Path
    name: str
    corruptions: bool
    taxonomy: Taxonomy


@dataclass(frozen=True, eq=False, repr=False)
class Benchmark(Result):
    """The runs of a benchmark and their summary.

    Attributes
    ----------
    runs : DataFrame
        One row for each run: recipe, backbone, draw, seed, folder, test_share, failed (why, or
        empty), and `MEASURES`.
    against : str
        The recipe that the others are compared with.
    folder : Path
        Where the results are.
    paper : bool
        Whether to show the printed figures of Karaderi et al. 2022.
    skipped : DataFrame
        The images that a run could not read: image, reason.
    """

    runs: pd.DataFrame
    against: str
    folder: Path
    paper: bool = False
    skipped: pd.DataFrame = field(default_factory=skipped_table)

    def __len__(self) -> int:
        return len(self.runs)

    def __str__(self) -> str:
        recipes = self.runs["recipe"].nunique()
        return f"{len(self)} runs of {recipes} recipes, {len(self.failed)} failed"

    @cached_property
    def table(self) -> pd.DataFrame:
        """Mean, interval and paired difference of each measure and recipe: `summarise`."""
        return summarise(self.runs, self.against)

    @property
    def failed(self) -> pd.DataFrame:
        """The runs that failed: folder, failed (why)."""
        return self.runs.loc[self.runs["failed"] != "", ["folder", "failed"]]

    @property
    def summary(self) -> dict[str, Any]:
        """summary (`table`), failed."""
        return {
            "summary": self.table.to_dict("records"),
            "failed": self.failed.to_dict("records"),
        }

    @property
    def preview(self) -> pd.DataFrame:
        """The mean of each measure, one column for each recipe."""
        means = self.table.assign(measure=self.table["measure"].map(MEASURES))
        means = means.pivot_table("mean", "measure", "recipe", sort=False)
        return means.rename_axis(columns=None).reset_index()

    def to_html(self) -> Path:
        """Write `benchmark.html`, `summary.csv`, `table.md` and the figures again; the page."""
        printed = karaderi2022.PRINTED if self.paper else {}
        with adding(self.folder, *REPORT_FILES):
            return write_benchmark_report(
                self.runs, self.table, self.against, self.folder, printed, karaderi2022.CAVEAT
            )


def benchmark(
    collection: Collection | PathLike,
    recipes: Sequence[Recipe | str],
    *,
    output: PathLike = "benchmark",
    splits: Sequence[PathLike] = (),
    repeats: int = 3,
    held_out_taxa: int | None = None,
    seeds: int = 1,
    against: str = "",
    paper: bool = False,
    corruptions: bool = False,
    taxonomy: Taxonomy | None = None,
    overwrite: bool = False,
) -> Benchmark:
    """Train and evaluate every recipe on every split with every seed.

    Runs are kept in `OUTPUT.unfinished` until all are done. Then they replace an earlier benchmark
    in `output`, whose runs are among them.

    Parameters
    ----------
    recipes : sequence of Recipe or str
    output : path
        Gets `runs/RECIPE/DRAW-SEED` with the results of each run, `splits` with the splits drawn
        here, `runs.csv`, `skipped.csv` where images were skipped, and the page `benchmark.html`.
    splits : sequence of path
        Columns of the collection or CSV files; without any, `repeats` splits are drawn.
    held_out_taxa : int, optional
        Taxa that each drawn split holds out whole; a quarter of them when not given.
    seeds : int
        Trainings of each recipe on each split.
    against : str
        The recipe to compare the others with; the first when not given.
    paper : bool
        Use the splits of Karaderi et al. 2022, which importing Endless Forams adds, and show its
        printed figures.
    corruptions : bool
        Also name corrupted images in each run, as `evaluate` does.
    taxonomy : Taxonomy, optional
        As for `train`.

    Raises
    ------
    InputError
        When a finished run in `output` was made with other settings or data; when `output` has
        other files in it.
    """
    COUNT.check(repeats=repeats, seeds=seeds)
    NUMBER.check(held_out_taxa=held_out_taxa)
    collection = collection if isinstance(collection, Collection) else Collection.open(collection)
    loaded = [r if isinstance(r, Recipe) else Recipe.load(r) for r in recipes]
    output = Path(output)
    names = [r.name for r in loaded]
    if len(set(names)) < len(names):
        raise InputError("two recipes have the same name; give each its own.")
    against = against or names[0]
    if against not in names:
        raise InputError(f"{against} is not one of the recipes {', '.join(names)}.")
    splits = karaderi2022.SPLITS if paper else splits
    drawn = [Split.load(collection, split) for split in splits]
    stems = [Path(split.name).stem for split in drawn]
    if len(set(stems)) < len(stems):
        raise InputError(
            f"two splits have the same file name: {', '.join(sorted(stems))}; rename one."
        )
    with _working_folder(collection, output, overwrite, splits) as work:
        drawn = drawn or _draw_splits(collection, work, repeats, held_out_taxa)
        runs = _planned(loaded, drawn, seeds, work, corruptions, taxonomy or Taxonomy.load())
        missing = [run for run in runs if not _finished(run)]
        with bar("runs", len(runs)) as advance:
            advance(len(runs) - len(missing))
            for run in _carried_out(missing):
                advance(1, f"{run.recipe.name} {run.draw}-{run.seed}")
        table = pd.DataFrame([_row(run, output, paper) for run in runs])
        if (table["failed"] != "").all():
            raise InputError(f"every run failed; the first: {table['failed'].iloc[0]}")
        table.to_csv(work / "runs.csv", index=False)
        skipped = _merged([read_skipped(run.folder / SKIPPED) for run in runs])
        (work / SKIPPED).unlink(missing_ok=True)
        if len(skipped):
            write_csv(skipped, work / SKIPPED)
        Benchmark(table, against, work, paper).to_html()
        put_in_place(work, output)
    return Benchmark(table, against, output, paper, skipped)


@contextmanager
def _working_folder(
    collection: Collection, output: Path, overwrite: bool, splits: Sequence[PathLike]
) -> Iterator[Path]:
    """The working folder of a benchmark, with the runs of an earlier one in `output`."""
    extended = not overwrite and (output / MARKER).is_file()
    files = [split for split in splits if Path(split).is_file()]
    check_output_folder(output, overwrite or extended, collection, *files)
    with writing(output):
        if overwrite:
            remove_working_folder(output)
        with resumable_folder(output, {"benchmark": 1}, overwrite or extended) as work:
            if extended:
                _take_over(output, work)
            made_by = {"made_by": f"forametric {__version__}", "hardware": hardware()}
            write_json(work / MARKER, made_by)
            try:
                yield work
            except InputError:
                finished = work.glob(f"runs/*/*/{TRAINED}")
                if all((output / run.relative_to(work)).exists() for run in finished):
                    remove_working_folder(output)  # it has nothing to resume from
                raise


def _take_over(output: Path, work: Path) -> None:
    """Copy the runs and splits of an earlier benchmark that the working folder lacks."""
    for run in output.glob("runs/*/*"):
        if not (work / run.relative_to(output)).exists():
            shutil.copytree(run, work / run.relative_to(output))
    for split in output.glob("splits/*"):
        if not (work / "splits" / split.name).exists():
            (work / "splits").mkdir(exist_ok=True)
            shutil.copy2(split, work / "splits")


def _planned(
    recipes: Sequence[Recipe],
    drawn: Sequence[Split],
    seeds: int,
    work: Path,
    corruptions: bool,
    taxonomy: Taxonomy,
) -> list[Run]:
    names = [(split, Path(split.name).stem, seed) for split in drawn for seed in range(seeds)]
    return [
        Run(recipe, split, stem, seed, work / name, name, corruptions, taxonomy)
        for split, stem, seed in names
        for recipe in recipes
        for name in [f"runs/{recipe.name}/{stem}-{seed}"]
    ]


def _draw_splits(
    collection: Collection, work: Path, repeats: int, held_out_taxa: int | None
) -> list[Split]:
    """Draw the splits and write them, so that anyone can use the same ones."""
    taxa = len(set(collection.taxa()) - {""})
    held_out = taxa // 4 if held_out_taxa is None else held_out_taxa
    splits = []
    for number in range(1, repeats + 1):
        name = f"splits/draw_{number}.csv"
        file = work / name
        drawn = make_split(collection, seed=number, held_out_taxa=held_out)
        if not file.is_file():
            drawn.to_csv(file)
        split = replace(Split.load(collection, file), name=name)
        if split.hash != drawn.hash:
            raise InputError(
                f"{name} was drawn with other taxa held out; name another output or pass "
                f"--overwrite."
            )
        splits.append(split)
    return splits


def _settings(run: Run) -> dict[str, Any]:
    return {
        "recipe": run.recipe.model_dump(mode="json"),
        "seed": run.seed,
        "split": run.split.hash,
        "specimens": run.split.collection.fingerprint,
        "corruptions": run.corruptions,
        "handed": run.taxonomy.handed(run.split.train.taxa()),
    }


def _finished(run: Run) -> bool:
    if not (run.folder / "results" / "metrics.json").is_file():
        return False
    if read_json(run.folder / RUN) != json.loads(json.dumps(_settings(run))):
        raise InputError(
            f"{run.name} was run with other settings or data; name another output or pass "
            f"--overwrite."
        )
    return True


def _carried_out(runs: list[Run]) -> Iterator[Run]:
    """Do the runs, one at a time, or one on each of several GPUs."""
    devices = _devices()
    if devices < 2 or len(runs) < 2:
        for run in runs:
            _carry_out(run)
            yield run
        return
    context = multiprocessing.get_context("spawn")
    free = context.Queue()
    for device in range(devices):
        free.put(device)
    with ProcessPoolExecutor(devices, context, initializer=_take_device, initargs=(free,)) as pool:
        futures = {pool.submit(_carry_out, run): run for run in runs}
        for future in as_completed(futures):
            future.result()
            yield futures[future]


def _devices() -> int:
    import torch

    return torch.cuda.device_count()


def _take_device(free: Any) -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = str(free.get())


def _carry_out(run: Run) -> None:
    run.folder.mkdir(parents=True, exist_ok=True)
    write_json(run.folder / RUN, _settings(run))
    place = run.folder / "model"
    remove_folder(place)  # of a run that was stopped during evaluation
    failed = run.folder / FAILED
    failed.unlink(missing_ok=True)
    try:
        train(run.split, run.recipe, place, seed=run.seed, taxonomy=run.taxonomy)
        model = Model.load(place)  # as a user would have it
        evaluation = evaluate(model, run.split, corruptions=run.corruptions)
    except InputError as error:
        write_text(failed, str(error))
        remove_working_folder(place)
        remove_folder(place)
        return
    seen, seconds = model.card.training["images"], model.card.training["seconds"]
    write_json(
        run.folder / TRAINED,
        {"seconds": seconds, "images_per_second": round(seen / max(seconds, 1e-9), 1)},
    )
    skipped = _merged([model.skipped, evaluation.skipped])
    if len(skipped):
        write_csv(skipped, run.folder / SKIPPED, overwrite=True)
    evaluation.save(run.folder / "results", overwrite=True)
    remove_folder(place)  # tens of megabytes each; the same command makes it again


def _merged(skipped: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The images of several tables of skipped images, each once."""
    return pd.concat(skipped).drop_duplicates("image", ignore_index=True)


def _row(run: Run, output: Path, paper: bool) -> dict[str, Any]:
    results = run.folder / "results"
    row = {
        "recipe": run.recipe.name,
        "backbone": run.recipe.network.backbone,
        "draw": run.draw,
        "seed": run.seed,
        "folder": str(output / run.name),
        "failed": "",
    }
    if not (results / "metrics.json").is_file():
        return {**row, "failed": (run.folder / FAILED).read_text(encoding="utf-8")}
    metrics = read_json(results / "metrics.json")
    training = read_json(run.folder / TRAINED)
    if paper:
        metrics |= karaderi2022.without_dominant(results, metrics)
    flat = pd.json_normalize(metrics).iloc[0].fillna(np.nan).to_dict()  # null: not a number
    return {
        **row,
        "backbone": metrics["model"]["backbone"],
        "test_share": metrics["n"]["test"] / metrics["n"]["references"],
        **{name: flat[name] for name in MEASURES if name in flat},
        "training_seconds": training["seconds"],
        "images_per_second": training["images_per_second"] or np.nan,
    }
