"""The database of a store: an SQLite file, or PostgreSQL; transactions, and its errors in words."""

from __future__ import annotations

import logging
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import SQLAlchemyError

from forametric._typing import PathLike
from forametric.errors import ForametricError, InputError, StoreBusyError

WAIT_SECONDS = 10  # for another writer, or for a server's answer to a new connection
CHECKPOINT_SECONDS = 0.2  # from a change in SQLite's log to the same in the file
WRITE_LOCK = 0x666F72616D  # PostgreSQL's number of the lock that writers hold: "foram"
# How a transaction begins during which nobody else writes. A server may be set up to answer before
# a transaction is on the disk; a decision that was answered must be on it.
BEGIN_WRITING = {
    "sqlite": ("BEGIN IMMEDIATE",),
    "postgresql": (
        f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'",
        "SET LOCAL synchronous_commit = on",
        f"SELECT pg_advisory_xact_lock({WRITE_LOCK})",
    ),
}
# Classes of PostgreSQL's error codes that another attempt may not meet: lost connections, conflicts
# of transactions, full disks, locks, and servers that stop.
PASSING = ("08", "40", "53", "55", "57")
logger = logging.getLogger(__name__)


class Database:
    """A database that is opened for one store; its methods may be called from several threads.

    Parameters
    ----------
    place : str or path
        A file, for SQLite, or `postgresql://user@host/database`.

    Attributes
    ----------
    place : str
        The same, without a password.
    url : str
        The same as given.
    file : Path or None
        The SQLite file.
    dialect : str
        `sqlite` or `postgresql`.

    Raises
    ------
    InputError
        When the address cannot be read, or names a folder.
    """

    def __init__(self, place: PathLike) -> None:
        self.url = str(place)
        self.place = _without_password(self.url)
        self.file = None if "://" in self.place else store_file(self.place)
        self.dialect = "postgresql" if self.file is None else "sqlite"
        # SQLite lets in by chance whoever waits for another thread; with a lock, nobody waits long.
        self._turns = threading.Lock()
        self._checkpoint: threading.Timer | None = None
        self._moving, self._closing = threading.Lock(), False
        self._identity = _identity(self.file)
        try:
            self._engine = _engine(self.url, self.file)
        except ModuleNotFoundError as error:
            raise InputError(
                f"{error.name} is not installed: pip install 'forametric[postgresql]'"
            ) from None
        except SQLAlchemyError as error:
            raise problem(self.place, error) from None
        self._finish = weakref.finalize(self, _close, self._engine)

    @contextmanager
    def reading(self) -> Iterator[sql.Connection]:
        """A connection to read with; errors are raised as sentences without the password."""
        with self._in_words(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sql.Connection]:
        """A transaction during which nobody else writes; at its end, it is on the disk.

        So the previous decisions are still the same when a row is added. Rows also become visible
        in the order of their numbers: a reader who asks for those after the last one misses none.
        """
        with self._turn(), self._in_words(), self._engine.begin() as connection:
            self._refuse_moved()
            for statement in BEGIN_WRITING[self.dialect]:
                connection.exec_driver_sql(statement)
            yield connection
        self._checkpoint_soon()

    def _refuse_moved(self) -> None:
        """Refuse to write to a file that has been deleted or replaced: nobody would find it."""
        if self.file and _identity(self.file) != self._identity:
            raise InputError(
                f"{self.place} was moved, replaced or deleted while it was in use, so nothing was "
                f"recorded; put it back."
            )

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise problem(self.place, error) from None
        except UnicodeDecodeError:  # in a message of SQLite, which quotes what is damaged
            raise _damaged(self.place, "text in it is not UTF-8") from None

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=WAIT_SECONDS):
            raise _busy(self.place)
        try:
            yield
        finally:
            self._turns.release()

    def use_log(self) -> None:
        """Let SQLite write to a log first, so that readers and a writer do not wait for each other.

        A copy of the file lacks what is still in the log, and does not show it. So the log is
        moved into the file a moment after each change.
        """
        if self.file:
            with self.reading() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")

    def _checkpoint_soon(self) -> None:
        """Move the log into the file in a moment, once for all that is written until then.

        The thread is not a daemon: a program that ends waits for it.
        """
        if self.file and self._checkpoint is None and not self._closing:
            self._checkpoint = threading.Timer(CHECKPOINT_SECONDS, self._move_log)
            self._checkpoint.start()

    def _move_log(self) -> None:
        with self._moving:
            self._checkpoint = None  # what is written from here on needs another one
            try:
                with self.reading() as connection:
                    row = connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").one()
            except ForametricError as error:
                logger.warning("copies of the store may lack the last decisions: %s", error)
                return
        _, in_log, moved = row
        if moved < in_log:  # a reader needs what is still in the file
            self._checkpoint_soon()

    def make_file(self) -> None:
        """Make an empty file for SQLite where there is none; `InputError` where it cannot be."""
        if self.file is not None:
            try:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                self.file.touch()
            except OSError as error:
                raise InputError(
                    f"{self.place} cannot be made or changed: {error.strerror}."
                ) from None
            self._identity = _identity(self.file)

    def check(self) -> None:
        """Read a whole SQLite file, and compare its tables with its indexes.

        A copy that was made while the file was being written may lack a part of a transaction.
        """
        if self.file is not None:
            with self.reading() as connection:
                found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
            if found != "ok":
                raise _damaged(self.place, str(found))

    def close(self) -> None:
        """Close the connections; the last one that is closed leaves a single file."""
        self._closing = True
        if (last := self._checkpoint) is not None:
            last.join()
        with self._moving:  # the log may be on its way already
            self._finish()


def store_file(place: str) -> Path:
    """The SQLite file of a store; `InputError` where a store can neither be nor be made."""
    if "\0" in place:
        raise InputError(f"{place!r} is not the name of a file.")
    file = Path(place).absolute()
    if file.is_dir():
        raise InputError(f"{place} is a folder; name a file for the decisions.")
    log = file.with_name(f"{file.name}-wal")
    if log.is_file() and log.stat().st_size and not (file.is_file() and file.stat().st_size):
        raise InputError(  # SQLite would delete the log, or apply it to whatever comes here
            f"{log} holds decisions, but {place} is missing; put it back, or move the log away."
        )
    return file


def _identity(file: Path | None) -> tuple[int, int] | None:
    """What tells a file from one that replaces it; None where there is none."""
    try:
        found = file.stat() if file else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found else None


def _engine(url: str, file: Path | None) -> sql.Engine:
    if file is not None:
        existing = (
            f"{file.as_uri()}?mode=rw"  # else SQLite would make a file in place of a lost one
        )
        engine = sql.create_engine(
            sql.URL.create("sqlite", database=str(file)),
            creator=lambda: sqlite3.connect(existing, uri=True, check_same_thread=False),
        )
        sql.event.listen(engine, "connect", _configure_sqlite)
        return engine
    address = sql.make_url(url).set(drivername="postgresql+psycopg")
    wait = {} if "connect_timeout" in address.query else {"connect_timeout": WAIT_SECONDS}
    # Connections that the server has closed since are found and replaced.
    return sql.create_engine(address, pool_pre_ping=True, connect_args=wait)


def _configure_sqlite(connection: Any, _: Any) -> None:
    """Wait for other writers; what is committed is on the disk."""
    connection.isolation_level = None  # transactions begin where `writing` begins them
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={WAIT_SECONDS}000", "synchronous=EXTRA"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _close(engine: sql.Engine) -> None:
    """Close all connections; an SQLite file that nobody else uses is left without a log.

    It can be copied then, and read where nothing can be written.
    """
    engine.dispose()
    if engine.dialect.name == "sqlite":
        with suppress(SQLAlchemyError, UnicodeDecodeError), engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout=0")
            if connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal":
                connection.exec_driver_sql("PRAGMA journal_mode=DELETE")
    engine.dispose()


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
    if url.get_backend_name() != "postgresql":
        raise InputError(f"{url.drivername}://… is neither a file nor a postgresql:// address.")
    if "password" in url.query:
        raise InputError("write the password as postgresql://user:password@host/database.")
    plain = sql.URL.create(
        url.drivername, url.username, None, url.host, url.port, url.database, url.query
    )
    return plain.render_as_string()


def problem(place: str, error: SQLAlchemyError) -> ForametricError:
    """The sentence for an error of the database: `StoreBusyError` if it may pass, or `InputError`.

    >>> problem("d.sqlite", SQLAlchemyError("no such table"))
    InputError('d.sqlite cannot be used for decisions: no such table')
    """
    cause = getattr(error, "orig", None) or error
    reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
    if isinstance(cause, sqlite3.Error):
        return _sqlite_problem(place, cause, reason)
    state = getattr(cause, "sqlstate", None) or PASSING[0]  # a lost connection has none
    passing = isinstance(error, sql.exc.OperationalError | sql.exc.TimeoutError)
    if passing and state.startswith(PASSING):
        return StoreBusyError(
            f"{place} does not answer as it should ({reason}); try again: what was recorded "
            f"already is not recorded twice."
        )
    return InputError(f"{place} cannot be used for decisions: {reason}")


def _sqlite_problem(place: str, cause: sqlite3.Error, reason: str) -> ForametricError:
    match getattr(cause, "sqlite_errorcode", 0) & 0xFF:  # the lowest byte is the kind
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return _busy(place)
        case sqlite3.SQLITE_FULL:
            return StoreBusyError(
                f"the disk of {place} is full, and nothing was recorded; free some space, and try "
                f"again."
            )
        case sqlite3.SQLITE_IOERR:  # of some steps, a full disk is reported in this way
            return StoreBusyError(
                f"the disk of {place} is full or fails ({reason}), and nothing was recorded; free "
                f"some space, and try again."
            )
        case sqlite3.SQLITE_READONLY:
            return InputError(f"{place} cannot be written: the file or its folder is read-only.")
        case sqlite3.SQLITE_CANTOPEN:
            return InputError(f"{place} cannot be opened, or its folder cannot be written.")
        case sqlite3.SQLITE_NOTADB:
            return InputError(f"{place} cannot be used for decisions: it is not an SQLite file.")
        case sqlite3.SQLITE_CORRUPT:
            return _damaged(place, reason)
    return InputError(f"{place} cannot be used for decisions: {reason}")


def _busy(place: str) -> StoreBusyError:
    return StoreBusyError(
        f"{place} is busy: another program has used it for {WAIT_SECONDS} seconds; try again."
    )


def _damaged(place: str, reason: str) -> InputError:
    return InputError(
        f"{place} is damaged ({reason}). A copy that was made while reviewers worked may be; copy "
        f"a store that is in use with: forametric backup"
    )
