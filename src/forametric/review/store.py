"""The store of decisions: append-only SQL tables in SQLite or PostgreSQL.

A changed mind is another row, an undone decision stays on record, and the database itself refuses
to change or to delete a row.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sql

from forametric._typing import PathLike
from forametric.data.verdicts import Verdict
from forametric.errors import InputError, NotFoundError
from forametric.review.agreement import AgreementReport, summarize
from forametric.review.database import Database
from forametric.review.decisions import (
    UNDO,
    Decision,
    answers,
    current_decisions,
    without_repeats,
)
from forametric.utils.files import atomic_path

VERSION = 1
MAX_NAMED = 5000  # specimens that one query can name
NO_ANSWER = ("", "")

_tables = sql.MetaData()
_metadata = sql.Table(
    "metadata",
    _tables,
    sql.Column("key", sql.String, primary_key=True),
    sql.Column("value", sql.String, nullable=False),
)
DECISIONS = sql.Table(
    "decisions",
    _tables,
    sql.Column("number", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("specimen", sql.String, nullable=False, index=True),
    sql.Column("verdict", sql.String, nullable=False),
    sql.Column("taxon", sql.String, nullable=False),
    sql.Column("reviewer", sql.String, nullable=False, index=True),
    sql.Column("time", sql.String, nullable=False),
    sql.Column("previous_verdict", sql.String, nullable=False),
    sql.Column("previous_taxon", sql.String, nullable=False),
    sql.Column("suggested", sql.String, nullable=False),
    sql.Column("probability", sql.Float),
    sql.Column("model", sql.String, nullable=False),
    sql.Column("undoes", sql.Integer),
    sqlite_autoincrement=True,
)
# Changes of the groups of specimens, one JSON object a row.
STEPS = sql.Table(
    "steps",
    _tables,
    sql.Column("number", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("reviewer", sql.String, nullable=False),
    sql.Column("time", sql.String, nullable=False),
    sql.Column("step", sql.Text, nullable=False),
    sqlite_autoincrement=True,
)
COLUMNS = [column.name for column in DECISIONS.columns]
TYPES: dict[str, set[type]] = {  # of the values of a column; the others are text
    "number": {int},
    "probability": {float, int, type(None)},
    "undoes": {int, type(None)},
}

# Triggers that refuse changes, whichever program opens the database.
_TRIGGERS = {
    "sqlite": [
        f"CREATE TRIGGER IF NOT EXISTS no_{change}_{table} BEFORE {change} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, 'the table {table} is append-only'); END"
        for change in ("update", "delete")
        for table in ("decisions", "steps")
    ],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION forametric_append_only() RETURNS trigger AS $$ "
        "BEGIN RAISE EXCEPTION 'the table is append-only'; END $$ LANGUAGE plpgsql",
        *[
            f"CREATE OR REPLACE TRIGGER no_change BEFORE UPDATE OR DELETE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION forametric_append_only()"
            for table in ("decisions", "steps")
        ],
    ],
}


class DecisionStore:
    """A store of decisions; `DecisionStore(…)` creates it, `DecisionStore.open` requires it.

    Parameters
    ----------
    place : str or path
        A file, for SQLite, or `postgresql://user@host/database`.

    Attributes
    ----------
    database : Database
        Its connections.

    Raises
    ------
    InputError
        When it cannot be opened, is damaged or not a store of decisions, or was made by a newer
        version.
    StoreBusyError
        When the database is locked or does not answer.

    Examples
    --------
    >>> import tempfile
    >>> store = DecisionStore(Path(tempfile.mkdtemp()) / "decisions.sqlite")
    >>> store.record([Decision("5883e3", Verdict.TAXON, "Orbulina universa", "K. Lee")])
    [1]
    """

    def __init__(self, place: PathLike) -> None:
        self.database = Database(place)
        self.database.make_file()
        self.database.check()
        self.database.use_log()
        with self.database.writing() as database:
            self._create(database)

    @classmethod
    def open(cls, place: PathLike) -> DecisionStore:
        """Open a store that exists.

        Raises
        ------
        NotFoundError
            When there is none; nothing is created.
        """
        store = cls.__new__(cls)
        store.database = Database(place)
        missing = NotFoundError(
            f"{store.place} does not exist or holds no decisions; record some with: "
            f"forametric record"
        )
        if store.database.file and not store.database.file.is_file():
            raise missing
        store.database.check()
        with store.database.reading() as database:
            if "decisions" not in store._table_names(database):
                raise missing
            store._check_version(database)
        return store

    @property
    def place(self) -> str:
        """The file, or the address without a password."""
        return self.database.place

    @property
    def url(self) -> str:
        """The place as given, to open the store in another process; may contain a password."""
        return self.database.url

    def is_file_at(self, path: Path) -> bool:
        """Whether this is the store in a file."""
        return bool(self.database.file and path.exists() and path.samefile(self.database.file))

    def __repr__(self) -> str:
        return f"DecisionStore({self.place!r})"

    def _table_names(self, database: sql.Connection) -> set[str]:
        tables = set(sql.inspect(database).get_table_names())
        if tables and "decisions" not in tables and self.database.file:
            raise InputError(f"{self.place} is a database of something else; name another file.")
        return tables

    def _create(self, database: sql.Connection) -> None:
        self._table_names(database)
        _tables.create_all(database)
        for trigger in _TRIGGERS[self.database.dialect]:
            database.execute(sql.text(trigger))
        if self._check_version(database) is None:
            database.execute(sql.insert(_metadata).values(key="version", value=str(VERSION)))

    def _check_version(self, database: sql.Connection) -> str | None:
        query = sql.select(_metadata.c.value).where(_metadata.c.key == "version")
        version = database.execute(query).scalar()
        if version is not None and not (version.isascii() and version.isdigit()):
            raise InputError(f"{self.place} is damaged: its version is {version!r}.")
        if version is not None and int(version) > VERSION:
            raise InputError(
                f"{self.place} has version {version}; this Forametric reads {VERSION}. Update it."
            )
        return version

    def record(self, decisions: Sequence[Decision]) -> list[int]:
        """Add decisions, all or none; once this returns, they are on the disk.

        What a reviewer has decided in the same way already is left out. So decisions may be sent
        again when it is not known whether they arrived.

        Returns
        -------
        list of int
            The numbers of those added, by which they can be revoked.

        Raises
        ------
        StoreBusyError
            When the database is locked, full or cut off.
        """
        with self.database.writing() as database:
            history = self._history_of(database, decisions)
            new = without_repeats(decisions, history)
            return self._add(database, [(decision, None) for decision in new], history)

    def undo(self, reviewer: str) -> list[Decision]:
        """Undo what a reviewer recorded last; empty when there is nothing to undo.

        Decisions that were recorded together are undone together. They stay on record, followed by
        rows that undo them.
        """
        with self.database.writing() as database:
            own = _not_undone().where(DECISIONS.c.reviewer == reviewer)
            last = database.execute(own.order_by(DECISIONS.c.number.desc()).limit(1)).first()
            if last is None:
                return []
            return self._undo(database, own.where(DECISIONS.c.time == last.time))

    def revoke(self, numbers: Sequence[int]) -> list[Decision]:
        """Undo decisions by their numbers, all or none; those undone earlier are left out."""
        revoked: list[Decision] = []
        with self.database.writing() as database:
            for start in range(0, len(numbers), MAX_NAMED):
                some = list(numbers[start : start + MAX_NAMED])
                chosen = _not_undone().where(DECISIONS.c.number.in_(some))
                revoked += self._undo(database, chosen)
        return revoked

    def _undo(self, database: sql.Connection, chosen: sql.Select[Any]) -> list[Decision]:
        query = chosen.order_by(DECISIONS.c.number)
        rows = [row._asdict() for row in database.execute(query)]
        names = [field.name for field in fields(Decision)]
        undone = [Decision(**{name: row[name] for name in names}) for row in rows]
        numbers = [row["number"] for row in rows]
        history = self._history_of(database, undone)
        self._add(database, list(zip(undone, numbers, strict=True)), history)
        return undone

    def add_step(self, reviewer: str, step: dict[str, Any]) -> int:
        """Record a change of groups of specimens (`forametric.review.groups`); its number."""
        values = {"reviewer": reviewer, "time": _now(), "step": json.dumps(step)}
        with self.database.writing() as database:
            key = database.execute(sql.insert(STEPS).values(values)).inserted_primary_key
        assert key is not None
        return int(key[0])

    def steps(self, after: int = 0) -> list[tuple[int, str, dict[str, Any]]]:
        """The changes of groups after a number, in their order: number, reviewer, step."""
        query = sql.select(STEPS).where(STEPS.c.number > after).order_by(STEPS.c.number)
        with self.database.reading() as database:
            rows = database.execute(query).all()
        return [(row.number, row.reviewer, json.loads(row.step)) for row in rows]

    def _history_of(self, database: sql.Connection, decisions: Sequence[Decision]) -> pd.DataFrame:
        """The rows about the specimens of some decisions."""
        specimens = sorted({decision.specimen for decision in decisions})
        rows: list[Any] = []
        for start in range(0, len(specimens), MAX_NAMED):
            named = DECISIONS.c.specimen.in_(specimens[start : start + MAX_NAMED])
            rows += database.execute(sql.select(DECISIONS).where(named)).all()
        history = self._table(rows)
        return history.sort_values("number", ignore_index=True)

    def _add(
        self,
        database: sql.Connection,
        decisions: Sequence[tuple[Decision, int | None]],
        history: pd.DataFrame,
    ) -> list[int]:
        """Add rows, each with the reviewer's earlier decision; returns their numbers."""
        earlier = answers(current_decisions(history))
        time, values = _now(), []
        for decision, undoes in decisions:
            key = (decision.specimen, decision.reviewer)
            previous_verdict, previous_taxon = earlier.get(key, NO_ANSWER)
            values.append(
                {
                    "specimen": decision.specimen,
                    "verdict": UNDO if undoes else str(decision.verdict),
                    "taxon": "" if undoes else decision.taxon,
                    "reviewer": decision.reviewer,
                    "time": time,
                    "previous_verdict": previous_verdict,
                    "previous_taxon": previous_taxon,
                    "suggested": decision.suggested,
                    "probability": decision.probability,
                    "model": decision.model,
                    "undoes": undoes,
                }
            )
            if not undoes and decision.verdict != Verdict.SKIP:
                earlier[key] = (str(decision.verdict), decision.taxon)
        if not values:
            return []
        added = sql.insert(DECISIONS).returning(DECISIONS.c.number, sort_by_parameter_order=True)
        return [int(number) for number in database.execute(added, values).scalars()]

    def history(self, after: int = 0, specimens: Sequence[str] | None = None) -> pd.DataFrame:
        """Every row after a number, in the order in which they were added.

        Parameters
        ----------
        specimens : sequence of str, optional
            Only the rows about these.

        Returns
        -------
        DataFrame
            number, specimen, verdict (a Verdict, or `undo`), taxon, reviewer, time (UTC),
            previous_verdict and previous_taxon (the reviewer's earlier decision), suggested,
            probability and model (what the model had suggested, and its fingerprint), undoes (the
            number of the row that this one undoes).
        """
        query = sql.select(DECISIONS).where(DECISIONS.c.number > after)
        few = specimens is not None and len(specimens) <= MAX_NAMED
        if specimens is not None and few:
            query = query.where(DECISIONS.c.specimen.in_(list(specimens)))
        with self.database.reading() as database:
            rows = database.execute(query.order_by(DECISIONS.c.number)).all()
        history = self._table(rows)
        if specimens is None or few:
            return history
        return history[history["specimen"].isin(set(specimens))].reset_index(drop=True)

    def _table(self, rows: Sequence[sql.Row[Any]]) -> pd.DataFrame:
        """Rows as a table; `InputError` where a value is not of its column: SQLite takes any."""
        for name, values in zip(COLUMNS, zip(*rows, strict=True), strict=False):
            allowed = TYPES.get(name, {str})
            if not set(map(type, values)) <= allowed:
                wrong = next(value for value in values if type(value) not in allowed)
                raise InputError(f"{self.place} is damaged: its {name} {wrong!r:.60} is not valid.")
        return pd.DataFrame(rows, columns=COLUMNS)

    def write_csv(self, path: PathLike) -> Path:
        """Write the whole history as CSV; returns the path."""
        path = Path(path)
        with atomic_path(path) as temporary:
            self.history().to_csv(temporary, index=False)
        return path

    def summary(self) -> AgreementReport:
        """Who decided how much, where reviewers differ, and how far they agree."""
        return summarize(self.history())

    def close(self) -> None:
        """Close the connections to the database."""
        self.database.close()


def _not_undone() -> sql.Select[Any]:
    """The decisions that were not undone, current or superseded."""
    undone = sql.select(DECISIONS.c.undoes).where(DECISIONS.c.undoes.is_not(None))
    return sql.select(DECISIONS).where(
        DECISIONS.c.verdict != UNDO, DECISIONS.c.number.not_in(undone)
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
