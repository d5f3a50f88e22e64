"""Where tool calls wait for somebody to decide on them, and are made."""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from glmkit.agent import result_text
from glmkit.errors import RequestError
from glmkit.text import normalize_tools
from glmkit.widgets.chat_turns import ToolCard

__all__ = ["Declined", "Stopped", "ToolDesk"]


class Declined(Exception):
    """Somebody decided against a call; the model is told so."""


class Stopped(Exception):
    """The conversation was stopped before a call gave anything; the model is told so."""


class ToolDesk:
    """Serves the calls of one turn after the other; `changed` is called when a card has changed.

    While `approves` holds, each waits for a decision; where `stopping` is set, none is made. Functions are called in a
    thread of their own, so that stopping does not wait for them. Raises RequestError for tools that are wrong.
    """

    def __init__(
        self,
        tools: Sequence[Any],
        run: Callable[[str, dict[str, Any]], Any] | None,
        approves: bool,
        stopping: threading.Event,
        changed: Callable[[], None],
    ):
        names = [schema["function"]["name"] for schema in normalize_tools(tools)]
        pairs = zip(names, tools, strict=True)
        self._functions = {name: tool for name, tool in pairs if not isinstance(tool, Mapping)}
        self._run, self.approves, self._stopping, self._changed = run, approves, stopping, changed
        self._cards: list[ToolCard] = []
        self._heard: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.pending: ToolCard | None = None

    def take(self, cards: Sequence[ToolCard]) -> None:
        """The calls of the turn that was made just now."""
        self._cards = [card for card in cards if card.state == "written"]
        self._heard = queue.SimpleQueue()

    def stop(self) -> None:
        """End what waits or runs, now that `stopping` is set, which keeps the calls after it from being made."""
        self.pending = None
        self._heard.put(("stop", None))

    def decide(self, how: str, value: Any = None) -> None:
        """About the call that waits: "approve" with other arguments or None, "mock" with a result, "decline".

        Raises RequestError if none waits, and for an approval where nothing is there to be called.
        """
        card = self.pending
        if card is None:
            raise RequestError("no call waits to be decided on")
        if how not in ("approve", "mock", "decline"):
            raise RequestError(f"there is no decision {how!r}; expected 'approve', 'mock' or 'decline'")
        if how == "approve" and not self.can_call(card.name):
            raise RequestError(f"tool {card.name!r} is declared by a schema; mock its result, or give run=")
        self.pending = None
        self._heard.put((how, value))

    def can_call(self, name: str) -> bool:
        """Whether there is something to call."""
        return name in self._functions or self._run is not None

    def serve(self, name: str, arguments: dict[str, Any]) -> Any:
        """For `run_agent`: what the next call of the turn gives. Raises what it fails with."""
        card = self._cards.pop(0)
        try:
            value = self._decided(card, name, arguments)
            card.result = result_text(value)
            card.state = "mocked" if card.state == "mocked" else "done"
            return value
        except Exception as error:
            states = {Declined: "declined", Stopped: "stopped"}
            card.state = states.get(type(error), "failed")
            card.result = f"{type(error).__name__}: {error}"
            raise
        finally:
            self._changed()

    def _decided(self, card: ToolCard, name: str, arguments: dict[str, Any]) -> Any:
        how, value = "approve", None
        if self._stopping.is_set():
            raise Stopped("before the call was made")
        if self.approves or not self.can_call(name):
            card.state, self.pending = "asks", card
            self._changed()
            how, value = self._heard.get()
            self.pending = None
        if how == "stop":
            raise Stopped("before the call was made")
        if how == "decline":
            raise Declined(value or "the user declined this call")
        if how == "mock":
            card.state = "mocked"
            return value
        card.given = arguments if value is None else value
        card.state = "runs"
        self._changed()
        return self._call(name, card.given)

    def _call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        function, heard = self._functions.get(name), self._heard

        def work() -> None:
            try:
                value = self._run(name, dict(arguments)) if function is None else function(**arguments)
                heard.put(("value", value))
            except Exception as error:
                heard.put(("error", error))

        threading.Thread(target=work, name=f"glmkit tool {name}", daemon=True).start()
        how, value = heard.get()
        if how == "stop":
            raise Stopped("while it ran; what it does goes on")
        if how == "error":
            raise value
        return value
