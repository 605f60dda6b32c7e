"""Secrets: random ones that are stored as hashes, and passwords."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
import unicodedata
from collections.abc import Callable

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from forametric.errors import InputError

MIN_PASSWORD = 12  # characters
MAX_PASSWORD = 1000
CODE_SECONDS = 600
MOST_HASHINGS = threading.Semaphore(2)  # each takes 64 MiB
_hasher = PasswordHasher()  # Argon2id, RFC 9106


def random_secret() -> str:
    """A secret of 256 random bits that cannot be guessed."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """What is stored of a random secret; one that can be guessed needs `hash_password`."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def equal(one: str, other: str) -> bool:
    """Whether two secrets are equal; how long it takes does not tell how far they agree."""
    return hmac.compare_digest(digest(one), digest(other))


def hash_password(password: str) -> str:
    """The Argon2id hash of a password.

    Raises
    ------
    InputError
        When it is too short or too long.
    """
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise InputError(
            f"a password needs at least {MIN_PASSWORD} and at most {MAX_PASSWORD} characters; "
            f"some words in a row are easy to remember."
        )
    with MOST_HASHINGS:
        return _hasher.hash(_normal(password))


def verify_password(password: str, hashed: str | None) -> bool:
    """Whether a password is right; without a hash, wrong after the same time."""
    if len(password) > MAX_PASSWORD:
        return False
    with MOST_HASHINGS:
        try:
            return _hasher.verify(hashed or _dummy(), _normal(password)) and hashed is not None
        except (VerificationError, InvalidHashError):
            return False


def _normal(password: str) -> bytes:
    """The same bytes, however a keyboard composes an accent."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")


_dummies: list[str] = []


def _dummy() -> str:
    """A hash that no password has, made once."""
    if not _dummies:
        _dummies.append(_hasher.hash(random_secret()))
    return _dummies[0]


class Codes:
    """One-time codes for links: each opens one session, and none after ten minutes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ends: dict[str, float] = {}

    def new(self) -> str:
        """Another code."""
        code, now = random_secret(), self._clock()
        with self._lock:
            self._ends = {known: end for known, end in self._ends.items() if end > now}
            self._ends[digest(code)] = now + CODE_SECONDS
        return code

    def spend(self, code: str) -> bool:
        """Whether a code is valid; afterwards it is not."""
        with self._lock:
            return self._ends.pop(digest(code), 0.0) > self._clock()
