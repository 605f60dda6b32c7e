"""Sessions of browsers: they end after a time without activity, after a week, or by log-out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sql

from forametric.server.access.database import AccessDatabase, sessions
from forametric.server.access.secrets import digest, equal, random_secret

IDLE_SECONDS = 12 * 3600
LONGEST_SECONDS = 7 * 24 * 3600
ACTIVITY_SECONDS = 60  # how exactly the time of the last activity is kept


@dataclass(frozen=True)
class Session:
    """The session of a browser, and the user who logged in."""

    user: str
    page_key: str
    active: float

    def has_key(self, key: str) -> bool:
        """Whether a request has the key that only the page knows."""
        return equal(digest(key), self.page_key)


class Sessions:
    """Sessions, by random ids of which only hashes are stored.

    A session has two secrets. The cookie opens the page and its images. A browser sends it to
    every port of the host, so it is not enough for anything else: the page also sends a key, which
    it keeps where pages of other ports cannot read it.
    """

    def __init__(self, database: AccessDatabase, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock

    def begin(self, user: str) -> tuple[str, str]:
        """Begin a session; its cookie and its key."""
        cookie, key, now = random_secret(), random_secret(), self._clock()
        values = {"cookie": digest(cookie), "page_key": digest(key), "user": user}
        ended = sql.not_(self._is_valid(now))
        with self._database.writing() as database:
            database.execute(sql.delete(sessions).where(ended))
            database.execute(sql.insert(sessions).values(**values, began=now, active=now))
        return cookie, key

    def find(self, cookie: str) -> Session | None:
        """The session with this cookie, unless it has ended."""
        chosen = (sessions.c.cookie == digest(cookie)) & self._is_valid(self._clock())
        columns = (sessions.c.user, sessions.c.page_key, sessions.c.active)
        with self._database.reading() as database:
            row = database.execute(sql.select(*columns).where(chosen)).first()
        return Session(row.user, row.page_key, row.active) if row else None

    def touch(self, cookie: str, session: Session) -> None:
        """Note that a session is in use."""
        now = self._clock()
        if now - session.active < ACTIVITY_SECONDS:
            return
        chosen = sessions.c.cookie == digest(cookie)
        with self._database.writing() as database:
            database.execute(sql.update(sessions).where(chosen).values(active=now))

    def end(self, cookie: str) -> None:
        """End a session."""
        with self._database.writing() as database:
            database.execute(sql.delete(sessions).where(sessions.c.cookie == digest(cookie)))

    def _is_valid(self, now: float) -> sql.ColumnElement[bool]:
        return sql.and_(
            sessions.c.active > now - IDLE_SECONDS, sessions.c.began > now - LONGEST_SECONDS
        )
