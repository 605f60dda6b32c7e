"""Roles, and who makes a request."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from forametric.errors import ForametricError


class ForbiddenError(ForametricError):
    """Somebody is logged in, but may not do this."""


class Role(StrEnum):
    """What a user may do; each role includes those before it."""

    VIEWER = "viewer"
    REVIEWER = "reviewer"
    CURATOR = "curator"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Whether it permits what the other one permits.

        >>> Role.CURATOR.includes(Role.REVIEWER), Role.VIEWER.includes(Role.REVIEWER)
        (True, False)
        """
        order = list(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True)
class Account:
    """Somebody who may log in.

    Attributes
    ----------
    name : str
        Empty on a server without accounts, where everybody types a name.
    """

    name: str
    role: Role


@dataclass
class Caller:
    """Who makes a request, and what the log of the server will say about it.

    Attributes
    ----------
    account : Account
    address : str
        The network address of the client.
    cookie : str
        The cookie of the session; empty for a request with a token.
    has_key : bool
        Whether the request comes from the page, which knows the key of the session, or has a
        token. A request of the browser itself, for an image, has the cookie alone.
    action, detail : str
        What is done. The log has no entry where `action` is empty.
    """

    account: Account
    address: str
    cookie: str = ""
    has_key: bool = True
    action: str = ""
    detail: str = ""

    def acting_as(self, reviewer: str) -> str:
        """The name under which something is recorded: with an account, only one's own.

        Raises
        ------
        ForbiddenError
            For the name of another.
        """
        own = self.account.name
        if own and reviewer != own:
            raise ForbiddenError(
                f"you are logged in as {own}, and cannot decide under the name {reviewer}."
            )
        return reviewer
