"""The store of decisions: append-only SQL tables in SQLite or PostgreSQL.

A changed mind is another row, an undone decision stays on record, and the database itself refuses
to change or to delete a row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sql
from sqlalchemy.exc import SQLAlchemyError

from forametric._typing import PathLike
from forametric.data.verdicts import Verdict
from forametric.errors import InputError, NotFoundError
from forametric.review.agreement import AgreementReport, summarize
from forametric.review.decisions import UNDO, Decision, current_decisions
from forametric.utils.files import atomic_path

VERSION = 1
WRITE_LOCK = 0x666F72616D  # PostgreSQL's number of the lock that writers hold: "foram"
MAX_NAMED = 5000  # specimens that one query can name
NO_ANSWER = ("", "")

_tables = sql.MetaData()
_metadata = sql.Table(
    "metadata",
    _tables,
    sql.Column("key", sql.String, primary_key=True),
    sql.Column("value", sql.String, nullable=False),
)
_decisions = sql.Table(
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
_steps = sql.Table(
    "steps",
    _tables,
    sql.Column("number", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("reviewer", sql.String, nullable=False),
    sql.Column("time", sql.String, nullable=False),
    sql.Column("step", sql.Text, nullable=False),
    sqlite_autoincrement=True,
)
COLUMNS = [column.name for column in _decisions.columns]

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
    place : str
        The same, without a password.
    url : str
        The same as given, to open the store in another process; it may contain a password.

    Raises
    ------
    InputError
        When it cannot be opened, is not a store of decisions, or was made by a newer version.

    Examples
    --------
    >>> import tempfile
    >>> store = DecisionStore(Path(tempfile.mkdtemp()) / "decisions.sqlite")
    >>> store.record([Decision("5883e3", Verdict.TAXON, "Orbulina universa", "K. Lee")])
    [1]
    """

    def __init__(self, place: PathLike) -> None:
        self._connect(place)
        if "://" not in self.place:
            Path(self.place).parent.mkdir(parents=True, exist_ok=True)
        with self._refusing(), self._writing() as database:
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
        store._connect(place)
        missing = NotFoundError(
            f"{store.place} does not exist or holds no decisions; record some with: "
            f"forametric record"
        )
        if "://" not in store.place and not Path(store.place).is_file():
            raise missing
        with store._refusing(), store._engine.connect() as database:
            tables = store._table_names(database)
            if "decisions" not in tables:
                raise missing
            store._check_version(database)
        return store

    def _connect(self, place: PathLike) -> None:
        self.url = str(place)
        self.place = _without_password(self.url)
        remote = "://" in self.place
        if remote and not self.place.startswith(("postgresql://", "postgresql+")):
            raise InputError(f"{self.place} is neither a file nor a postgresql:// address.")
        url = self.url if remote else f"sqlite:///{self.place}"
        with self._refusing():
            self._engine = sql.create_engine(
                url.replace("postgresql://", "postgresql+psycopg://", 1)
            )
        if not remote:
            sql.event.listen(self._engine, "connect", _configure_sqlite)

    def __repr__(self) -> str:
        return f"DecisionStore({self.place!r})"

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Errors of the database as sentences that do not contain the password."""
        try:
            yield
        except ModuleNotFoundError as error:
            raise InputError(
                f"{error.name} is not installed: pip install 'forametric[postgresql]'"
            ) from None
        except SQLAlchemyError as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{self.place} cannot be used for decisions: {reason}") from None

    def _table_names(self, database: sql.Connection) -> set[str]:
        tables = set(sql.inspect(database).get_table_names())
        if tables and "decisions" not in tables and self._engine.dialect.name == "sqlite":
            raise InputError(f"{self.place} is a database of something else; name another file.")
        return tables

    def _create(self, database: sql.Connection) -> None:
        self._table_names(database)
        _tables.create_all(database)
        for trigger in _TRIGGERS[self._engine.dialect.name]:
            database.execute(sql.text(trigger))
        if self._check_version(database) is None:
            database.execute(sql.insert(_metadata).values(key="version", value=str(VERSION)))

    def _check_version(self, database: sql.Connection) -> str | None:
        query = sql.select(_metadata.c.value).where(_metadata.c.key == "version")
        version = database.execute(query).scalar()
        if version is not None and int(version) > VERSION:
            raise InputError(
                f"{self.place} has version {version}; this Forametric reads {VERSION}. Update it."
            )
        return version

    @contextmanager
    def _writing(self) -> Iterator[sql.Connection]:
        """A transaction during which nobody else writes.

        So the previous decisions are still the same when a row is added. Rows also become visible
        in the order of their numbers: a reader who asks for those after the last one misses none.
        """
        with self._engine.begin() as database:
            is_sqlite = self._engine.dialect.name == "sqlite"
            lock = "BEGIN IMMEDIATE" if is_sqlite else f"SELECT pg_advisory_xact_lock({WRITE_LOCK})"
            database.exec_driver_sql(lock)
            yield database

    def record(self, decisions: Sequence[Decision]) -> list[int]:
        """Add decisions, all or none; once this returns, they are on the disk.

        Returns
        -------
        list of int
            Their numbers, by which they can be revoked.
        """
        with self._writing() as database:
            return self._add(database, [(decision, None) for decision in decisions])

    def without_repeats(self, decisions: Sequence[Decision]) -> list[Decision]:
        """Those that differ from their reviewer's current decision."""
        history = self.history(specimens=[d.specimen for d in decisions])
        current = _answers(current_decisions(history, include_skipped=True))
        return [
            d for d in decisions if current.get((d.specimen, d.reviewer)) != (d.verdict, d.taxon)
        ]

    def undo(self, reviewer: str) -> list[Decision]:
        """Undo what a reviewer recorded last; empty when there is nothing to undo.

        Decisions that were recorded together are undone together. They stay on record, followed by
        rows that undo them.
        """
        with self._writing() as database:
            own = _not_undone().where(_decisions.c.reviewer == reviewer)
            last = database.execute(own.order_by(_decisions.c.number.desc()).limit(1)).first()
            if last is None:
                return []
            return self._undo(database, own.where(_decisions.c.time == last.time))

    def revoke(self, numbers: Sequence[int]) -> list[Decision]:
        """Undo decisions by their numbers, all or none; those undone earlier are left out."""
        revoked: list[Decision] = []
        with self._writing() as database:
            for start in range(0, len(numbers), MAX_NAMED):
                some = list(numbers[start : start + MAX_NAMED])
                chosen = _not_undone().where(_decisions.c.number.in_(some))
                revoked += self._undo(database, chosen)
        return revoked

    def _undo(self, database: sql.Connection, chosen: sql.Select[Any]) -> list[Decision]:
        query = chosen.order_by(_decisions.c.number)
        rows = [row._asdict() for row in database.execute(query)]
        names = [field.name for field in fields(Decision)]
        undone = [Decision(**{name: row[name] for name in names}) for row in rows]
        numbers = [row["number"] for row in rows]
        self._add(database, list(zip(undone, numbers, strict=True)))
        return undone

    def add_step(self, reviewer: str, step: dict[str, Any]) -> int:
        """Record a change of groups of specimens (`forametric.review.groups`); its number."""
        values = {"reviewer": reviewer, "time": _now(), "step": json.dumps(step)}
        with self._writing() as database:
            key = database.execute(sql.insert(_steps).values(values)).inserted_primary_key
        assert key is not None
        return int(key[0])

    def steps(self, after: int = 0) -> list[tuple[int, str, dict[str, Any]]]:
        """The changes of groups after a number, in their order: number, reviewer, step."""
        query = sql.select(_steps).where(_steps.c.number > after).order_by(_steps.c.number)
        with self._engine.connect() as database:
            rows = database.execute(query).all()
        return [(row.number, row.reviewer, json.loads(row.step)) for row in rows]

    def _add(
        self, database: sql.Connection, decisions: Sequence[tuple[Decision, int | None]]
    ) -> list[int]:
        """Add rows, each with the reviewer's earlier decision; returns their numbers."""
        earlier: dict[tuple[str, str], tuple[str, str]] = {}
        specimens = sorted({decision.specimen for decision, _ in decisions})
        for start in range(0, len(specimens), MAX_NAMED):
            named = _decisions.c.specimen.in_(specimens[start : start + MAX_NAMED])
            query = sql.select(_decisions).where(named).order_by(_decisions.c.number)
            history = pd.DataFrame(database.execute(query).all(), columns=COLUMNS)
            earlier |= _answers(current_decisions(history))
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
        added = sql.insert(_decisions).returning(_decisions.c.number, sort_by_parameter_order=True)
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
        query = sql.select(_decisions).where(_decisions.c.number > after)
        few = specimens is not None and len(specimens) <= MAX_NAMED
        if specimens is not None and few:
            query = query.where(_decisions.c.specimen.in_(list(specimens)))
        with self._engine.connect() as database:
            rows = database.execute(query.order_by(_decisions.c.number)).all()
        history = pd.DataFrame(rows, columns=COLUMNS)
        if specimens is None or few:
            return history
        return history[history["specimen"].isin(set(specimens))].reset_index(drop=True)

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
        self._engine.dispose()


def _answers(current: pd.DataFrame) -> dict[tuple[str, str], tuple[str, str]]:
    """(specimen, reviewer) → (verdict, taxon)."""
    rows = current.itertuples()
    return {(row.specimen, row.reviewer): (row.verdict, row.taxon) for row in rows}  # type: ignore[misc]


def _not_undone() -> sql.Select[Any]:
    """The decisions that were not undone, current or superseded."""
    undone = sql.select(_decisions.c.undoes).where(_decisions.c.undoes.is_not(None))
    return sql.select(_decisions).where(
        _decisions.c.verdict != UNDO, _decisions.c.number.not_in(undone)
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _without_password(place: str) -> str:
    """An address without its password; a file as it is."""
    if "://" not in place:
        return place
    try:
        url = sql.make_url(place)
    except (SQLAlchemyError, ValueError):  # whose message may contain the password
        raise InputError(
            "the store's address cannot be read; it should look like "
            "postgresql://user@host/database."
        ) from None
    if "password" in url.query:
        raise InputError("write the password as postgresql://user:password@host/database.")
    plain = sql.URL.create(
        url.drivername, url.username, None, url.host, url.port, url.database, url.query
    )
    return plain.render_as_string()


def _configure_sqlite(connection: Any, _: Any) -> None:
    """Readers do not wait for writers, and what is committed is on the disk."""
    connection.isolation_level = None  # transactions begin where `_writing` begins them
    cursor = connection.cursor()
    for pragma in ("busy_timeout=10000", "journal_mode=WAL", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
