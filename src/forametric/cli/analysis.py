"""Commands that use a model: names, embeddings, morphotypes, abundances, maps."""

from __future__ import annotations

import typer

import forametric as fm
from forametric.cli import _options as opt
from forametric.cli._output import finish, refuse_file, refuse_folder, skipped_file, write_skipped
from forametric.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (identify, embed, discover, assemblage):
        app.command(rich_help_panel=opt.ANALYSIS)(command)
    app.command("map", rich_help_panel=opt.ANALYSIS)(map_)


def identify(
    model: opt.ModelPath,
    images: opt.Images,
    output: opt.Output,
    min_probability: opt.MinProbability = 0.5,
    conformal_alpha: opt.Alpha = None,
    taxonomy: opt.Names = None,
    neighbors: opt.Neighbors = None,
    where: opt.Where = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> None:
    """Identify specimens: species, genus, ambiguous or unknown, with reason and references.

    With --neighbors, OUTPUT.neighbors.csv lists the most similar specimens of each image.

    Example: forametric identify models/plates new-plates/ -o names.csv
    """
    if any("=" not in text for text in where or []) or (where and neighbors is None):
        raise InputError("--where takes COLUMN=VALUE and only goes with --neighbors.")
    similar = output.parent / f"{output.stem}.neighbors.csv" if neighbors else None
    inputs = (model, images, taxonomy, neighbors)
    refuse_file(output, overwrite, *inputs, skipped=True)
    refuse_file(similar, overwrite, *inputs)
    chosen, index = fm.Model.load(model), None
    if neighbors:
        conditions = dict(text.split("=", 1) for text in where or [])
        index = fm.SpecimenIndex.open(neighbors, chosen.weights_sha256, conditions)
    names = chosen.identify(
        images,
        min_probability=min_probability,
        conformal_alpha=conformal_alpha,
        taxonomy=fm.Taxonomy.load(taxonomy),
        similar_in=index,
    )
    names.to_csv(output, similar, overwrite=overwrite)
    more = {"neighbors": str(similar) if similar else None}
    finish(names, output, as_json, listed=write_skipped(names.skipped, output), more=more)


def embed(
    model: opt.ModelPath,
    images: opt.Images,
    output: opt.Output,
    cluster: opt.Cluster = None,
    store: opt.Store = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> None:
    """Write the embedding of each specimen (Parquet). Repeat the command to resume.

    Example: forametric embed models/plates collections/plates -o embeddings.parquet
    """
    if store and not cluster:
        raise InputError("--images only goes with --cluster.")
    if cluster:
        refuse_file(skipped_file(output), overwrite, model, images)
        skipped = fm.embed_on_cluster(
            model, images, output, cluster, images=store, overwrite=overwrite
        )
    else:
        refuse_file(output, overwrite, model, images, skipped=True)
        skipped = fm.embed_to_file(fm.Model.load(model), images, output, overwrite=overwrite)
    finish({}, output, as_json, skipped=skipped, listed=write_skipped(skipped, output))


def discover(
    model: opt.ModelPath,
    images: opt.Images,
    output: opt.Output,
    include_known: opt.All = False,
    n_groups: opt.NGroups = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> None:
    """Group specimens that the model cannot name into candidate morphotypes.

    Example: forametric discover models/plates collections/core -o morphotypes
    """
    refuse_folder(output, overwrite, model, images)
    found = fm.discover_unknown(
        fm.Model.load(model), images, include_known=include_known, n_groups=n_groups
    )
    found.save(output, overwrite=overwrite)
    finish(found, output / "discover.html", as_json, listed=output / "skipped.csv")


def assemblage(
    model: opt.ModelPath,
    images: opt.Images,
    output: opt.Output,
    by: opt.By = "sample",
    depth: opt.Depth = "",
    draws: opt.Draws = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> None:
    """Estimate taxon abundances per sample, with 95 % intervals, raw counts and diversity indices.

    Example: forametric assemblage models/plates collections/core --depth depth_cm -o core-counts
    """
    refuse_folder(output, overwrite, model, images)
    found = fm.assemblages_of(fm.Model.load(model), images, by=by, depth=depth, draws=draws)
    found.save(output, overwrite=overwrite)
    finish(found, output, as_json, listed=output / "skipped.csv")


def map_(
    model: opt.ModelPath,
    images: opt.Images,
    output: opt.Output,
    onto: opt.Onto = None,
    embeddings: opt.EmbeddingsFile = None,
    seed: opt.Seed = 0,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> None:
    """Draw the morphospace: PNG, PDF or SVG for print, HTML for an interactive map.

    The layout is saved next to it as .parquet; --onto places new specimens in it without moving
    the old ones. Above 40,000 specimens, a random 40,000 are laid out and the rest are placed
    among them.

    Example: forametric map models/plates collections/plates -o morphospace.png
    """
    refuse_file(output, overwrite, model, images, skipped=True)
    drawn = fm.map_images(
        model, images, output, onto=onto, embeddings=embeddings, seed=seed, overwrite=overwrite
    )
    finish(drawn, output, as_json, listed=write_skipped(drawn.skipped, output))
