"""What comes faster than a browser takes messages, handed on in batches."""

import logging
import threading
from collections.abc import Callable
from typing import Any, Self

__all__ = ["Paced"]

_log = logging.getLogger(__name__)
_SECONDS = 0.04  # 25 messages a second; a Jupyter server drops those beyond some 300


class Paced:
    """Hands what is added to `say`, all since the last time, from a thread of its own; the rest at the end.

    What `say` raises is logged, and it is called again with what comes next.
    """

    def __init__(self, say: Callable[[list[Any]], None], seconds: float = _SECONDS):
        self._say, self._seconds = say, seconds
        self._waiting: list[Any] = []
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="glmkit paced", daemon=True)

    def add(self, item: Any) -> None:
        """Any thread may."""
        with self._lock:
            self._waiting.append(item)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        over = False
        while not over:
            over = self._over.wait(self._seconds)
            with self._lock:
                batch, self._waiting = self._waiting, []
            if batch:
                try:
                    self._say(batch)
                except Exception:  # what comes next may be told all the same
                    _log.exception("%d that came were not told", len(batch))
