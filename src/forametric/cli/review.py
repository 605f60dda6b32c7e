"""Commands for experts: what to review, what they decided, and the review page."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import asdict

import typer

import forametric as fm
from forametric.cli import _options as opt
from forametric.cli._output import finish, refuse_file, refuse_folder, say, warn


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (queue, record, decisions, backup, restore, apply_decisions, review, serve):
        app.command(rich_help_panel=opt.REVIEW)(command)


def queue(
    model: opt.ModelPath,
    images: opt.Images,
    output: opt.Output,
    store: opt.Settled = "",
    reference_images: opt.ReferenceImages = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> None:
    """Rank specimens for expert review; writes a web page and a table to fill in.

    Example: forametric queue models/plates core --reference-images collections/plates -o to-review
    """
    refuse_folder(output, overwrite, model, images, store, *(reference_images or []))
    ranked = fm.rank_for_review(
        fm.Model.load(model),
        fm.open_collection(images),
        store=fm.DecisionStore.open(store) if store else None,
        reference_images=[fm.Collection.open(other) for other in reference_images or []],
    )
    ranked.save(output, overwrite=overwrite)
    finish(ranked, output / "queue.html", as_json, listed=output / "skipped.csv")


def record(
    collection: opt.CollectionPath,
    table: opt.Table,
    store: opt.StoreUrl,
    reviewer: opt.Reviewer,
    as_json: opt.Json = False,
) -> None:
    """Record an expert's decisions from a table: a taxon, unlisted, not a specimen, duplicate.

    Use the table of queue or identify, with a column expert filled in for reviewed specimens.

    Example: forametric record core names.csv --store decisions.sqlite --reviewer "K. Lee"
    """
    given = fm.read_decisions(table, fm.Collection.open(collection), reviewer)
    kept = fm.DecisionStore(store)
    new = kept.record(given)
    finish({"recorded": len(new), "repeated": len(given) - len(new)}, kept.place, as_json)


def decisions(
    store: opt.StoreUrl,
    output: opt.History = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> None:
    """Show where reviewers disagree and how well they agree; write the whole history.

    Example: forametric decisions --store decisions.sqlite -o history.csv
    """
    refuse_file(output, overwrite, store)
    kept = fm.DecisionStore.open(store)
    if output:
        kept.write_csv(output)
    finish(kept.summary(), output or kept.place, as_json)


def backup(store: opt.StorePlace, output: opt.StoreCopy, as_json: opt.Json = False) -> None:
    """Copy a store of decisions, which may be in use; an earlier copy is brought up to date.

    Example: forametric backup core-review/decisions.sqlite -o backup.sqlite
    """
    _copy(store, output, as_json)


def restore(copy: opt.StorePlace, output: opt.StoreCopy, as_json: opt.Json = False) -> None:
    """Bring a copy of decisions back; refuses a store with decisions that the copy lacks.

    Example: forametric restore backup.sqlite -o core-review/decisions.sqlite
    """
    _copy(copy, output, as_json)


def _copy(source: str, target: str, as_json: bool) -> None:
    figures = asdict(fm.copy_decisions(source, target))
    finish(figures, figures.pop("place"), as_json)


def apply_decisions(
    collection: opt.CollectionPath,
    output: opt.Output,
    store: opt.StoreUrl,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> None:
    """Make a collection with the labels that its reviewers agree on, to train on or to count.

    Example: forametric apply-decisions core --store decisions.sqlite -o core-reviewed
    """
    refuse_folder(output, overwrite, collection, store)
    labelled = fm.apply_decisions(fm.Collection.open(collection), fm.DecisionStore.open(store))
    labelled.save(output, overwrite=overwrite)
    finish(labelled, output, as_json)


def review(
    project: opt.ProjectPath,
    collection: opt.ToReview = None,
    model: opt.ReviewModel = None,
    reference_images: opt.ReferenceImages = None,
    depth: opt.Depth = "",
    database: opt.Database = "",
    host: opt.Host = "127.0.0.1",
    port: opt.Port = 8765,
    browser: opt.Browser = True,
    proxy: opt.Proxy = "",
) -> None:
    """Open the review page: map, queue, morphotypes, samples. Ctrl-C stops it; nothing is lost.

    The link opens one browser. Scripts send the token in the variable FORAMETRIC_TOKEN, if any.

    Example: forametric review core-review --collection core --model model

    The next time: forametric review core-review
    """
    from forametric.review.project import open_or_create
    from forametric.server import run
    from forametric.server.request_checks import PublicAddress
    from forametric.server.session import ReviewSession
    from forametric.utils.locks import one_writer

    public = PublicAddress.parse(proxy)
    token = run.checked_token(host, os.environ.get("FORAMETRIC_TOKEN", ""), public)

    def report(link: str) -> None:
        say(f"The review page is at {link}\nThe link opens one browser. Ctrl-C stops the server.")

    with one_writer(project):
        opened, store = open_or_create(
            project,
            collection=collection,
            model=model,
            reference_images=reference_images or [],
            depth=depth,
            database=database,
        )
        session = ReviewSession.open(opened, store)
        if lost := len(session.skipped):
            warn(f"{lost} images cannot be read and are not shown", "warning:")
        run.serve(
            session,
            host=host,
            port=port,
            token=token,
            browser=browser,
            report=report,
            proxy=public,
        )


def serve(
    projects: opt.Projects,
    accounts: opt.AccountsFile = opt.ACCOUNTS,
    host: opt.LabHost = "127.0.0.1",
    port: opt.Port = 8765,
    proxy: opt.Proxy = "",
) -> None:
    """Serve review projects to several people, who log in. Ctrl-C stops it; nothing is lost.

    Make their accounts with: forametric users add

    Example: forametric serve projects --accounts accounts.sqlite --proxy https://review.example.org
    """
    from forametric.server import run
    from forametric.server.access.accounts import Accounts
    from forametric.server.access.database import AccessDatabase
    from forametric.server.lab import open_projects
    from forametric.server.request_checks import PublicAddress

    public = PublicAddress.parse(proxy)
    known = Accounts(AccessDatabase.open(accounts))
    run.refuse_without_users(known)

    with ExitStack() as locks:
        sessions = open_projects(projects, locks)

        def report(address: str) -> None:
            say(f"{', '.join(sessions)}: {address}\nCtrl-C stops the server.")

        run.serve_lab(sessions, known, host=host, port=port, report=report, proxy=public)
