"""Text from outside (names, paths, messages) made fit for a terminal, a figure or JSON."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

# Characters that a terminal would obey instead of show: controls, the formatting characters that
# reorder or hide text, separators of lines, and the halves of bytes that are not UTF-8.
_OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
LONGEST = 48  # characters of a name in a figure
LONGEST_REASON = 200  # characters of a library's message, which may quote a damaged file
_JOINERS = "\u200c\u200d"  # needed to write Persian, Hindi and others; they reorder nothing
# Half of a surrogate pair. In a file name it is Python's sign for a byte that is not UTF-8.
_SURROGATE = re.compile("[\\ud800-\\udfff]")


def is_valid_text(name: str) -> bool:
    """Whether a name can be written as UTF-8."""
    return _SURROGATE.search(name) is None


def printable(text: object, keep: str = "") -> str:
    r"""Text in which characters that a terminal would obey are visible as escapes.

    Parameters
    ----------
    keep : str
        Characters to leave, such as a line's end in text of several lines.

    >>> printable("core\x1b[31m \u202ered\n")
    'core\\x1b[31m \\u202ered\\n'
    """
    text = str(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _escape(c) if unicodedata.category(c) in _OBEYED and c not in _JOINERS + keep else c
        for c in text
    )


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(character) & 0xFF:02x}"
    return character.encode("unicode_escape").decode("ascii")


def literal(name: object, longest: int = LONGEST) -> str:
    r"""A name as matplotlib draws it literally, on one line, cut where it is very long.

    >>> literal("100 $ of $x_1$")
    '100 \\$ of \\$x_1\\$'
    """
    text = printable(name)
    text = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return text.replace("$", r"\$")


def to_json(data: Any, *, indent: int | None = 2, ascii_only: bool = False) -> str:
    """JSON as the standard has it: what is not a finite number is null.

    Parameters
    ----------
    data : object
        Mappings, sequences, numbers (of numpy too), paths; anything else is written as its text.

    >>> to_json({"f1": float("nan"), "taxa": ("a", "b")}, indent=None)
    '{"f1": null, "taxa": ["a", "b"]}'
    """
    text = json.dumps(_plain(data), indent=indent, ensure_ascii=ascii_only, allow_nan=False)
    # Half of a surrogate pair, which stands for a byte in a path, has no UTF-8, but an escape.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def first_line(error: Exception) -> str:
    """What an error of another library says, in one line that can be printed."""
    said = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return printable(said if len(said) <= LONGEST_REASON else f"{said[:LONGEST_REASON]}…")


def _plain(value: Any) -> Any:
    """The value in terms of JSON."""
    if value is None or isinstance(value, str | bool):
        return value
    if hasattr(value, "tolist"):  # a number or an array of numpy
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value
    text = str(value)
    return None if text in ("<NA>", "NaT") else text
