"""Following a run that another thread waits for: its tokens as they come, and a way to stop it."""

import threading
from collections.abc import Callable

from glmkit.engine import Ticket

__all__ = ["Watch"]


class Watch:
    """Given to `LM.run`, hears every token of the answer, on the engine's thread, and stops the run from any."""

    def __init__(self, heard: Callable[[int], None] = lambda token: None):
        self._heard, self._lock = heard, threading.Lock()
        self._ticket: Ticket | None = None
        self._stopped = False

    @property
    def stopped(self) -> bool:
        return self._stopped

    def stop(self) -> None:
        """End the answer here, or as soon as it begins; the run is what came so far."""
        with self._lock:
            self._stopped, ticket = True, self._ticket
        if ticket is not None:
            ticket.cancel("interrupted")

    def beside(self, feed: Callable[[int], object]) -> Callable[[int], None]:
        """What feeds both."""

        def both(token: int) -> None:
            feed(token)
            self._heard(token)

        return both

    def follow(self, ticket: Ticket) -> None:
        """What `stop` ends."""
        with self._lock:
            self._ticket, stopped = ticket, self._stopped
        if stopped:
            ticket.cancel("interrupted")
