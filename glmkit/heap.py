"""The heap of the C library, which XLA computes in on CPU: what a step frees is kept for the next one.

glibc takes large pieces from the system and gives them back when they are freed. Every training step would then begin
with gigabytes that the system fills with zeros first: up to a third of its time (`glmkit bench train`, with and without
GLMKIT_KEEP_HEAP=0). What it costs is memory: where smaller pieces have been cut from the free one, a step's is taken a
second time.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["give_back", "given_back", "keep"]

# Of malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep() -> None:
    """Have what is freed stay with the process, from one heap for all threads, until `give_back`.

    To be called before JAX starts its threads, which keep the heaps that they began with. Does nothing elsewhere than
    under glibc, nor with GLMKIT_KEEP_HEAP=0.
    """
    libc = _libc()
    if os.environ.get("GLMKIT_KEEP_HEAP") != "0" and hasattr(libc, "mallopt"):
        libc.mallopt(_ARENA_MAX, 1)
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, -1)


def give_back() -> None:
    """Return to the system what is free."""
    libc = _libc()
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


@contextmanager
def given_back() -> Iterator[None]:
    """Around a run of many steps: what they kept is returned when it ends, whatever ends it."""
    try:
        yield
    finally:
        give_back()


def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None
