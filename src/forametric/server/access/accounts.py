"""Accounts with a role, a password, and tokens for scripts; or one user without an account."""

from __future__ import annotations

import time
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import sqlalchemy as sql

from forametric.errors import InputError, NotFoundError
from forametric.server.access.database import AccessDatabase, sessions, tokens, users
from forametric.server.access.roles import Account, Role
from forametric.server.access.secrets import (
    digest,
    equal,
    hash_password,
    random_secret,
    verify_password,
)

MAX_NAME = 60
TOKEN_PREFIX = "forametric_"  # by which scanners for secrets find a token that was published
DAY = 24 * 3600
RANDOM_TOKEN = 32  # characters; a token of this length is taken to be random


class People(Protocol):
    """Who may log in.

    Attributes
    ----------
    have_names : bool
        Whether they have accounts of their own.
    have_token : bool
        Whether a token can be entered in place of a name and a password.
    can_guess_token : bool
        Whether a token may be so short that it can be guessed.
    """

    have_names: bool
    have_token: bool
    can_guess_token: bool

    def verify(self, name: str, password: str) -> Account | None:
        """The account, if the password is right."""

    def by_token(self, token: str) -> Account | None:
        """The account to which a token belongs."""

    def find(self, name: str) -> Account | None:
        """The account of this name; None when it was removed."""


class SingleUser:
    """Whoever has the link, or the token if there is one; names are typed in the page."""

    have_names = False

    def __init__(self, token: str = "") -> None:
        self._token, self.have_token = token, bool(token)
        self.can_guess_token = len(token) < RANDOM_TOKEN
        self._account = Account("", Role.CURATOR)

    def verify(self, name: str, password: str) -> Account | None:
        """The one account, if the password is the token."""
        return self.by_token(password)

    def by_token(self, token: str) -> Account | None:
        """The one account, if the token is right."""
        return self._account if self._token and equal(token, self._token) else None

    def find(self, name: str) -> Account | None:
        """The one account."""
        return self._account


@dataclass(frozen=True)
class UserRow:
    """A user as listed: tokens by their labels, with the day on which they end."""

    name: str
    role: Role
    has_password: bool
    created: str
    tokens: dict[str, str]


class Accounts:
    """The users of a server.

    Examples
    --------
    >>> accounts = Accounts(AccessDatabase.temporary())
    >>> accounts.add("K. Lee", Role.REVIEWER, "three words in a row")
    Account(name='K. Lee', role=<Role.REVIEWER: 'reviewer'>)
    >>> accounts.verify("k. lee", "three words in a row").name
    'K. Lee'
    >>> accounts.verify("K. Lee", "wrong") is None
    True
    """

    have_names, have_token = True, False
    can_guess_token = False

    def __init__(self, database: AccessDatabase) -> None:
        self.database = database

    def add(self, name: str, role: Role, password: str | None = None) -> Account:
        """Add a user; without a password, one who has only tokens.

        Raises
        ------
        InputError
            When the name is taken or cannot be used, or the password is too short.
        """
        name = checked_name(name)
        hashed = None if password is None else hash_password(password)
        values = {"key": account_key(name), "name": name, "role": role, "password": hashed}
        with self.database.writing() as database:
            if database.execute(_user(name)).first():
                raise InputError(f"there is a user {name} already.")
            database.execute(sql.insert(users).values(**values, created=_now()))
        return Account(name, role)

    def remove(self, name: str) -> Account:
        """Remove a user with sessions and tokens; decisions stay. Raises `NotFoundError`."""
        account = self.required(name)
        with self.database.writing() as database:
            database.execute(sql.delete(users).where(users.c.key == account_key(name)))
            database.execute(sql.delete(sessions).where(sessions.c.user == account.name))
        return account

    def set_role(self, name: str, role: Role) -> Account:
        """Give a user another role, at once; `NotFoundError` when there is no such user."""
        account = self.required(name)
        with self.database.writing() as database:
            database.execute(
                sql.update(users).where(users.c.key == account_key(name)).values(role=role)
            )
        return Account(account.name, role)

    def set_password(self, name: str, password: str) -> Account:
        """Give a user another password, and end their sessions.

        Raises
        ------
        InputError
            When the password is too short, or (`NotFoundError`) there is no such user.
        """
        account, hashed = self.required(name), hash_password(password)
        chosen = users.c.key == account_key(name)
        with self.database.writing() as database:
            database.execute(sql.update(users).where(chosen).values(password=hashed))
            database.execute(sql.delete(sessions).where(sessions.c.user == account.name))
        return account

    def add_token(self, name: str, label: str, days: int) -> str:
        """Make a token for a user's scripts. It is not stored, only its hash is.

        Raises
        ------
        InputError
            When the user has a token of this label, or (`NotFoundError`) there is no such user.
        """
        self.required(name)
        token = TOKEN_PREFIX + random_secret()
        values = {"hash": digest(token), "user": account_key(name), "label": checked_name(label)}
        chosen = (tokens.c.user == values["user"]) & (tokens.c.label == values["label"])
        with self.database.writing() as database:
            if database.execute(sql.select(tokens).where(chosen)).first():
                raise InputError(
                    f"{name} has a token {label!r} already; revoke it, or name another."
                )
            ends = time.time() + days * DAY
            database.execute(sql.insert(tokens).values(**values, created=_now(), ends=ends))
        return token

    def revoke_token(self, name: str, label: str) -> None:
        """Remove a token; `NotFoundError` when the user has none of this label."""
        chosen = (tokens.c.user == account_key(name)) & (tokens.c.label == label)
        with self.database.writing() as database:
            if not database.execute(sql.delete(tokens).where(chosen)).rowcount:
                raise NotFoundError(f"{name} has no token {label!r}.")

    def verify(self, name: str, password: str) -> Account | None:
        """The account, if the password is right; for an unknown name the time is the same."""
        with self.database.reading() as database:
            row = database.execute(_user(name)).first()
        right = verify_password(password, row.password if row else None)
        return Account(row.name, Role(row.role)) if row and right else None

    def by_token(self, token: str) -> Account | None:
        """The account to which a token belongs, unless the token has ended."""
        chosen = (tokens.c.hash == digest(token)) & (tokens.c.ends > time.time())
        query = sql.select(users.c.name, users.c.role).join(tokens).where(chosen)
        with self.database.reading() as database:
            row = database.execute(query).first()
        return Account(row.name, Role(row.role)) if row else None

    def find(self, name: str) -> Account | None:
        """The account of this name."""
        with self.database.reading() as database:
            row = database.execute(_user(name)).first()
        return Account(row.name, Role(row.role)) if row else None

    def required(self, name: str) -> Account:
        """The account of this name; `NotFoundError` when there is none."""
        account = self.find(name)
        if account is None:
            raise NotFoundError(f"there is no user {name}.")
        return account

    def list(self) -> list[UserRow]:
        """All users, by name."""
        with self.database.reading() as database:
            found = database.execute(sql.select(users).order_by(users.c.key)).all()
            owned = database.execute(sql.select(tokens).order_by(tokens.c.label)).all()
        return [
            UserRow(
                user.name,
                Role(user.role),
                user.password is not None,
                user.created,
                {token.label: _day(token.ends) for token in owned if token.user == user.key},
            )
            for user in found
        ]


def checked_name(name: str) -> str:
    """A name with single blanks and composed accents.

    Raises
    ------
    InputError
        When it is empty, too long, or has characters that a reviewer's name cannot have.

    >>> checked_name(" K.  Lee ")
    'K. Lee'
    """
    name = " ".join(unicodedata.normalize("NFC", name).split())
    if not 0 < len(name) <= MAX_NAME or not name.isprintable() or set(name) & set("<>|"):
        raise InputError(f"{name!r} cannot be a name: 1 to {MAX_NAME} characters, without < > |.")
    return name


def account_key(name: str) -> str:
    """What names of one account have in common, however they are written.

    >>> account_key("K.  ＬEE")
    'k. lee'
    """
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _user(name: str) -> sql.Select[tuple[str, str, str, str | None, str]]:
    return sql.select(users).where(users.c.key == account_key(name))


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
