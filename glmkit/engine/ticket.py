"""A request in an engine's hands: who hears of its tokens, and which pages hold what is computed of it."""

import threading
from collections.abc import Callable, Hashable

import numpy as np
from jaxtyping import Bool

from glmkit.engine.prefix import Lease
from glmkit.engine.request import FinishReason, Request
from glmkit.engine.steps import Drawn

__all__ = ["Reader", "Ticket"]


class Reader:
    """Whoever reads the tokens of one or several requests, which run at most `ahead` tokens before it.

    `wake` is called when they may go on.
    """

    def __init__(self, ahead: int, wake: Callable[[], None]):
        self._ahead, self._wake = ahead, wake
        self._unread, self._lock = 0, threading.Lock()

    @property
    def is_behind(self) -> bool:
        return self._unread > self._ahead

    def give(self) -> None:
        with self._lock:
            self._unread += 1

    def take(self) -> None:
        """A token was read."""
        with self._lock:
            self._unread -= 1
            caught_up = self._unread == self._ahead
        if caught_up:
            self._wake()


class Ticket:
    """What `Engine.submit` returns. `feed` hears every token and `ended` the end, both on the engine's thread."""

    def __init__(
        self,
        request: Request,
        feed: Callable[[int], None] | None = None,
        ended: Callable[[], None] | None = None,
        reader: Reader | None = None,
        wake: Callable[[], None] = lambda: None,
    ):
        self.request, self.reader = request, reader
        self._feed, self._ended, self._wake = feed, ended, wake
        self.lock = threading.RLock()
        """Held while a step's outcome is taken, so that whoever ends the request finds all of a step or nothing."""
        self._over, self._said = threading.Event(), threading.Event()
        self.part = 0  # of the pool
        self.lease: Lease | None = None
        self.held = 0  # tokens whose keys and values are in the pages of the lease
        self.drafts: tuple[int, ...] = ()  # of what comes after the last token
        self.seen: Bool[np.ndarray, " V"] | None = None  # tokens that a repetition penalty counts

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end, so many seconds at most; whether it has come. An interrupt is heard while waiting."""
        return self._over.wait(timeout)

    def wait_for_answer(self) -> None:
        """Wait until nothing is added to the answer any more.

        Where it was cancelled, that is not for the step on its way, which may be compiled for long.
        """
        self._said.wait()

    def cancel(self, reason: FinishReason = "interrupted") -> None:
        """End the request, if it has not ended: from here on nothing is fed. Any thread may ask for it."""
        with self.lock:
            if self.request.finish_reason is None:
                self.request.finish(reason)
            self._said.set()
        self._wake()

    @property
    def is_over(self) -> bool:
        return self.request.finish_reason is not None

    @property
    def is_paused(self) -> bool:
        return self.reader is not None and self.reader.is_behind

    @property
    def probed_as(self) -> Hashable:
        """What tells requests apart that are not probed alike."""
        return None if self.request.probe is None else self.request.probe.probing.group

    @property
    def scope(self) -> Hashable:
        """What beside its tokens shapes the request's keys and values."""
        return None if self.request.probe is None else self.request.probe.scope

    @property
    def exact_scope(self) -> Hashable:
        """What shapes them to the last bit: the compiled steps too, which are others where more is kept."""
        return None if self.request.probe is None else self.request.probe.exact_scope

    @property
    def is_private(self) -> bool:
        """Whether what it computes is of no use to others, however alike."""
        return self.request.probe is not None and self.request.probe.is_private

    @property
    def may_share(self) -> bool:
        """Whether the request may take from pages that are known; where all is captured, all is computed."""
        return self.request.probe is None or not self.request.probe.captures

    def fed(self, size: int) -> tuple[int, ...]:
        """What a step of so many tokens takes: those that are certain, and drafts as far as they may be of use."""
        request = self.request
        certain = request.piece(self.held, self.held + size)
        left = request.max_tokens - len(request.tokens) - 1
        return *certain, *self.drafts[: max(0, min(size - len(certain), left))]

    def deliver(self, drawn: Drawn) -> None:
        """Take what was drawn, and pass it on. An error of whoever hears it ends the request."""
        with self.lock:
            if self.is_over:
                return
            token = self.request.accept(*drawn)
            if token is None:
                return
            if self.reader is not None:
                self.reader.give()
            try:
                if self._feed is not None:
                    self._feed(token)
            except BaseException as error:  # or the engine's thread would end
                self.request.finish_reason = None  # whatever the token ended
                self.request.fail(error)

    def close(self) -> None:
        """The engine has done with it."""
        self._over.set()
        self._said.set()
        if self._ended is not None:
            self._ended()
