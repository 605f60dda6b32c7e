"""Commands for the person who runs a server: its users, their tokens, and its log."""

from __future__ import annotations

import getpass
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from forametric.cli import _options as opt
from forametric.cli._output import make_table, say
from forametric.utils.text import to_json

if TYPE_CHECKING:
    from forametric.server.access.accounts import Accounts

users = typer.Typer(
    no_args_is_help=True,
    help="The people who may use a server, and its log.\n\n"
    'Example: forametric users add "K. Lee" --role curator --accounts accounts.sqlite',
)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (add, role, password, remove, token, revoke):
        users.command(rich_help_panel=opt.REVIEW)(command)
    users.command("list", rich_help_panel=opt.REVIEW)(list_users)
    users.command("log", rich_help_panel=opt.REVIEW)(show_log)
    app.add_typer(users, name="users", rich_help_panel=opt.REVIEW)


def add(
    name: opt.UserName,
    role: opt.UserRole = opt.Role.reviewer,
    accounts: opt.AccountsFile = opt.ACCOUNTS,
    no_password: opt.NoPassword = False,
) -> None:
    """Add a user. The password is asked for, or read from standard input.

    Example: forametric users add "K. Lee" --role curator --accounts accounts.sqlite
    """
    from forametric.server.access.accounts import Accounts
    from forametric.server.access.database import AccessDatabase
    from forametric.server.access.roles import Role

    known = Accounts(AccessDatabase(accounts))
    given = None if no_password else _new_password()
    added = known.add(name, Role(role.value), given)
    _note(known, "user added", f"{added.name}, {added.role}")
    say(f"{added.name} is added: {added.role}")


def role(name: opt.UserName, role: opt.NewRole, accounts: opt.AccountsFile = opt.ACCOUNTS) -> None:
    """Give a user another role; it counts at once.

    Example: forametric users role "K. Lee" curator --accounts accounts.sqlite
    """
    from forametric.server.access.roles import Role

    known = _open(accounts)
    changed = known.set_role(name, Role(role.value))
    _note(known, "role changed", f"{changed.name}, {changed.role}")
    say(f"{changed.name} is {changed.role} now")


def password(name: opt.UserName, accounts: opt.AccountsFile = opt.ACCOUNTS) -> None:
    """Give a user another password, and end their sessions.

    Example: forametric users password "K. Lee" --accounts accounts.sqlite
    """
    known = _open(accounts)
    known.required(name)
    changed = known.set_password(name, _new_password())
    _note(known, "password changed", changed.name)
    say(f"{changed.name} has another password")


def remove(name: opt.UserName, accounts: opt.AccountsFile = opt.ACCOUNTS) -> None:
    """Remove a user with sessions and tokens. Decisions stay.

    Example: forametric users remove "K. Lee" --accounts accounts.sqlite
    """
    known = _open(accounts)
    removed = known.remove(name)
    _note(known, "user removed", removed.name)
    say(f"{removed.name} is removed")


def token(
    name: opt.UserName,
    label: opt.TokenLabel,
    days: opt.TokenDays = 365,
    accounts: opt.AccountsFile = opt.ACCOUNTS,
) -> None:
    """Make a token with which a script acts for a user. It is shown once.

    Example: forametric users token "K. Lee" "nightly export" --days 90
    """
    known = _open(accounts)
    made = known.add_token(name, label, days)
    _note(known, "token made", f"{name}, {label}")
    say(made)


def revoke(
    name: opt.UserName, label: opt.TokenLabel, accounts: opt.AccountsFile = opt.ACCOUNTS
) -> None:
    """Remove a token.

    Example: forametric users revoke "K. Lee" "nightly export"
    """
    known = _open(accounts)
    known.revoke_token(name, label)
    _note(known, "token revoked", f"{name}, {label}")
    say(f"the token {label} of {name} is removed")


def list_users(accounts: opt.AccountsFile = opt.ACCOUNTS, as_json: opt.Json = False) -> None:
    """List the users with their roles and tokens.

    Example: forametric users list --accounts accounts.sqlite
    """
    rows = _open(accounts).list()
    if as_json:
        say(to_json([asdict(row) for row in rows], ascii_only=True))
        return
    cells = []
    for row in rows:
        tokens = "\n".join(f"{label}, until {end}" for label, end in row.tokens.items())
        cells.append((row.name, row.role, "yes" if row.has_password else "no", tokens))
    say(make_table(("name", "role", "password", "tokens"), cells))


def show_log(
    accounts: opt.AccountsFile = opt.ACCOUNTS,
    count: opt.LogCount = 50,
    as_json: opt.Json = False,
) -> None:
    """Show who did what, when and from where; the last entries.

    Example: forametric users log --count 20 --accounts accounts.sqlite
    """
    from forametric.server.access.log import AccessLog

    entries = AccessLog(_open(accounts).database).entries(count=count)[::-1]
    if as_json:
        say(to_json([asdict(entry) for entry in entries], ascii_only=True))
        return
    columns = ("time", "user", "address", "project", "action", "detail")
    say(make_table(columns, ([getattr(entry, name) for name in columns] for entry in entries)))


def _open(path: Path) -> Accounts:
    from forametric.server.access.accounts import Accounts
    from forametric.server.access.database import AccessDatabase

    return Accounts(AccessDatabase.open(path))


def _note(accounts: Accounts, action: str, detail: str) -> None:
    """Add an entry to the log: the person at this terminal has no account of the server."""
    from forametric.server.access.log import AccessLog

    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # an id without a name
        user = ""
    address = f"command line ({user})" if user else "command line"
    AccessLog(accounts.database).add(action, user="", address=address, detail=detail)


def _new_password() -> str:
    """A password from the terminal, where it is asked for twice, or a line of standard input."""
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")
