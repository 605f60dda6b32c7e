"""File names that are not valid text, which tables and JSON cannot hold."""

from __future__ import annotations

import re

SURROGATE = re.compile("[\\ud800-\\udfff]")  # Python's sign for a byte that is not UTF-8


def is_valid_text(name: str) -> bool:
    """Whether a name can be written as UTF-8."""
    return SURROGATE.search(name) is None


def printable(name: str) -> str:
    r"""A name with `\x…` for the bytes that are not UTF-8.

    >>> printable("caf\udce9.png")
    'caf\\xe9.png'
    """
    return SURROGATE.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", name)
