"""The store of decisions: append-only SQL tables in SQLite or PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sql
from sqlalchemy.exc import SQLAlchemyError

from forametric.errors import InputError
from forametric.review.decisions import (
    SKIP,
    UNDO,
    Decision,
    standing,
)
from forametric.utils.files import atomic_path

VERSION = 1


WRITER = 0x666F72616D  # PostgreSQL's name for the right to write: "foram"


FEW = 5000  # specimens that a query can name one by one


_tables = sql.MetaData()


_about = sql.Table(
    "about",
    _tables,
    sql.Column("key", sql.String, primary_key=True),
    sql.Column("value", sql.String, nullable=False),
)


_rows = sql.Table(
    "decisions",
    _tables,
    sql.Column("number", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("specimen", sql.String, nullable=False, index=True),
    sql.Column("verdict", sql.String, nullable=False),
    sql.Column("taxon", sql.String, nullable=False),
    sql.Column("reviewer", sql.String, nullable=False, index=True),
    sql.Column("time", sql.String, nullable=False),
    sql.Column("previous", sql.String, nullable=False),
    sql.Column("suggested", sql.String, nullable=False),
    sql.Column("probability", sql.Float),
    sql.Column("model", sql.String, nullable=False),
    sql.Column("undoes", sql.Integer),
    sqlite_autoincrement=True,
)


# What was done with groups of specimens: only ever added to as well, one JSON a step.
_steps = sql.Table(
    "steps",
    _tables,
    sql.Column("number", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("reviewer", sql.String, nullable=False),
    sql.Column("time", sql.String, nullable=False),
    sql.Column("step", sql.Text, nullable=False),
    sqlite_autoincrement=True,
)


COLUMNS = [column.name for column in _rows.columns]


# What keeps rows as they are, whoever opens the database.
_GUARDS = {
    "sqlite": [
        f"CREATE TRIGGER IF NOT EXISTS no_{what}_{table} BEFORE {what} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} are only ever added to'); END"
        for what in ("update", "delete")
        for table in ("decisions", "steps")
    ],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION forametric_only_added() RETURNS trigger AS $$ "
        "BEGIN RAISE EXCEPTION 'decisions are only ever added to'; END $$ LANGUAGE plpgsql",
        *[
            f"CREATE OR REPLACE TRIGGER no_change BEFORE UPDATE OR DELETE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION forametric_only_added()"
            for table in ("decisions", "steps")
        ],
    ],
}


class Decisions:
    """A store of decisions.

    Parameters
    ----------
    place : str or Path
        A file, for SQLite, made if it is not there; or `postgresql://user@host/database`.

    Attributes
    ----------
    place : str
        The same, without a password.

    Raises
    ------
    InputError
        When it cannot be opened, is no store of decisions, or is of a newer version.
    """

    def __init__(self, place: str | Path) -> None:
        self.place, self._password = _without_password(str(place))
        remote = "://" in self.place
        if remote and not self.place.startswith(("postgresql://", "postgresql+")):
            raise InputError(f"{self.place} is neither a file nor a postgresql:// address.")
        url = str(place) if remote else f"sqlite:///{self.place}"
        url = url.replace("postgresql://", "postgresql+psycopg://", 1)
        if not remote:
            Path(self.place).parent.mkdir(parents=True, exist_ok=True)
        try:
            self._engine = sql.create_engine(url)
            if not remote:
                sql.event.listen(self._engine, "connect", _durable)
            with self._writing() as database:
                self._prepare(database)
        except ModuleNotFoundError as error:
            raise InputError(
                f"{error.name} is not installed: pip install 'forametric[postgresql]'"
            ) from None
        except SQLAlchemyError as error:
            raise InputError(f"{self.place} cannot hold decisions: {_first(error)}") from None

    @property
    def environment(self) -> dict[str, str]:
        """What another process needs beside `place` to open the same store: libpq's variable."""
        return {"PGPASSWORD": self._password} if self._password else {}

    @classmethod
    def existing(cls, place: str | Path) -> Decisions:
        """As `Decisions(place)`, but a file has to be there."""
        if "://" not in str(place) and not Path(place).is_file():
            raise InputError(f"{place} does not exist; decisions are made by: forametric decide")
        return cls(place)

    def _prepare(self, database: sql.Connection) -> None:
        present = set(sql.inspect(database).get_table_names())
        if present and "decisions" not in present and self._engine.dialect.name == "sqlite":
            raise InputError(f"{self.place} is a database of something else; name another file.")
        _tables.create_all(database)
        for guard in _GUARDS[self._engine.dialect.name]:
            database.execute(sql.text(guard))
        found = database.execute(sql.select(_about.c.value).where(_about.c.key == "version"))
        version = found.scalar()
        if version is None:
            database.execute(sql.insert(_about).values(key="version", value=str(VERSION)))
        elif int(version) > VERSION:
            raise InputError(
                f"{self.place} is of version {version}, this Forametric knows {VERSION}; update it."
            )

    @contextmanager
    def _writing(self) -> Iterator[sql.Connection]:
        """A transaction of the only writer there is meanwhile.

        So what stood before is still so when a row is added, and rows become visible in the order
        of their numbers: who asks for those after the last one seen misses none.
        """
        with self._engine.begin() as database:
            sqlite = self._engine.dialect.name == "sqlite"
            taking = "BEGIN IMMEDIATE" if sqlite else f"SELECT pg_advisory_xact_lock({WRITER})"
            database.exec_driver_sql(taking)
            yield database

    def record(self, decisions: Sequence[Decision]) -> list[int]:
        """Add decisions, all or none; once this returns, they are on the disk.

        Returns
        -------
        list of int
            Their numbers, by which they can be undone.
        """
        with self._writing() as database:
            return self._add(database, [(one, None) for one in decisions])

    def unsaid(self, decisions: Sequence[Decision]) -> list[Decision]:
        """Those that differ from what their reviewer says already: the same may be sent twice."""
        now = standing(self.history(specimens=[d.specimen for d in decisions]), skipped=True)
        said = dict(
            zip(zip(now["specimen"], now["reviewer"], strict=True), now["name"], strict=True)
        )
        return [one for one in decisions if said.get((one.specimen, one.reviewer)) != one.name]

    def undo(self, reviewer: str) -> list[Decision]:
        """Take back what a reviewer recorded last, of what stands; empty when there is nothing.

        Decisions that were recorded together are taken back together. They stay on record, followed
        by rows that undo them.
        """
        with self._writing() as database:
            mine = _not_undone().where(_rows.c.reviewer == reviewer)
            last = database.execute(mine.order_by(_rows.c.number.desc()).limit(1)).first()
            if last is None:
                return []
            return self._undone(database, mine.where(_rows.c.time == last.time))

    def take_back(self, numbers: Sequence[int]) -> list[Decision]:
        """Undo decisions by their numbers, all or none; those undone already are left out."""
        taken: list[Decision] = []
        with self._writing() as database:
            for start in range(0, len(numbers), FEW):
                some = list(numbers[start : start + FEW])
                taken += self._undone(database, _not_undone().where(_rows.c.number.in_(some)))
        return taken

    def _undone(self, database: sql.Connection, wanted: sql.Select[Any]) -> list[Decision]:
        rows = [row._asdict() for row in database.execute(wanted.order_by(_rows.c.number))]
        taken = [Decision(**{k: row[k] for k in Decision.__dataclass_fields__}) for row in rows]
        undoes = [row["number"] for row in rows]
        self._add(database, list(zip(taken, undoes, strict=True)))
        return taken

    def add_step(self, reviewer: str, step: dict[str, Any]) -> int:
        """Keep a step taken with groups of specimens (`forametric.review.groups`); its number."""
        values = {"reviewer": reviewer, "time": _now(), "step": json.dumps(step)}
        with self._writing() as database:
            key = database.execute(sql.insert(_steps).values(values)).inserted_primary_key
        assert key is not None
        return int(key[0])

    def steps(self, after: int = 0) -> list[tuple[int, str, dict[str, Any]]]:
        """The steps after a number, in their order: number, reviewer, step."""
        wanted = sql.select(_steps).where(_steps.c.number > after).order_by(_steps.c.number)
        with self._engine.connect() as database:
            rows = database.execute(wanted).all()
        return [(row.number, row.reviewer, json.loads(row.step)) for row in rows]

    def _add(
        self, database: sql.Connection, decisions: Sequence[tuple[Decision, int | None]]
    ) -> list[int]:
        """Rows with what stood before them for their reviewer and specimen; their numbers."""
        stood: dict[tuple[str, str], str] = {}
        specimens = sorted({one.specimen for one, _ in decisions})
        for start in range(0, len(specimens), FEW):
            some = sql.select(_rows).where(_rows.c.specimen.in_(specimens[start : start + FEW]))
            rows = database.execute(some.order_by(_rows.c.number)).all()
            for said in standing(pd.DataFrame(rows, columns=COLUMNS)).to_dict("records"):
                stood[said["specimen"], said["reviewer"]] = said["name"]
        time, values = _now(), []
        for one, undoes in decisions:
            whose = (one.specimen, one.reviewer)
            values.append(
                {
                    "specimen": one.specimen,
                    "verdict": UNDO if undoes else one.verdict,
                    "taxon": "" if undoes else one.taxon,
                    "reviewer": one.reviewer,
                    "time": time,
                    "previous": stood.get(whose, ""),
                    "suggested": one.suggested,
                    "probability": one.probability,
                    "model": one.model,
                    "undoes": undoes,
                }
            )
            if not undoes and one.verdict != SKIP:
                stood[whose] = one.name
        if not values:
            return []
        added = sql.insert(_rows).returning(_rows.c.number, sort_by_parameter_order=True)
        return [int(number) for number in database.execute(added, values).scalars()]

    def history(self, after: int = 0, specimens: Sequence[str] | None = None) -> pd.DataFrame:
        """Every row after a number, in the order in which they came: the columns of the table.

        `specimens`: only the rows about these.
        """
        wanted = sql.select(_rows).where(_rows.c.number > after).order_by(_rows.c.number)
        few = specimens is not None and len(specimens) <= FEW
        if specimens is not None and few:
            wanted = wanted.where(_rows.c.specimen.in_(list(specimens)))
        with self._engine.connect() as database:
            found = pd.DataFrame(database.execute(wanted).all(), columns=COLUMNS)
        if specimens is None or few:
            return found
        return found[found["specimen"].isin(set(specimens))].reset_index(drop=True)

    def write_csv(self, path: Path) -> None:
        """The whole history as CSV."""
        with atomic_path(path) as temporary:
            self.history().to_csv(temporary, index=False)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()


def _not_undone() -> sql.Select[Any]:
    """All decisions that stand, or are superseded: those that were not taken back."""
    undone = sql.select(_rows.c.undoes).where(_rows.c.undoes.is_not(None))
    return sql.select(_rows).where(_rows.c.verdict != UNDO, _rows.c.number.not_in(undone))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _without_password(place: str) -> tuple[str, str]:
    """An address without its password, and that, "" where there is none; a file as it is."""
    if "://" not in place:
        return place, ""
    try:
        url = sql.make_url(place)
    except (SQLAlchemyError, ValueError):  # whose message may hold the password
        raise InputError(
            "the store's address cannot be read; it looks like postgresql://user@host/database."
        ) from None
    if "password" in url.query:
        raise InputError("write the password as postgresql://user:password@host/database.")
    plain = sql.URL.create(
        url.drivername, url.username, None, url.host, url.port, url.database, url.query
    )
    return plain.render_as_string(), str(url.password or "")


def _first(error: Exception) -> str:
    return str(error).splitlines()[0]


def _durable(connection: Any, _: Any) -> None:
    """Readers do not wait for writers, and what is committed is on the disk."""
    connection.isolation_level = None  # transactions begin where `_writing` says
    cursor = connection.cursor()
    for pragma in ("busy_timeout=10000", "journal_mode=WAL", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
