"""The command line: one subsample_per_class function for each verb.

Progress and messages go to standard error, results to standard output or into files. Exit status:
0 done; 1 done, but some specimens were skipped, and listed; 2 nothing done, and why.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from forametric._version import __version__
from forametric.errors import ForametricError, InputError

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(
    name="forametric",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Identify, map and discover microfossils from microscope images.",
)
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="Where to write.")]
Seed = Annotated[int, typer.Option(help="Seed of every random draw.")]
SplitOption = Annotated[
    str, typer.Option("--split", help="A column of the collection, or a CSV with id and subset.")
]
StoreOption = Annotated[
    str, typer.Option("--store", help="The decisions: a SQLite file, or postgresql://….")
]
LOCAL = "127.0.0.1"
# Of several processes that train together the first alone speaks.
QUIET = os.environ.get("RANK", "0") != "0"
out, err = Console(quiet=QUIET), Console(stderr=True, quiet=QUIET)


def main() -> None:
    """Run the command line; every expected failure ends in one sentence and exit status 2."""
    try:
        app()
    except ForametricError as error:
        err.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
    except ModuleNotFoundError as error:
        needed = escape(f"{error.name} is not installed: pip install 'forametric[train]'")
        err.print(f"[red]error:[/] {needed}", highlight=False, soft_wrap=True)
    except OSError as error:
        what = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
        where = f" ({error.filename})" if error.filename else ""
        err.print(f"[red]error:[/] {what}{where}; nothing half-written was kept.")
    else:
        return
    sys.exit(2)


def _show(result: dict[str, Any], as_json: bool, say: Callable[[], None]) -> None:
    if as_json:
        print(json.dumps(result, indent=2, ensure_ascii=False, default=str))
    else:
        say()


def _say_skipped(skipped: pd.DataFrame) -> None:
    """Show the first of a table of skipped images (image, reason)."""
    for row in skipped.head(10).itertuples():
        err.print(f"  skipped {row.image}: {row.reason}", highlight=False, soft_wrap=True)


def _list_skipped(skipped: pd.DataFrame, output: Path) -> Path:
    """Write the table of skipped images (image, reason) beside an output, and show the first."""
    from forametric.utils.files import atomic_path

    path = output.with_name(f"{output.stem}.skipped.csv")
    if len(skipped):
        with atomic_path(path) as temporary:
            skipped.to_csv(temporary, index=False)
    _say_skipped(skipped)
    return path


def _end(skipped: int, where: str) -> None:
    """Exit status 1 when specimens were skipped, saying where they are listed."""
    if skipped:
        err.print(f"[yellow]{skipped} images were skipped:[/] see {where}", soft_wrap=True)
        raise typer.Exit(1)


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="A folder, a table, a project or a ZIP.")],
    output: Output,
    kind: Annotated[
        str,
        typer.Option(
            "--source",
            help="auto, folder, table, endless-forams, ecotaxa or particle-trieur.",
        ),
    ] = "auto",
    bar_um: Annotated[
        float | None,
        typer.Option(help="µm that the scale bar on each picture's label strip is long."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Make a collection from images and what is known of them.

    A folder (one subfolder for each taxon, or flat), a CSV or Excel table, the Endless Forams
    library as downloaded, an EcoTaxa export (folder or ZIP), a ParticleTrieur project (XML). The
    source is never changed. Killed, the same command goes on where it was.

    Example: forametric import plates/ -o collections/plates
    """
    from forametric.data.importers import import_collection

    got = import_collection(source, output, kind=kind, bar_um=bar_um, overwrite=overwrite)
    taxa = sorted(set(got.collection.taxa()) - {""})
    result = {
        "collection": str(output),
        "specimens": len(got.collection),
        "with_scale": int(got.collection.specimens["um_per_px"].notna().sum()),
        "taxa": len(taxa),
        "unlabelled": int((got.collection.taxa() == "").sum()),
        "skipped": got.skipped.to_dict("records"),
        "duplicates": len(got.duplicates),
        "source": got.kind,
        "notes": got.notes,
    }

    def say() -> None:
        out.print(
            f"[bold]{output}[/]: {len(got.collection)} specimens of {len(taxa)} taxa, "
            f"{result['unlabelled']} unlabelled",
            soft_wrap=True,
        )
        for note in got.notes:
            err.print(note, highlight=False, soft_wrap=True)
        _say_skipped(got.skipped)
        if len(got.duplicates):
            err.print(
                f"{len(got.duplicates)} images have the same bytes as another: "
                f"see {output / 'duplicates.csv'}",
                soft_wrap=True,
            )

    _show(result, as_json, say)
    _end(len(got.skipped), str(output / "skipped.csv"))


@app.command()
def segment(
    slides: Annotated[
        list[Path], typer.Argument(help="Photographs of slides, or folders of them.")
    ],
    output: Output,
    um_per_px: Annotated[
        float | None, typer.Option(help="µm per pixel; else what a TIFF itself states.")
    ] = None,
    min_diameter: Annotated[
        float | None, typer.Option(help="Least diameter, in µm (in pixels without a scale).")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Find the shells on slides or trays and make a collection of them.

    Bright shells on a dark slide or dark on a light one. Each is cut out with a margin, measured,
    and outlined on an overlay picture to check. Shells that the edge cuts are left out.

    Example: forametric segment tray1.jpg tray2.jpg --um-per-px 2.4 --min-diameter 150 -o trays
    """
    from forametric.data.importers.slides import segment_slides

    got = segment_slides(
        slides, output, um_per_px=um_per_px, min_diameter=min_diameter, overwrite=overwrite
    )
    result = {
        "collection": str(output),
        "specimens": len(got.collection),
        "slides": got.slides.to_dict("records"),
        "skipped": got.skipped.to_dict("records"),
    }

    def say() -> None:
        table = Table("slide", "shells", "parted from another", "cut by the edge")
        for row in got.slides.itertuples():
            table.add_row(str(row.slide), str(row.shells), str(row.touching), str(row.cut))
        out.print(table)
        _say_skipped(got.skipped)
        out.print(f"{output}: {len(got.collection)} shells; check {output / 'overlays'}")

    _show(result, as_json, say)
    _end(len(got.skipped), str(output / "skipped.csv"))


@app.command()
def fetch(output: Output, as_json: Json = False) -> None:
    """Download the Endless Forams library, a ZIP for each species; what is there is kept.

    Example: forametric fetch -o endless-forams && forametric import endless-forams -o collection
    """
    from forametric.data.importers.endless_forams import fetch_endless_forams

    failures = fetch_endless_forams(output)

    def say() -> None:
        out.print(f"{output}: {35 - len(failures)} of 35 species", soft_wrap=True)
        for species, reason in failures.items():
            err.print(f"  not fetched: {species}: {reason}", highlight=False, soft_wrap=True)

    _show({"folder": str(output), "failures": failures}, as_json, say)
    if failures:
        raise typer.Exit(1)


@app.command()
def taxonomy(
    output: Output,
    refresh: Annotated[bool, typer.Option(help="Ask WoRMS for AphiaIDs and families.")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write the table of names, synonyms, genera and families, to read or to edit.

    Example: forametric taxonomy --refresh -o names.csv
    """
    from forametric.data.taxonomy import Taxonomy
    from forametric.utils.files import atomic_path, refuse_existing

    refuse_existing(output, overwrite)
    names = Taxonomy.load()
    names = names.refreshed() if refresh else names
    with atomic_path(output) as temporary:
        names.table.to_csv(temporary, index=False)
    result = {"taxonomy": str(output), "names": len(names.table)}
    _show(result, as_json, lambda: out.print(f"{len(names.table)} names: {output}"))


@app.command()
def check(
    collection: Path,
    model: Annotated[
        Path | None, typer.Option(help="Judge the labels by this model's neighbours.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for check.html, findings.csv.")
    ] = None,
    fix: Annotated[
        Path | None, typer.Option(help="Write a new collection without what is surely wrong.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Look a collection over: unreadable files, copies, leaks between the sides of a split, images
    off scale, taxa too small to learn and, with a model, likely label errors.

    Example: forametric check collections/plates --model models/plates -o check --fix clean
    """
    from forametric.analysis.check import (
        KINDS,
        check_collection,
        embed_labelled,
        fixed,
        write_audit,
    )
    from forametric.data.collection import Collection
    from forametric.utils.files import atomic_folder, refuse_existing

    for path in (output, fix):
        if path is not None:
            refuse_existing(path, overwrite)
    shells = Collection.open(collection)
    got = None
    if model is not None:
        from forametric.model.model import Model

        got = embed_labelled(Model.load(model), shells)
    audit = check_collection(shells, got)
    if output is not None:
        with atomic_folder(output, overwrite) as temporary:
            write_audit(audit, shells, temporary, judged=got is not None)
    if fix is not None:
        fixed(shells, audit).save(fix, overwrite=overwrite)
    found = audit.summary

    def say() -> None:
        out.print(f"{found['specimens']} specimens of {found['taxa']} taxa")
        for kind, words in KINDS.items():
            for row in audit.of(kind).head(10).itertuples():
                other = f" = {row.other_image} ({row.label} / {row.other_label})" * bool(
                    row.other_id
                )
                out.print(
                    f"  {kind}: {row.image}{other}: {row.says}", highlight=False, soft_wrap=True
                )
            if found[kind] > 10:
                out.print(f"  {kind}: {found[kind] - 10} more ({words})")
        for taxon, number in found["small"].items():
            out.print(f"  few specimens: {taxon} has {number}")
        if output is not None:
            out.print(f"page: {output / 'check.html'}", soft_wrap=True)
        if fix is not None:
            out.print(f"new collection: {fix}", soft_wrap=True)

    _show(found | {"findings": audit.findings.to_dict("records")}, as_json, say)
    _end(found["unreadable"], "the lines above")


@app.command()
def split(
    collection: Path,
    output: Output,
    unseen: Annotated[int, typer.Option(help="Taxa to hold out whole.")] = 0,
    test: Annotated[float, typer.Option(help="Share of each known taxon for the test.")] = 0.2,
    val: Annotated[float, typer.Option(help="Share for selection.")] = 0.15,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Draw a split that is stratified by taxon, never cuts a group, and can hold taxa out whole.

    Example: forametric split collections/plates --unseen 5 --seed 1 -o splits/open.csv
    """
    from forametric.data.collection import Collection
    from forametric.data.splits import draw_split, save_split, small_taxa, split_hash
    from forametric.utils.files import refuse_existing

    refuse_existing(output, overwrite)
    shells = Collection.open(collection)
    subsets = draw_split(shells, seed=seed, test=test, val=val, unseen=unseen)
    save_split(subsets, output)
    counts = {str(subset): int(n) for subset, n in subsets.value_counts().items()}

    def say() -> None:
        out.print(f"{output}: " + ", ".join(f"{n} {subset}" for subset, n in counts.items()))
        for taxon, number in small_taxa(shells).items():
            err.print(
                f"few specimens: {taxon} has {number}; train comes first, then test, then val"
            )

    result = {"split": str(output), "hash": split_hash(subsets), "subsets": counts}
    _show(result, as_json, say)


@app.command()
def train(
    collection: Path,
    output: Output,
    split: SplitOption = "",
    recipe: Annotated[
        str,
        typer.Option(help="A recipe's name or TOML file; else that of --from, or default."),
    ] = "",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change the recipe: key=value.")
    ] = None,
    again: Annotated[
        Path | None,
        typer.Option(help="A results folder: its recipe, seed and split in place of these."),
    ] = None,
    start: Annotated[
        Path | None, typer.Option("--from", help="A model whose backbone to go on from.")
    ] = None,
    decisions: Annotated[
        str, typer.Option(help="A store of decisions: train with the names that reviewers settled.")
    ] = "",
    base: Annotated[
        list[Path] | None, typer.Option(help="With --decisions: a collection to learn as well.")
    ] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train a model; stopped or killed, the same command goes on where it was.

    Example: forametric train collections/plates --split splits/open.csv -o models/plates

    With what experts have decided, a fifth of it kept for testing: forametric train core
    --decisions decisions.sqlite --base collections/plates --from models/plates -o models/plates-2
    """
    from forametric.data.collection import Collection
    from forametric.data.splits import load_split
    from forametric.embedding.recipe import Recipe
    from forametric.evaluation.evaluate import load_run_settings
    from forametric.model.model import Model
    from forametric.training.train import train as run

    shells = Collection.open(collection)
    started = Model.load(start) if start else None
    if started and not recipe:
        chosen = started.card.recipe.with_settings(settings or [])
    else:
        chosen = Recipe.load(recipe or "default", settings or [])
    if again:
        chosen, seed, subsets = load_run_settings(again, shells)
        split = str(again / "split.csv")
    elif split and not decisions:
        subsets = load_split(shells, split)
    elif decisions and not split:
        from forametric.review import Decisions, training_set

        others = [Collection.open(other) for other in base or []]
        shells, subsets = training_set(shells, Decisions.existing(decisions), others, seed=seed)
        split = "decisions"
    else:
        raise InputError(
            "say what to train on: --split SPLIT, --again RESULTS, or --decisions STORE."
        )
    model = run(
        shells,
        subsets,
        chosen,
        output,
        seed=seed,
        overwrite=overwrite,
        split_name=split,
        start=started,
    )
    result = {
        "model": str(output),
        "taxa": len(model.card.classes),
        "backbone": model.card.backbone,
        **model.card.training,
        "skipped": model.card.data["skipped"],
    }

    def say() -> None:
        out.print(
            f"[bold]{output}[/]: {len(model.card.classes)} taxa, {len(model.references)} references, "
            f"trained in {model.card.training['seconds']:.0f} s",
            soft_wrap=True,
        )

    _show(result, as_json, say)
    _end(model.card.data["skipped"], str(output / "skipped.csv"))


@app.command()
def evaluate(
    model: Path,
    collection: Path,
    output: Output,
    split: SplitOption,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Measure a model on held-out specimens: metrics.json and report.html.

    Example: forametric evaluate models/plates collections/plates --split splits/open.csv -o results
    """
    from forametric.data.collection import Collection
    from forametric.data.splits import load_split
    from forametric.evaluation.evaluate import evaluate as run
    from forametric.model.model import Model

    shells = Collection.open(collection)
    result = run(
        Model.load(model),
        shells,
        load_split(shells, split),
        output,
        overwrite=overwrite,
        split_name=split,
    )

    def say() -> None:
        table = Table("figure", "value", title=f"{result['n']['test']} test specimens")
        for part in ("known", "calibration", "unseen", "open_set"):
            for name, value in result[part].items():
                if isinstance(value, float):
                    table.add_row(f"{part}.{name}", f"{value:.3f}")
        out.print(table)
        for warning in result["warnings"]:
            err.print(f"[yellow]warning:[/] {warning}")
        out.print(f"report: {output / 'report.html'}", soft_wrap=True)

    _show(result, as_json, say)
    _end(result["n"]["skipped"], str(output / "skipped.csv"))


@app.command()
def benchmark(
    collection: Path,
    output: Output,
    recipes: Annotated[
        str, typer.Option(help="Recipes or TOML files, with commas between.")
    ] = "default,karaderi2022,softmax,frozen",
    splits: Annotated[
        str, typer.Option(help="Columns or CSV files, with commas between; else --draws.")
    ] = "",
    draws: Annotated[int, typer.Option(help="How many splits to draw.")] = 3,
    unseen: Annotated[
        int | None, typer.Option(help="Taxa that a draw holds out whole; else a quarter.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each recipe on each draw.")] = 1,
    against: Annotated[str, typer.Option(help="The recipe to compare the others with.")] = "",
    endless_forams: Annotated[
        bool,
        typer.Option("--endless-forams", help="The splits and figures of Karaderi et al. 2022."),
    ] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change every recipe: key=value.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Compare recipes on the same draws of a collection: means, intervals, paired differences.

    Stopped or killed, or given more recipes, draws or seeds, the same command goes on; finished
    runs are kept.

    Example: forametric benchmark collections/plates --recipes default,karaderi2022 -o bench
    """
    from forametric.embedding.recipe import Recipe
    from forametric.evaluation.benchmark import MEASURES, digits_of
    from forametric.evaluation.benchmark import benchmark as run
    from forametric.evaluation.benchmark_report import write_comparison

    wanted = [Recipe.load(name.strip(), settings or []) for name in recipes.split(",")]
    first = against or wanted[0].name
    if first not in {r.name for r in wanted}:
        raise InputError(f"--against {first} is none of the recipes {recipes}.")
    named = [name.strip() for name in splits.split(",") if name.strip()]
    if endless_forams:
        named = ["karaderi-closed", "karaderi-open", *(f"open_{n}" for n in range(1, 6))]
    table = run(
        collection,
        output,
        wanted,
        splits=named,
        draws=draws,
        unseen=unseen,
        seeds=seeds,
        overwrite=overwrite,
    )
    found = write_comparison(table, output, first, with_paper=endless_forams)

    def say() -> None:
        means = {(row.measure, row.recipe): float(str(row.mean)) for row in found.itertuples()}
        names = [r.name for r in wanted if r.name in set(found["recipe"])]
        printed = Table("", *names)
        for measure, words in MEASURES.items():
            if (measure, names[0]) in means:
                digits = digits_of(measure)
                printed.add_row(words, *(f"{means[measure, n]:.{digits}f}" for n in names))
        out.print(printed)
        out.print(f"page: {output / 'benchmark.html'}", soft_wrap=True)
        for lost in failed:
            err.print(
                f"failed: {lost['folder']}: {lost['failed']}", soft_wrap=True, highlight=False
            )

    failed = table[table["failed"] != ""][["folder", "failed"]].to_dict("records")
    result = {"output": str(output), "summary": found.to_dict("records"), "failed": failed}
    _show(result, as_json, say)
    if failed:
        raise typer.Exit(1)


@app.command()
def calibrate(
    model: Path,
    collection: Path,
    output: Output,
    split: SplitOption,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Give a model probabilities and a limit for "unknown", by specimens of subset val.

    `train` does so by itself; this is for a model whose references has changed, or that had too few.

    Example: forametric calibrate models/old collections/core --split split.csv -o models/new
    """
    from forametric.data.collection import Collection
    from forametric.data.splits import load_split
    from forametric.model.model import Model
    from forametric.model.model import calibrate as run
    from forametric.utils.files import refuse_existing

    refuse_existing(output, overwrite)
    shells, chosen = Collection.open(collection), Model.load(model)
    validation = shells.select((load_split(shells, split) == "val").to_numpy())
    chosen, failures = run(chosen, validation)
    chosen.save(output, overwrite=overwrite)
    fitted = chosen.calibrated
    result = {
        "model": str(output),
        **fitted.model_dump(
            include={
                "specimens",
                "temperature",
                "distance_weight",
                "novelty_threshold",
                "rejection_rate",
            }
        ),
        "skipped": failures.to_dict("records"),
    }

    def say() -> None:
        out.print(
            f"[bold]{output}[/]: calibrated on {fitted.specimens} specimens; "
            f"unknown above novelty {fitted.novelty_threshold:.2f}",
            soft_wrap=True,
        )

    _show(result, as_json, say)
    _end(len(failures), str(_list_skipped(failures, output)))


@app.command()
def add(
    model: Path,
    collection: Path,
    output: Output,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Add a collection's named specimens to a model's references: species learnt in seconds.

    Or those of the morphotypes that you named in a folder of `discover`. The network is not trained
    again, and the new model is written beside the old.

    Example: forametric add models/plates collections/new-species -o models/plates-2
    """
    from forametric.analysis.discovery import NAMES, named_morphotypes
    from forametric.data.collection import Collection
    from forametric.model.model import Model, add_references
    from forametric.utils.files import refuse_existing

    refuse_existing(output, overwrite)
    discovered = (collection / NAMES).is_file()
    named = named_morphotypes(collection) if discovered else Collection.open(collection)
    chosen = Model.load(model)
    before = set(chosen.references.classes_)
    known = len(chosen.references)
    chosen, failures = add_references(chosen, named)
    added = len(chosen.references) - known
    chosen.save(output, overwrite=overwrite)
    new = sorted(set(chosen.references.classes_) - before)
    result = {
        "model": str(output),
        "references": len(chosen.references.ids),
        "added": added,
        "new_taxa": new,
        "skipped": failures.to_dict("records"),
    }

    def say() -> None:
        words = f"{len(new)} new taxa ({', '.join(new[:5])}{', …' if len(new) > 5 else ''})"
        out.print(f"[bold]{output}[/]: {added} references added, {words}", soft_wrap=True)

    _show(result, as_json, say)
    _end(len(failures), str(_list_skipped(failures, output)))


@app.command()
def identify(
    model: Path,
    images: Annotated[Path, typer.Argument(help="A folder of images, a collection or an image.")],
    output: Output,
    min_probability: Annotated[
        float, typer.Option(help="Least probability of a name that is given.")
    ] = 0.5,
    conformal_alpha: Annotated[
        float | None,
        typer.Option(help="Add sets of species that lack the right one at most so often: 0.05."),
    ] = None,
    taxonomy: Annotated[
        Path | None, typer.Option(help="A table of names, for the genera of your own taxa.")
    ] = None,
    neighbors: Annotated[
        Path | None,
        typer.Option(help="Also find the ten most similar specimens in this output of embed."),
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Among these only: taxon=NAME or sample=NAME.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Name new specimens: species, genus or unknown, why, and the five nearest references.

    With --neighbors VECTORS, NAMES.neighbors.csv lists the most similar specimens of each image.

    Example: forametric identify models/plates new-plates/ -o names.csv
    """
    from forametric.data.taxonomy import Taxonomy
    from forametric.identification.search import SpecimenIndex
    from forametric.model.model import Model
    from forametric.utils.files import atomic_path, refuse_existing

    beside = output.with_name(f"{output.stem}.neighbors.csv")
    for path in (output, beside) if neighbors else (output,):
        refuse_existing(path, overwrite)
    asked = [text.partition("=") for text in where or []]
    if any(not equals for _, equals, _ in asked) or (asked and neighbors is None):
        raise InputError("--where takes COLUMN=VALUE and narrows --neighbors; see --help.")
    chosen = Model.load(model)
    specimen_index = None
    if neighbors:
        conditions = {column: value for column, _, value in asked}
        specimen_index = SpecimenIndex.open(neighbors, chosen.weights_sha256, conditions)
    if chosen.calibration is None:
        err.print(
            "[yellow]warning:[/] this model is not calibrated: scores are no probabilities and "
            "nothing is called unknown; see: forametric calibrate --help"
        )
    got = chosen.identify(
        images,
        min_probability=min_probability,
        conformal_alpha=conformal_alpha,
        taxonomy=Taxonomy.load(taxonomy),
        similar_in=specimen_index,
    )
    tables = {output: got.table}
    if got.similar is not None:
        tables[beside] = got.similar
    for path, table in tables.items():
        with atomic_path(path) as temporary:
            table.to_csv(temporary, index=False)
    skipped_path = _list_skipped(got.skipped, output)
    decided = got.table.get("decision")
    counts: dict[str, int] = (
        {} if decided is None else {str(k): int(n) for k, n in decided.value_counts().items()}
    )

    def say() -> None:
        columns = ["image", "taxon", "decision", "probability", "score", "novelty"]
        shown = [c for c in columns if c in got.table]
        table = Table(*shown)
        for row in got.table[shown].head(20).itertuples(index=False):
            table.add_row(*(f"{v:.2f}" if isinstance(v, float) else str(v) for v in row))
        out.print(table)
        says = ", ".join(f"{n} {name}" for name, n in counts.items()) or "names"
        places = ", ".join(map(str, tables))
        out.print(f"{len(got.table)} specimens, {says}: {places}", soft_wrap=True)

    result = {
        "output": str(output),
        "neighbors": str(beside) if neighbors else None,
        "identified": len(got.table),
        "decisions": counts,
        "taxa": {str(k): int(n) for k, n in got.table["taxon"].value_counts().items() if k},
        "skipped": got.skipped.to_dict("records"),
    }
    _show(result, as_json, say)
    _end(len(got.skipped), str(skipped_path))


@app.command()
def discover(
    model: Path,
    collection: Path,
    output: Output,
    everything: Annotated[
        bool, typer.Option("--all", help="Group all specimens, not only the unknown.")
    ] = False,
    number: Annotated[
        int | None, typer.Option(help="How many groups, where that is known; else estimated.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Group what the model does not know into candidate morphotypes, to look at and to name.

    Example: forametric discover models/plates collections/core -o morphotypes
    """
    from forametric.analysis.discovery import discover_collection
    from forametric.data.collection import Collection
    from forametric.model.model import Model

    found, failures = discover_collection(
        Model.load(model),
        Collection.open(collection),
        output,
        everything=everything,
        number=number,
        overwrite=overwrite,
    )
    result = {
        "output": str(output),
        "grouped": len(found.morphotype),
        "noise": int((found.morphotype == 0).sum()),
        "morphotypes": found.groups.to_dict("records"),
        "skipped": failures.to_dict("records"),
    }

    def say() -> None:
        table = Table("morphotype", "specimens", "stability", "cohesion", "nearest known taxon")
        for row in found.groups.itertuples():
            near = f"[italic]{row.nearest_1}[/] ({row.nearest_1_distance:.2f})"
            cells = (row.morphotype, row.specimens, f"{row.stability:.2f}", f"{row.cohesion:.2f}")
            table.add_row(*map(str, cells), near + (" recognised" if row.recognised else ""))
        out.print(table)
        out.print(f"page: {output / 'discover.html'}", soft_wrap=True)

    _show(result, as_json, say)
    _end(len(failures), str(output / "skipped.csv"))


@app.command()
def assemblage(
    model: Path,
    collection: Path,
    output: Output,
    by: Annotated[str, typer.Option(help="The column that names the sample.")] = "sample",
    depth: Annotated[
        str, typer.Option(help="A column with each sample's depth or age, to order and draw by.")
    ] = "",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Count taxa sample by sample: shares with 95 % intervals, plain counts beside, diversity.

    Example: forametric assemblage models/plates collections/core --depth depth_cm -o core-counts
    """
    from forametric.analysis.assemblages import assemblage_of_collection
    from forametric.data.collection import Collection
    from forametric.model.model import Model

    found = assemblage_of_collection(
        Model.load(model),
        Collection.open(collection),
        output,
        by=by,
        depth=depth,
        overwrite=overwrite,
    )

    def say() -> None:
        table = Table("sample", "specimens", "accepted", "richness", "H′", "commonest taxon")
        for row in found.samples.itertuples():
            part = found.shares[found.shares["sample"] == row.sample]
            top = part.sort_values("share", ascending=False).to_dict("records")[0]
            interval = f"{top['share']:.0%} ({top['low']:.0%} to {top['high']:.0%})"
            cells = (row.sample, row.specimens, row.accepted, row.richness, f"{row.shannon:.2f}")
            table.add_row(*map(str, cells), f"[italic]{top['taxon']}[/] {interval}")
        out.print(table)
        if found.n_unassigned:
            err.print(f"{found.n_unassigned} specimens without {by} were left out")
        out.print(f"tables and figure: {output}", soft_wrap=True)

    result = {
        "output": str(output),
        "samples": found.samples.to_dict("records"),
        "n_unassigned": found.n_unassigned,
        "skipped": found.skipped.to_dict("records"),
    }
    _show(result, as_json, say)
    _end(len(found.skipped), str(output / "skipped.csv"))


@app.command()
def queue(
    model: Path,
    collection: Path,
    output: Output,
    store: Annotated[
        str, typer.Option("--store", help="Decisions: what they settle is left out.")
    ] = "",
    references: Annotated[
        Path | None, typer.Option(help="The collection that the model's references are of.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Put specimens in the order in which an expert should see them: a page, a table to fill in.

    Example: forametric queue models/plates core --references collections/plates -o to-review
    """
    from forametric.data.collection import Collection
    from forametric.model.model import Model
    from forametric.review import Decisions, queue_of_collection

    found = queue_of_collection(
        Model.load(model),
        Collection.open(collection),
        output,
        decisions=Decisions.existing(store) if store else None,
        reference_images=Collection.open(references) if references else None,
        overwrite=overwrite,
    )
    result = {
        "output": str(output),
        "specimens": len(found.table),
        "first": found.table["id"].head(20).tolist(),
        "skipped": found.skipped.to_dict("records"),
    }
    said = f"{len(found.table)} specimens in order: {output / 'queue.html'}, {output / 'queue.csv'}"
    _show(result, as_json, lambda: out.print(said, soft_wrap=True))
    _end(len(found.skipped), str(output / "skipped.csv"))


@app.command()
def decide(
    collection: Path,
    table: Annotated[Path, typer.Argument(help="CSV or Excel: id or image, and a column expert.")],
    store: StoreOption,
    reviewer: Annotated[str, typer.Option(help="Whose decisions these are.")],
    as_json: Json = False,
) -> None:
    """Record what an expert has filled in: a name, unknown, or none (no shell), with who and when.

    The table is what identify wrote, say, with a column expert filled in where it was looked at.

    Example: forametric decide core names.csv --store decisions.sqlite --reviewer "K. Lee"
    """
    from forametric.data.collection import Collection
    from forametric.data.importers.table import read_rows
    from forametric.review import Decisions, decisions_in

    found = decisions_in(read_rows(table)[0], Collection.open(collection), reviewer)
    kept = Decisions(store)
    new = kept.unsaid(found)
    kept.record(new)
    result = {"store": kept.place, "recorded": len(new), "said_before": len(found) - len(new)}
    said = f"{len(new)} decisions of {reviewer} recorded: {kept.place}"
    if len(new) < len(found):
        said += f" ({len(found) - len(new)} were there already)"
    _show(result, as_json, lambda: out.print(said, soft_wrap=True))


@app.command()
def decisions(
    store: StoreOption,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to write all of them, as CSV.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Show where reviewers differ and how far they agree; write the whole history.

    Example: forametric decisions --store decisions.sqlite -o history.csv
    """
    from forametric.review import Decisions, agreement, consensus
    from forametric.utils.files import refuse_existing

    if output:
        refuse_existing(output, overwrite)
    kept = Decisions.existing(store)
    history = kept.history()
    if output:
        kept.write_csv(output)
    together = consensus(history)
    conflicts = together[together["conflict"]]
    agreed = agreement(history)
    result = {
        "decisions": len(history),
        "reviewers": sorted(history["reviewer"].unique()),
        "specimens": len(together),
        "conflicts": conflicts.to_dict("records"),
        **agreed,
        "history": str(output) if output else None,
    }

    def say() -> None:
        out.print(
            f"{len(history)} decisions of {len(result['reviewers'])} reviewers on "
            f"{len(together)} specimens, {len(conflicts)} with conflicts"
        )
        for pair in agreed["cohen"]:
            kappa = "not defined" if pair["kappa"] is None else f"{pair['kappa']:.2f}"
            names = " and ".join(pair["reviewers"])
            out.print(f"  {names}: Cohen's kappa {kappa} over {pair['specimens']} specimens")
        for row in conflicts.head(20).itertuples():
            out.print(f"  {row.specimen}: {row.reviewers} differ", highlight=False)

    _show(result, as_json, say)


@app.command()
def label(
    collection: Path,
    output: Output,
    store: StoreOption,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Make a collection with the names that its reviewers agree on, to train on or to count.

    Example: forametric label core --store decisions.sqlite -o core-reviewed
    """
    from forametric.data.collection import Collection
    from forametric.review import Decisions, labelled

    named = labelled(Collection.open(collection), Decisions.existing(store))
    named.save(output, overwrite=overwrite)
    counts = {str(k): int(n) for k, n in named.specimens["decided"].value_counts().items()}
    said = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
    result = {"collection": str(output), "decided": counts}
    _show(result, as_json, lambda: out.print(f"{output}: {said}", soft_wrap=True))


@app.command()
def review(
    project: Path,
    collection: Annotated[
        Path | None, typer.Option(help="To begin a project: what is to be reviewed.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="To begin a project: what names it.")] = None,
    references: Annotated[
        list[Path] | None, typer.Option(help="Collections with the pictures of references.")
    ] = None,
    depth: Annotated[str, typer.Option(help="The column with each sample's depth or age.")] = "",
    database: Annotated[
        str, typer.Option(help="Keep decisions in postgresql://…, not in the project's folder.")
    ] = "",
    host: Annotated[str, typer.Option(help="Another than this machine needs a token.")] = LOCAL,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8765,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Open the review page: map, queue, morphotypes, samples; Ctrl-C ends it, nothing is lost.

    The token in the link is made anew each time, or taken from the variable FORAMETRIC_TOKEN.

    Example: forametric review core-review --collection core --model model --references plates

    The next time: forametric review core-review
    """
    from forametric.review import Decisions
    from forametric.review.project import EXTERNAL, FILE, STORE, Project
    from forametric.server.run import checked_token, serve
    from forametric.server.session import Studio

    token = checked_token(host, os.environ.get("FORAMETRIC_TOKEN", ""))
    begun = (project / FILE).is_file()
    if begun and (collection or model or references or depth):
        raise InputError(
            f"{project} is a project already, with its own collection and model; open it with: "
            f"forametric review {project}"
        )
    if begun:
        found = Project.open(project)
    elif collection is None or model is None:
        raise InputError(
            f"{project} is no review project yet; begin it with --collection and --model."
        )
    else:
        found = Project.create(
            project,
            collection,
            model,
            reference_images=references or [],
            depth=depth,
            elsewhere=bool(database),
        )
    if (found.database == EXTERNAL) != bool(database):
        where = "a database: give --database" if not database else "its folder: leave --database"
        raise InputError(f"the decisions of {project} are kept in {where}.")
    studio = Studio.open(found, Decisions(database or found.folder / STORE))
    skipped = studio.desk.prepared.skipped
    if skipped:
        err.print(f"[yellow]warning:[/] {len(skipped)} images cannot be read and are not shown")

    def say(link: str) -> None:
        out.print(f"The review page is at {link}", soft_wrap=True, highlight=False)
        out.print("Ctrl-C ends it.")

    serve(studio, host=host, port=port, token=token, browser=browser, say=say)


@app.command()
def embed(
    model: Path,
    collection: Path,
    output: Output,
    cluster: Annotated[
        str | None,
        typer.Option(help="Work on a Ray cluster: its address, auto, or local; writes a folder."),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(help="With --cluster: where the images lie, s3://bucket/plates for instance."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a vector for each specimen (Parquet); killed, the same command goes on where it was.

    Example: forametric embed models/plates collections/plates -o vectors.parquet
    """

    from forametric.data.collection import Collection
    from forametric.model.embed_collection import embed_to_file
    from forametric.model.model import Model

    if cluster:
        from forametric.model.ray_cluster import embed_on_cluster

        failed = embed_on_cluster(
            model, collection, output, cluster, images=images, overwrite=overwrite
        )
    elif images:
        raise InputError("--images goes with --cluster; a collection knows where its images lie.")
    else:
        shells = Collection.open(collection)
        failed = embed_to_file(Model.load(model), shells, output, overwrite=overwrite)
    result = {"vectors": str(output), "skipped": failed.to_dict("records")}
    _show(result, as_json, lambda: out.print(f"vectors: {output}", soft_wrap=True))
    _end(len(failed), str(_list_skipped(failed, output)))


@app.command("map")
def map_(
    model: Path,
    collection: Path,
    output: Output,
    onto: Annotated[
        Path | None, typer.Option(help="An existing map (.parquet) to place the specimens in.")
    ] = None,
    vectors: Annotated[
        Path | None, typer.Option(help="What embed wrote for this collection: not embedded again.")
    ] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Draw the morphospace: PNG, PDF or SVG for print, HTML to move about in.

    The layout is kept beside the picture as .parquet; --onto places new specimens in it without
    moving the old ones. Of more than 40,000 specimens so many are laid out and the others placed.

    Example: forametric map models/plates collections/plates -o morphospace.png
    """

    from forametric.analysis.morphospace import Morphospace
    from forametric.analysis.plots.morphospace_figure import SUFFIXES
    from forametric.data.collection import Collection
    from forametric.images import load_image
    from forametric.model.embed_collection import embeddings_of
    from forametric.model.model import Model
    from forametric.utils.files import refuse_existing

    if output.suffix.lower() not in (*SUFFIXES, ".html"):
        raise InputError(f"{output} should end in .html, {', '.join(SUFFIXES)}.")
    if onto and output.suffix.lower() == ".html":
        raise InputError("--onto draws PNG, PDF or SVG; name such an output.")
    refuse_existing(output, overwrite)
    layout = output.with_suffix(".parquet")
    if onto is None:
        refuse_existing(layout, overwrite)
    embedder, shells = Model.load(model), Collection.open(collection)
    known = Morphospace.load(onto) if onto else None
    got = embeddings_of(embedder, shells, vectors)
    rows, points = got.rows, got.vectors
    taxa = [str(t) or "unnamed" for t in shells.taxa()[rows]]
    kept: dict[str, float] = {}
    if known is None:
        space = Morphospace.fit(points, shells.specimens["id"].iloc[rows].tolist(), seed=seed)
        space.save(layout)
        kept = space.knn_preservation()

        def picture(i: int) -> Any:
            return load_image(shells.path(rows[i]), 96)

        if output.suffix.lower() == ".html":
            space.write_html(output, taxa, picture, title=output.stem)
        else:
            space.plot(output, taxa, picture)
    else:
        known.plot(output, placed=(known.place(points), taxa))
    result: dict[str, Any] = {
        "map": str(output),
        "layout": str(onto or layout),
        "specimens": len(rows),
        "knn_preservation": kept,
        "skipped": got.skipped.to_dict("records"),
    }

    def say() -> None:
        out.print(f"map: {output}", soft_wrap=True)
        for word, share in kept.items():
            out.print(
                f"of the ten nearest neighbours of specimens {word.replace('_', ' ')}, the map "
                f"keeps {share:.0%}",
                soft_wrap=True,
            )

    _show(result, as_json, say)
    _end(len(got.skipped), str(_list_skipped(got.skipped, output)))


@app.command()
def export(
    collection: Path,
    output: Output,
    kind: Annotated[
        str,
        typer.Option("--format", help="csv, excel, ecotaxa, particle-trieur or darwin-core."),
    ] = "csv",
    names: Annotated[
        Path | None, typer.Option(help="Names from identify (CSV), in place of the collection's.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="The model that gave the names, to be named with them.")
    ] = None,
    taxonomy: Annotated[
        Path | None, typer.Option(help="A table of names, for AphiaIDs and families.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a collection, and names from a model, for another program or a data centre.

    Example: forametric export cores/GC37 --names names.csv --model models/plates
    --format darwin-core -o GC37.zip
    """
    import pandas as pd

    from forametric.data.collection import Collection
    from forametric.data.exporters import export_collection
    from forametric.data.taxonomy import Taxonomy
    from forametric.model.card import ModelCard

    given = None
    if names is not None:
        try:
            given = pd.read_csv(names)
        except (OSError, ValueError) as error:
            raise InputError(f"{names} cannot be read as names: {error}.") from None
    count = export_collection(
        Collection.open(collection),
        output,
        kind,
        names=given,
        identified_by=ModelCard.load(model).title if model else f"forametric {__version__}",
        taxonomy=Taxonomy.load(taxonomy),
        overwrite=overwrite,
    )
    result = {"output": str(output), "format": kind, "records": count}
    _show(result, as_json, lambda: out.print(f"{count} records: {output}", soft_wrap=True))


@app.command()
def recipes(as_json: Json = False) -> None:
    """List the built-in recipes.

    Example: forametric recipes
    """
    from forametric.embedding.recipe import Recipe, recipe_names

    known = [Recipe.load(name) for name in recipe_names()]

    def say() -> None:
        table = Table("recipe", "backbone", "px", "epochs", "what it does")
        for r in known:
            table.add_row(
                r.name, r.network.backbone, str(r.network.image_size), str(r.epochs), r.about
            )
        out.print(table)

    _show({r.name: r.model_dump(mode="json") for r in known}, as_json, say)


@app.command()
def info(
    folder: Annotated[Path | None, typer.Argument(help="A model or a collection.")] = None,
    as_json: Json = False,
) -> None:
    """Tell what a model or a collection is; without one, which versions are installed.

    Example: forametric info models/plates
    """
    result = _info(folder)

    def say() -> None:
        for key, value in result.items():
            out.print(f"[bold]{key}[/]: {value}", soft_wrap=True)

    _show(result, as_json, say)


def _info(folder: Path | None) -> dict[str, Any]:
    if folder is None:
        from importlib.metadata import PackageNotFoundError, version

        found: dict[str, Any] = {"forametric": __version__, "python": sys.version.split()[0]}
        for name in ("torch", "timm", "numpy", "scikit-learn", "openTSNE", "pillow"):
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                found[name] = "not installed"
        return found
    if (folder / "model.json").is_file():
        from forametric.model.card import ModelCard

        card = ModelCard.load(folder)
        return {"model": str(folder), **card.model_dump(mode="json", exclude={"files"})}
    from forametric.data.collection import Collection

    shells = Collection.open(folder)
    counts: pd.Series = shells.specimens["taxon"].value_counts()
    return {
        "collection": str(folder),
        **shells.info,
        "specimens": len(shells),
        "images": str(shells.images),
        "columns": list(shells.specimens.columns),
        "taxa": {str(t): int(n) for t, n in counts.items()},
    }


@app.command()
def simulate(
    output: Output,
    total: Annotated[int, typer.Option(help="How many shells in all.")] = 700,
    long_tail: Annotated[
        bool, typer.Option(help="As unequal as Endless Forams; else as many of each form.")
    ] = False,
    size: Annotated[int, typer.Option(help="Side of the pictures in pixels.")] = 224,
    masks: Annotated[bool, typer.Option(help="Write the outlines too, below masks.")] = False,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Draw simulated shells of 35 growth forms, with a table of what is true of each.

    They are for trying out, teaching and tests of scale; nothing measured on them holds for real
    shells. Import them with: forametric import FOLDER/specimens.csv -o COLLECTION

    Example: forametric simulate --total 34640 --long-tail -o simulated
    """
    import os

    from forametric.simulation import FORMS, even, write_shells
    from forametric.simulation import long_tail as unequal
    from forametric.utils.files import atomic_folder, write_json
    from forametric.utils.progress import bar

    counts = unequal(total) if long_tail else even(total)
    with atomic_folder(output, overwrite) as temporary, bar("drawing shells", total) as advance:
        table = write_shells(
            temporary,
            counts,
            seed=seed,
            size=size,
            masks=masks,
            workers=os.cpu_count() or 1,
            progress=advance,
        )
        table.to_csv(temporary / "specimens.csv", index=False)
        made_by = f"forametric {__version__}"
        asked = {"total": total, "long_tail": long_tail, "size": size, "seed": seed}
        write_json(temporary / "simulated.json", {"made_by": made_by, "simulated": True, **asked})
    result = {"folder": str(output), "shells": len(table), "forms": len(FORMS)}
    _show(
        result,
        as_json,
        lambda: out.print(f"{output}: {len(table)} simulated shells; {output / 'specimens.csv'}"),
    )


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write.")] = Path(
        "forametric-demo"
    ),
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Run the whole path on simulated shells: collection, model, report, map, names.

    Example: forametric demo
    """
    from forametric.demo import run_demo

    made = run_demo(output, overwrite=overwrite)

    def say() -> None:
        out.print(
            "\nSimulated shells, trained and measured here; no figure of it holds for real ones."
        )
        for name, path in made.items():
            out.print(f"  {name:11} {path}", soft_wrap=True)

    _show(made, as_json, say)


if __name__ == "__main__":
    main()
