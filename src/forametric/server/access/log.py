"""The log of the server: who did what, when and from where. Entries are only added."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sql

from forametric.server.access.database import AccessDatabase, log

MAX_DETAIL = 300


@dataclass(frozen=True)
class LogEntry:
    """One entry: number, time (UTC), user, network address, project, action, detail."""

    number: int
    time: str
    user: str
    address: str
    project: str
    action: str
    detail: str


class AccessLog:
    """The log. It never contains a password or a token."""

    def __init__(self, database: AccessDatabase) -> None:
        self._database = database

    def add(
        self, action: str, *, user: str, address: str, project: str = "", detail: str = ""
    ) -> None:
        """Add an entry."""
        values = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "user": user,
            "address": address,
            "project": project,
            "action": action,
            "detail": detail[:MAX_DETAIL],
        }
        with self._database.writing() as database:
            database.execute(sql.insert(log).values(values))

    def entries(self, before: int | None = None, count: int = 200) -> list[LogEntry]:
        """The last entries before a number, the last first."""
        query = sql.select(log).order_by(log.c.number.desc()).limit(count)
        if before is not None:
            query = query.where(log.c.number < before)
        with self._database.reading() as database:
            return [LogEntry(**row._asdict()) for row in database.execute(query)]
