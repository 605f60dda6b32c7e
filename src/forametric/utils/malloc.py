"""Settings of glibc's memory allocator for servers."""

from __future__ import annotations

import ctypes
import platform

MMAP_THRESHOLD, ARENA_MAX = -3, -8  # malloc.h
LARGE, ARENAS = 1 << 20, 2


def return_freed_memory() -> None:
    """Let memory go back to the system when it is freed; without glibc, do nothing.

    By default the blocks that glibc keeps for itself grow with the largest block that was ever
    freed, in up to eight heaps for each core. The memory of a server with many threads rises for
    an hour, although no object is left.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(MMAP_THRESHOLD, LARGE)
    libc.mallopt(ARENA_MAX, ARENAS)
