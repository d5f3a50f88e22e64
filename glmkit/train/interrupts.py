"""Ctrl-C between the steps of a run, never within one."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

__all__ = ["Interrupts"]


class Interrupts:
    """Ctrl-C waits for the end of a step, so that a step is done or not done; then `react` is called before it strikes.

    Does nothing outside the main thread, where Python delivers no signals.
    """

    def __init__(self, react: Callable[[], None]):
        self._react, self._in_step, self._asked = react, False, False

    def __enter__(self) -> Self:
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._main:
            signal.signal(signal.SIGINT, self._previous)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Ctrl-C in this block strikes at its end."""
        self._in_step = True
        try:
            yield
        finally:
            self._in_step = False
        if self._asked:
            self._strike()

    def _handle(self, *_: object) -> None:
        self._asked = True
        if not self._in_step:
            self._strike()

    def _strike(self) -> None:
        self._asked = False
        self._react()
        raise KeyboardInterrupt
