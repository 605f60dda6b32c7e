"""Text that tables, JSON or a message of one line cannot hold as it is."""

from __future__ import annotations

import re

# Half of a surrogate pair. In a file name it is Python's sign for a byte that is not UTF-8.
SURROGATE = re.compile("[\\ud800-\\udfff]")


def is_valid_text(name: str) -> bool:
    """Whether a name can be written as UTF-8."""
    return SURROGATE.search(name) is None


def printable(name: str) -> str:
    r"""A name with `\x…` for the bytes that are not UTF-8.

    >>> printable("n\udce9.png")
    'n\\xe9.png'
    """
    return SURROGATE.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", name)


def first_line(error: Exception) -> str:
    """What an error of another library says, in one line."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
