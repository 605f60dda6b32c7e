"""Settings of glibc's memory allocator: for training, and for servers. Without glibc, none."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -3, -4, -8  # malloc.h
LARGE, ARENAS = 1 << 20, 2


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


@contextmanager
def tuned_malloc() -> Iterator[None]:
    """Let glibc keep freed memory for the next step, and restore its defaults at the end.

    A step frees and requests hundreds of large blocks. Returning each to the system, which clears
    its pages, took a quarter of the time of a step on two CPU cores.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        libc.mallopt(MMAP_MAX, 65536)  # glibc's defaults
        libc.mallopt(TRIM_THRESHOLD, 128 * 1024)
        libc.malloc_trim(0)


def return_freed_memory() -> None:
    """Let memory go back to the system when it is freed.

    By default the blocks that glibc keeps for itself grow with the largest block that was ever
    freed, in up to eight heaps for each core. The memory of a server with many threads rises for
    an hour, although no object is left.
    """
    libc = _glibc()
    if libc is not None:
        libc.mallopt(MMAP_THRESHOLD, LARGE)
        libc.mallopt(ARENA_MAX, ARENAS)
