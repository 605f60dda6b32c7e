"""Damage files at random, from a seed, and try what reads them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

from forametric.errors import ForametricError

INSERTED = (b'"', b"\0", b"\xff", b"{", b"]", b"<", b",", b"9e999")


def mutations(whole: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Copies of a file with a few bytes changed, removed, repeated or cut off."""
    rng = random.Random(seed)
    for _ in range(count):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 5, 20))):
            start = rng.randrange(len(data)) if data else 0
            end = start + rng.choice((1, 1, 4, 40))
            kind = rng.randrange(5)
            if kind == 0:
                data[start:end] = rng.randbytes(len(data[start:end]))
            elif kind == 1:
                del data[start:end]
            elif kind == 2:
                data[start:start] = data[start:end] * rng.choice((1, 2, 50))
            elif kind == 3:
                data[start:start] = rng.choice(
                    (b'"', b"\0", b"\xff", b"{", b"]", b"<", b",", b"9e999")
                )
            else:
                del data[start:]
        yield bytes(data)


def unexpected_errors(
    path: Path, read: Callable[[Path], object], count: int = 150, seed: int = 0
) -> list[str]:
    """What `read` raised for damaged copies of a file, other than errors meant for users.

    The file is replaced by each copy in turn, and is whole again at the end.
    """
    whole = path.read_bytes()
    found = []
    for number, data in enumerate(mutations(whole, count, seed)):
        path.write_bytes(data)
        try:
            read(path)
        except ForametricError as error:
            if "\n" in str(error):
                found.append(f"{number}: several lines: {error}")
        except Exception as error:
            found.append(f"{number}: {type(error).__name__}: {error}")
    path.write_bytes(whole)
    return found
