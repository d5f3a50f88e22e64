"""Ctrl-C around what has to be done or not done, such as an update or a checkpoint; never within it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["unbroken"]


@contextmanager
def unbroken(*, but_twice: bool = False) -> Iterator[None]:
    """Ctrl-C in this block strikes at its end; with `but_twice` the second strikes at once. Blocks may be nested.

    Does nothing outside the main thread, where Python delivers no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = 0

    def note(*_: object) -> None:
        nonlocal asked
        asked += 1
        if but_twice and asked > 1:
            asked = 0
            _strike(before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        _strike(before)


def _strike(handler: Any) -> None:
    """Have Ctrl-C do what it did before the block."""
    signal.signal(signal.SIGINT, handler)
    signal.raise_signal(signal.SIGINT)
