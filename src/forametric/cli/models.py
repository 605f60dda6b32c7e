"""Commands that train, evaluate, compare, calibrate and extend models."""

from __future__ import annotations

import typer

import forametric as fm
from forametric.cli import _options as opt
from forametric.cli._output import (
    finish,
    refuse_file,
    refuse_folder,
    skipped_file,
    warn,
    write_skipped,
)
from forametric.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (train, evaluate, benchmark, calibrate, add, recipes):
        app.command(rich_help_panel=opt.MODEL)(command)


def train(
    collection: opt.CollectionPath,
    output: opt.Output,
    split: opt.SplitName = "",
    recipe: opt.RecipeName = "",
    settings: opt.Settings = None,
    reproduce: opt.Reproduce = None,
    init_from: opt.InitFrom = None,
    decisions: opt.Decisions = "",
    extra_collection: opt.Extra = None,
    taxonomy: opt.Names = None,
    seed: opt.TrainSeed = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> None:
    """Train a model. After an interruption, repeat the command to resume.

    Example: forametric train collections/plates --split splits/open.csv -o models/plates

    With expert decisions, a fifth of them kept for testing: forametric train core --decisions
    decisions.sqlite --extra-collection plates --init-from models/plates -o models/plates-2
    """
    given = [f"--{k}" for k, v in {"split": split, "reproduce": reproduce,
                                   "decisions": decisions}.items() if v]  # fmt: skip
    if len(given) != 1:
        what = f", not {' and '.join(given)}" if given else ""
        raise InputError(f"give one of --split, --reproduce and --decisions{what}.")
    if extra_collection and not decisions:
        raise InputError("--extra-collection only goes with --decisions.")
    if reproduce and (recipe or settings or init_from or seed is not None):
        raise InputError("--reproduce excludes --recipe, --set, --init-from and --seed.")
    inputs = (collection, split, reproduce, init_from, decisions, taxonomy)
    refuse_folder(output, overwrite, *inputs, *(extra_collection or []))
    specimens = fm.Collection.open(collection)
    start = fm.Model.load(init_from) if init_from else None
    names = fm.Taxonomy.load(taxonomy)
    if reproduce:
        chosen, seed, made = fm.Evaluation.load_run_settings(reproduce, specimens, names)
    elif start and not recipe:
        chosen = start.recipe.with_settings(settings or [])
    else:
        chosen = fm.Recipe.load(recipe or "default", settings or [])
    if split:
        made = fm.Split.load(specimens, split)
    elif decisions:
        extra = [fm.Collection.open(other) for other in extra_collection or []]
        store = fm.DecisionStore.open(decisions)
        made = fm.training_set(specimens, store, extra, seed=seed or 0)
    model = fm.train(
        made,
        chosen,
        output,
        seed=seed or 0,
        init_from=start,
        taxonomy=names,
        overwrite=overwrite,
    )
    finish(model, output, as_json, listed=output / "skipped.csv")


def evaluate(
    model: opt.ModelPath,
    collection: opt.CollectionPath,
    output: opt.Output,
    split: opt.SplitName,
    corruptions: opt.Corruptions = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> None:
    """Evaluate a model on held-out specimens: metrics.json and report.html.

    Example: forametric evaluate models/plates collections/plates --split splits/open.csv -o results
    """
    refuse_folder(output, overwrite, model, collection, split)
    made = fm.Split.load(fm.Collection.open(collection), split)
    result = fm.evaluate(fm.Model.load(model), made, corruptions=corruptions)
    result.save(output, overwrite=overwrite)
    for warning in result.metrics["warnings"]:
        warn(warning, "warning:")
    finish(result, output / "report.html", as_json, listed=output / "skipped.csv")


def benchmark(
    collection: opt.CollectionPath,
    output: opt.Output,
    recipes: opt.Recipes = "default,frozen",
    splits: opt.Splits = "",
    repeats: opt.Repeats = 3,
    held_out_taxa: opt.BenchTaxa = None,
    seeds: opt.Seeds = 1,
    against: opt.Against = "",
    endless_forams: opt.Paper = False,
    corruptions: opt.Corruptions = False,
    taxonomy: opt.Names = None,
    settings: opt.Settings = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> None:
    """Compare recipes on the same splits: means, intervals, paired differences.

    Finished runs are kept: after an interruption, or with more recipes, splits or seeds, repeat the
    command.

    Example: forametric benchmark collections/plates --recipes default,karaderi2022 -o bench
    """
    bench = fm.benchmark(
        collection,
        [fm.Recipe.load(name.strip(), settings or []) for name in recipes.split(",")],
        output=output,
        splits=[name.strip() for name in splits.split(",") if name.strip()],
        repeats=repeats,
        held_out_taxa=held_out_taxa,
        seeds=seeds,
        against=against,
        paper=endless_forams,
        corruptions=corruptions,
        taxonomy=fm.Taxonomy.load(taxonomy),
        overwrite=overwrite,
    )
    for run in bench.failed.itertuples():
        warn(f"failed: {run.folder}: {run.failed}")
    finish(bench, output / "benchmark.html", as_json, listed=output / "skipped.csv")
    raise typer.Exit(int(len(bench.failed) > 0))


def calibrate(
    model: opt.ModelPath,
    collection: opt.CollectionPath,
    output: opt.Output,
    split: opt.SplitName,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> None:
    """Calibrate a model's probabilities and novelty threshold on the validation specimens.

    `train` does this itself. Use it for a model whose references have changed, or that had too few
    validation specimens.

    Example: forametric calibrate models/old collections/core --split split.csv -o models/new
    """
    refuse_folder(output, overwrite, model, collection, split)
    refuse_file(skipped_file(output), overwrite, model, collection, split)
    made = fm.Split.load(fm.Collection.open(collection), split)
    calibrated = fm.Model.load(model).calibrate(made.val)
    calibrated.save(output, overwrite=overwrite)
    listed = write_skipped(calibrated.skipped, output)
    finish(calibrated, output, as_json, listed=listed)


def add(
    model: opt.ModelPath,
    collection: opt.Labelled,
    output: opt.Output,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> None:
    """Add labelled specimens to a model's references: species learnt in seconds.

    Takes a collection, or the morphotypes that you named in a folder of `discover`. The network is
    not trained again. The new model is written next to the old one.

    Example: forametric add models/plates collections/new-species -o models/plates-2
    """
    refuse_folder(output, overwrite, model, collection)
    refuse_file(skipped_file(output), overwrite, model, collection)
    before = fm.Model.load(model)
    after = before.add_references(fm.named_morphotypes(collection))
    after.save(output, overwrite=overwrite)
    more = {
        "added": len(after.references) - len(before.references),
        "new_taxa": sorted(set(after.taxa) - set(before.taxa)),
    }
    finish(after, output, as_json, listed=write_skipped(after.skipped, output), more=more)


def recipes(as_json: opt.Json = False) -> None:
    """List the built-in recipes.

    Example: forametric recipes
    """
    known = {name: fm.Recipe.load(name).model_dump(mode="json") for name in fm.recipe_names()}
    finish(known if as_json else {}, None, as_json, preview=fm.recipe_table())
