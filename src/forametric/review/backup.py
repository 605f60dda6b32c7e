"""Copy decisions from one store to another: to back them up, to restore them, to move them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from forametric._typing import PathLike
from forametric.errors import InputError
from forametric.review.database import store_file
from forametric.review.store import DECISIONS, STEPS, DecisionStore
from forametric.utils.files import atomic_path

CHUNK = 10_000  # rows that are in memory at a time


@dataclass(frozen=True)
class CopyReport:
    """What a store of decisions holds after a copy.

    Attributes
    ----------
    place : str
        The file, or the address without a password.
    decisions, steps : int
        Rows of decisions, and of steps with groups of specimens.
    new : int
        The rows among them that the store did not have before.
    """

    place: str
    decisions: int
    steps: int
    new: int


def copy_decisions(source: PathLike, target: PathLike) -> CopyReport:
    """Copy all rows of a store to another one, with their numbers, and compare the two.

    The source may be in use: rows are only ever added, so those that it has at the beginning are
    copied. The target is new, or has an earlier copy, to which the new rows are added. Either may
    be an SQLite file or a PostgreSQL database.

    Parameters
    ----------
    source, target : str or path
        A file, or `postgresql://user@host/database`.

    Raises
    ------
    NotFoundError
        When there is no source.
    InputError
        When the target has decisions that the source lacks, or is not a store of decisions; it is
        not changed.
    StoreBusyError
        When a database is locked, full or cut off.

    Examples
    --------
    >>> copy_decisions("decisions.sqlite", "backup.sqlite")  # doctest: +SKIP
    CopyReport(place='backup.sqlite', decisions=412, steps=9, new=37)
    """
    origin, file = DecisionStore.open(source), Path(target)
    is_file = "://" not in str(target)
    if is_file and origin.is_file_at(file):
        raise InputError(f"{target} is the store itself; name another output.")
    with closing(origin):
        if is_file and not (file.exists() and (file.is_dir() or file.stat().st_size)):
            store_file(str(target))
            with atomic_path(file) as temporary:
                report = _copy(origin, DecisionStore(temporary))
                store_file(str(target))  # the log of another store would be applied to the copy
            return replace(report, place=str(target))
        return _copy(origin, DecisionStore(target))


def _copy(origin: DecisionStore, copy: DecisionStore) -> CopyReport:
    with closing(copy), origin.database.reading() as old, copy.database.writing() as new:
        (decisions, added), (steps, added_steps) = (
            _copy_table(table, old, new, copy.place) for table in (DECISIONS, STEPS)
        )
    return CopyReport(copy.place, decisions, steps, added + added_steps)


def _copy_table(
    table: sql.Table, old: sql.Connection, new: sql.Connection, place: str
) -> tuple[int, int]:
    """Add the rows that the copy lacks; the number of all rows, and of the new ones."""
    until, copied = _last(old, table), _last(new, table)
    if copied > until or _digest(old, table, copied) != _digest(new, table, copied):
        raise InputError(
            f"{place} has {table.name} that the other store lacks, so it was not changed; name "
            f"another output."
        )
    before = _count(new, table)
    for rows in _chunks(old, table, copied, until):
        new.execute(sql.insert(table), [row._asdict() for row in rows])
    if _digest(old, table, until) != _digest(new, table, until):
        raise InputError(f"{place} does not have what was written to it; it was not changed.")
    if new.dialect.name == "postgresql" and until:  # which does not count rows that bring a number
        sequence = sql.func.pg_get_serial_sequence(table.name, "number")
        new.execute(sql.select(sql.func.setval(sequence, until)))
    after = _count(new, table)
    return after, after - before


def _last(connection: sql.Connection, table: sql.Table) -> int:
    return connection.execute(sql.select(sql.func.max(table.c.number))).scalar() or 0


def _count(connection: sql.Connection, table: sql.Table) -> int:
    return connection.execute(sql.select(sql.func.count()).select_from(table)).scalar_one()


def _chunks(
    connection: sql.Connection, table: sql.Table, after: int, until: int
) -> Iterator[list[sql.Row[Any]]]:
    """The rows with numbers above `after`, up to `until`."""
    while after < until:
        within = table.c.number.between(after + 1, until)
        query = sql.select(table).where(within).order_by(table.c.number).limit(CHUNK)
        rows = list(connection.execute(query))
        if not rows:
            return
        yield rows
        after = rows[-1].number


def _digest(connection: sql.Connection, table: sql.Table, until: int) -> str:
    """A hash of the rows up to a number."""
    found = hashlib.sha256()
    for rows in _chunks(connection, table, 0, until):
        for row in rows:
            found.update(repr(tuple(row)).encode())
    return found.hexdigest()
