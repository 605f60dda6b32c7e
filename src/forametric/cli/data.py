"""Commands that make, check, split and export collections."""

from __future__ import annotations

import typer

import forametric as fm
from forametric.cli import _options as opt
from forametric.cli._output import finish, refuse_file, refuse_folder, warn


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("import", rich_help_panel=opt.DATA)(import_)
    for command in (segment, download, taxonomy, check, split, export, info):
        app.command(rich_help_panel=opt.DATA)(command)


def import_(
    source: opt.Source,
    output: opt.Output,
    format: opt.Format = opt.SourceFormat.auto,
    bar_um: opt.BarUm = None,
    images_root: opt.ImagesRoot = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> None:
    """Make a collection from images and what is known about them.

    Reads a folder (one subfolder for each taxon, or flat), a table (CSV, Excel or Parquet), the
    Endless Forams library as downloaded, an EcoTaxa export (folder or ZIP), a ParticleTrieur
    project (XML). The source is never changed. After an interruption, repeat the command to resume.

    Example: forametric import plates/ -o collections/plates
    """
    report = fm.import_collection(
        source,
        output,
        format=format.value,
        bar_um=bar_um,
        images_root=images_root,
        overwrite=overwrite,
    )
    for note in report.notes:
        warn(note)
    finish(report, output, as_json, listed=output / "skipped.csv")


def segment(
    slides: opt.Slides,
    output: opt.Output,
    um_per_px: opt.UmPerPx = None,
    min_diameter: opt.MinDiameter = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> None:
    """Find the specimens on slides and make a collection of them.

    Finds bright specimens on a dark slide, or dark ones on a light slide. Each is cropped with a
    margin, measured, and outlined on an image below `overlays`. Specimens that the edge cuts are
    left out.

    Example: forametric segment slide-1.jpg slide-2.jpg --um-per-px 2.4 --min-diameter 150 -o slides
    """
    report = fm.segment_slides(
        slides, output, um_per_px=um_per_px, min_diameter=min_diameter, overwrite=overwrite
    )
    finish(report, output, as_json, listed=output / "skipped.csv")


def download(output: opt.Output, as_json: opt.Json = False) -> None:
    """Download the Endless Forams library, one ZIP file for each species.

    Existing files are kept, so repeat the command to resume.

    Example: forametric download -o endless-forams && forametric import endless-forams -o library
    """
    finish(fm.download_endless_forams(output), output, as_json)


def taxonomy(
    output: opt.Output,
    refresh: opt.Refresh = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> None:
    """Write the table of names, synonyms, genera and families, to read or to edit.

    Example: forametric taxonomy --refresh -o names.csv
    """
    refuse_file(output, overwrite)
    names = fm.Taxonomy.load()
    names = names.refreshed() if refresh else names
    names.to_csv(output, overwrite=overwrite)
    finish(names, output, as_json)


def check(
    collection: opt.Images,
    model: opt.CheckModel = None,
    output: opt.CheckOutput = None,
    fix: opt.Fix = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> None:
    """Check a collection for unreadable files, duplicates, leaks between the subsets of a split,
    size outliers and, with --model, likely label errors.

    Example: forametric check collections/plates --model models/plates -o check --fix clean
    """
    from forametric.data.inputs import refuse_overlap

    refuse_folder(output, overwrite, collection, model)
    refuse_folder(fix, overwrite, collection, model)
    if output and fix:
        refuse_overlap(output, fix)
    report = fm.check(collection, fm.Model.load(model) if model else None)
    if output:
        report.save(output, overwrite=overwrite)
    if fix:
        report.fix().save(fix, overwrite=overwrite)
    listed = output / "findings.csv" if output else None
    finish(report, output or fix, as_json, listed=listed)


def split(
    collection: opt.CollectionPath,
    output: opt.Output,
    held_out_taxa: opt.HeldOutTaxa = 0,
    test: opt.TestShare = 0.2,
    val: opt.ValShare = 0.15,
    separate_groups: opt.SeparateGroups = False,
    seed: opt.Seed = 0,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> None:
    """Create a stratified split that keeps groups together and can hold out entire taxa.

    Held-out taxa come from the same groups as others, unless --separate-groups is given.

    Example: forametric split collections/plates --held-out-taxa 5 --seed 1 -o splits/open.csv
    """
    refuse_file(output, overwrite, collection)
    specimens = fm.Collection.open(collection)
    made = fm.make_split(
        specimens,
        held_out_taxa=held_out_taxa,
        test=test,
        val=val,
        separate_groups=separate_groups,
        seed=seed,
    )
    made.to_csv(output, overwrite=overwrite)
    for taxon, number in made.small_taxa.items():
        warn(f"few specimens: {taxon} has {number}; train comes first, then test, then val")
    finish(made, output, as_json)


def export(
    collection: opt.CollectionPath,
    output: opt.Output,
    format: opt.ToFormat = opt.ExportFormat.csv,
    identifications: opt.NamesFile = None,
    model: opt.NamedBy = None,
    taxonomy: opt.Names = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> None:
    """Write a collection, and names from a model, for another program or a data centre.

    Example: forametric export core --identifications names.csv --format darwin-core -o core.zip
    """
    refuse_file(output, overwrite, collection, identifications, model, taxonomy)
    report = fm.export(
        collection,
        output,
        format=format.value,
        identifications=identifications,
        identified_by=fm.describe(model)["title"] if model else "",
        taxonomy=fm.Taxonomy.load(taxonomy),
        overwrite=overwrite,
    )
    finish(report, output, as_json)


def info(folder: opt.Folder = None, as_json: opt.Json = False) -> None:
    """Describe a model or a collection; without one, list the installed versions.

    Example: forametric info models/plates
    """
    finish(fm.describe(folder), None, as_json)
