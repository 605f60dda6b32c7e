"""The database of a server's accounts: an SQLite file that only its owner can read."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import SQLAlchemyError

from forametric._typing import PathLike
from forametric.errors import InputError, NotFoundError

VERSION = 1
PRIVATE = 0o600
logger = logging.getLogger(__name__)

_tables = sql.MetaData()
metadata = sql.Table(
    "accounts_metadata",
    _tables,
    sql.Column("version", sql.Integer, nullable=False),
)
users = sql.Table(
    "users",
    _tables,
    sql.Column("key", sql.String, primary_key=True),  # the name without regard to case
    sql.Column("name", sql.String, nullable=False),
    sql.Column("role", sql.String, nullable=False),
    sql.Column("password", sql.String),  # Argon2id; null for one who has only tokens
    sql.Column("created", sql.String, nullable=False),
)
tokens = sql.Table(
    "tokens",
    _tables,
    sql.Column("hash", sql.String, primary_key=True),
    sql.Column("user", sql.ForeignKey("users.key", ondelete="CASCADE"), nullable=False, index=True),
    sql.Column("label", sql.String, nullable=False),
    sql.Column("created", sql.String, nullable=False),
    sql.Column("ends", sql.Float, nullable=False),  # seconds since 1970
    sql.UniqueConstraint("user", "label"),
)
sessions = sql.Table(
    "sessions",
    _tables,
    sql.Column("cookie", sql.String, primary_key=True),  # hashes
    sql.Column("page_key", sql.String, nullable=False),
    sql.Column("user", sql.String, nullable=False, index=True),  # "" without accounts
    sql.Column("began", sql.Float, nullable=False),  # seconds since 1970
    sql.Column("active", sql.Float, nullable=False),
)
log = sql.Table(
    "log",
    _tables,
    sql.Column("number", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("time", sql.String, nullable=False),
    sql.Column("user", sql.String, nullable=False),
    sql.Column("address", sql.String, nullable=False),
    sql.Column("project", sql.String, nullable=False),
    sql.Column("action", sql.String, nullable=False),
    sql.Column("detail", sql.String, nullable=False),
    sqlite_autoincrement=True,
)
_TRIGGERS = [
    f"CREATE TRIGGER IF NOT EXISTS no_{change}_log BEFORE {change} ON log "
    f"BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END"
    for change in ("update", "delete")
]


class AccessDatabase:
    """The database; `AccessDatabase(…)` creates it, `AccessDatabase.open` requires it.

    Raises
    ------
    InputError
        When it cannot be opened, is a database of something else, or was made by a newer version.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._make_private()
        url = sql.URL.create("sqlite", database=os.fspath(self.path.absolute()))
        self._engine = sql.create_engine(url)
        sql.event.listen(self._engine, "connect", _configure)
        with self._refusing():
            with self.writing() as database:
                self._create(database)
            with self.reading() as database:  # readers do not wait for writers
                database.exec_driver_sql("PRAGMA journal_mode=WAL")

    @classmethod
    def open(cls, path: PathLike) -> AccessDatabase:
        """Open a database that exists; `NotFoundError` when there is none."""
        if not Path(path).is_file():
            raise NotFoundError(
                f"there are no accounts in {path}; make the first one with: forametric users add "
                f'"YOUR NAME" --role admin --accounts {path}'
            )
        return cls(path)

    @classmethod
    def temporary(cls) -> AccessDatabase:
        """A database that is removed when it is closed."""
        folder = tempfile.TemporaryDirectory(prefix="forametric-", ignore_cleanup_errors=True)
        database = cls(Path(folder.name) / "sessions.sqlite")
        database._temporary = folder
        return database

    def _make_private(self) -> None:
        """Create the file, so that SQLite gives its other files the same permissions."""
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, PRIVATE))
        except OSError as error:
            raise InputError(f"{self.path} cannot be used: {error.strerror}.") from None
        if os.name == "posix" and self.path.stat().st_mode & 0o077:
            logger.warning("others can read %s; run: chmod 600 %s", self.path, self.path)

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{self.path} cannot be used for accounts: {reason}") from None

    def _create(self, database: sql.Connection) -> None:
        found = set(sql.inspect(database).get_table_names())
        if found and metadata.name not in found:
            raise InputError(f"{self.path} is a database of something else; name another file.")
        _tables.create_all(database)
        for trigger in _TRIGGERS:
            database.exec_driver_sql(trigger)
        version = database.execute(sql.select(metadata.c.version)).scalar()
        if version is None:
            database.execute(sql.insert(metadata).values(version=VERSION))
        elif version > VERSION:
            raise InputError(
                f"{self.path} has version {version}; this Forametric reads {VERSION}. Update it."
            )

    @contextmanager
    def reading(self) -> Iterator[sql.Connection]:
        """A connection to read with."""
        with self._engine.connect() as database:
            yield database

    @contextmanager
    def writing(self) -> Iterator[sql.Connection]:
        """A transaction during which nobody else writes."""
        with self._engine.begin() as database:
            database.exec_driver_sql("BEGIN IMMEDIATE")
            yield database

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()
        if self._temporary:
            self._temporary.cleanup()


def _configure(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where `writing` begins them
    cursor = connection.cursor()
    for pragma in ("busy_timeout=10000", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
