"""A chat: thoughts and answers as they come, tool calls on cards, and any turn opened in the routing probe."""

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from traitlets import Dict

from glmkit.agent import run_agent
from glmkit.checks import check_integer
from glmkit.engine.answer import Completion
from glmkit.errors import RequestError
from glmkit.lm import LM
from glmkit.probe import Plan
from glmkit.runs import Run
from glmkit.text import Delta, normalize_messages, normalize_tools, thinking_mode
from glmkit.turns import SAMPLING, TURN, refuse_unknown
from glmkit.widgets.base import Widget, assets
from glmkit.widgets.chat_picture import chat_picture
from glmkit.widgets.chat_turns import ChatTurn, ToolCard, arguments_of, message_text, with_edits
from glmkit.widgets.clients import client_code
from glmkit.widgets.code import Source
from glmkit.widgets.pace import Paced
from glmkit.widgets.rereading import read_once_more
from glmkit.widgets.routing_probe import RoutingProbe
from glmkit.widgets.tool_desk import ToolDesk

__all__ = ["Chat", "ChatSelection"]

SETTINGS = {"max_tokens": 1024, "thinking": "enabled"}
KNOWN = (*(name for name in TURN if name != "tools"), *SAMPLING)
ESM = ("base.js", "chat_turn.js", "chat.js")


@dataclass(frozen=True)
class ChatSelection:
    """The number of the turn that is picked, of those of the model; None for the last."""

    turn: int | None = None


class Chat(Widget):
    """A conversation with a model, its thoughts folded away, and its tool calls to be approved, edited or mocked.

    `x`, if given, is asked at once: a string, or messages, the last of which is the user's. `tools` are schemas or
    typed functions, as for `lm.chat`; `run(name, arguments)` serves those that are schemas. With `approve=False` calls
    are made without asking. `settings` are those of `lm.chat`; the model answers up to `max_turns` times, until it
    calls no tool. `messages` is the conversation, `turns` what the model said, `run` the turn that is picked with its
    routes. Raises RequestError for settings, tools and messages that are wrong.
    """

    _esm = assets(*ESM)
    _css = assets("style.css", "chat.css")
    _selection = Dict().tag(sync=True)

    def __init__(
        self,
        lm: LM,
        x: str | Sequence[Mapping[str, Any]] | None = None,
        *,
        tools: Sequence[Any] = (),
        run: Callable[[str, dict[str, Any]], Any] | None = None,
        approve: bool = True,
        max_turns: int = 8,
        **settings: Any,
    ):
        refuse_unknown(settings, KNOWN)
        self._lm, self._settings = lm, {**SETTINGS, **settings}
        self._settings["thinking"] = thinking_mode(self._settings["thinking"])
        self._tools, self._max_turns = normalize_tools(tools), check_integer("max_turns", max_turns, 1)
        self._telling = threading.RLock()
        self._messages: list[Mapping[str, Any]] = []
        self._turns: list[ChatTurn] = []
        self._items: list[dict[str, Any]] = []  # of the conversation in its order: what was said, or a turn's number
        self._runs: dict[int, Run] = {}
        self._stream: Any = None
        self._probe: RoutingProbe | None = None
        self._clicked: RoutingProbe | None = None
        super().__init__()
        self._desk = ToolDesk(tools, run, approve, self._stopping, self._tell_turn)
        if x is not None:
            said = normalize_messages(x)
            if said[-1]["role"] != "user":
                raise RequestError(f"messages: the last is the {said[-1]['role']}'s; expected one of the user")
            self._say_all(said)
            self.begin("answering", self._answer)
            self.wait()

    # What the next cell reads.

    @property
    def messages(self) -> list[Mapping[str, Any]]:
        """The conversation, in the OpenAI shape, with the arguments that tools were really called with."""
        self._settle()
        return list(self._messages)

    @property
    def turns(self) -> tuple[ChatTurn, ...]:
        """What the model said, turn by turn; one that called a tool is followed by another."""
        self._settle()
        return tuple(self._turns)

    @property
    def pending(self) -> ToolCard | None:
        """The call that waits for `approve`, `mock` or `decline`."""
        return self._desk.pending

    @property
    def selection(self) -> ChatSelection:
        """What is picked."""
        return ChatSelection(self._selection.get("turn"))

    @property
    def run(self) -> Run | None:
        """The turn that is picked, or the last, with its routes: its tokens, read once more. None before the first.

        Raises RequestError for a turn that goes on or failed, and where other interventions are in use than it was made
        with.
        """
        self._settle()
        return self._run_of(self._turn(None)) if self._turns else None

    @property
    def interventions(self) -> Plan:
        """What `lm.using` has in use, with which turns are made."""
        return Plan() if self._lm.interventions is None else self._lm.interventions

    @property
    def probe(self) -> RoutingProbe | None:
        """What was opened last. One that a click opened is closed when another click opens the next."""
        return self._probe

    def select(self, turn: int | None) -> None:
        """Pick a turn by its number. Raises RequestError for one that there is not."""
        self._selection = {"turn": None if turn is None else self._turn(turn).number}

    def code(self, client: str = "glmkit") -> str:
        """Python that asks for the turn that is picked, or the last: with "glmkit", "zai", "openai" or "anthropic"."""
        if not self._turns:
            mode, said = self._settings["thinking"], self._messages or [{"role": "user", "content": "Hello"}]
            given = self._settings
        else:
            turn = self._turn(None)
            mode, said, given = turn.mode, turn.messages, turn.settings
            if turn.completion is not None:
                given = {**given, "seed": turn.completion.seed}
        given = {name: value for name, value in given.items() if name != "thinking"}
        return client_code(client, Source.of(self._lm), said, self._tools, mode, given)

    # Doing.

    def ask(self, text: str, **settings: Any) -> None:
        """Say something, and have it answered in the background; `settings` hold from here on.

        `wait` waits for the answer. Raises RequestError for what cannot be said.
        """
        refuse_unknown(settings, KNOWN)
        self._refuse_while_busy()
        settings = {**self._settings, **settings}
        self._settings = {**settings, "thinking": thinking_mode(settings["thinking"])}
        self._say_all(normalize_messages(text))
        self.begin("answering", self._answer)

    def go_on(self) -> None:
        """Have the model answer once more: after a failure, or after `max_turns` turns with calls."""
        self._refuse_while_busy()
        if not self._messages or self._messages[-1]["role"] == "assistant":
            raise RequestError("there is nothing to answer; say something first")
        self.begin("answering", self._answer)

    def take_back(self) -> None:
        """Forget the last that the user said, and what came after it. Raises RequestError if nothing was said."""
        self._refuse_while_busy()
        said = [place for place, message in enumerate(self._messages) if message["role"] == "user"]
        if not said:
            raise RequestError("nothing was said yet")
        with self._telling:
            self._messages = self._messages[: said[-1]]
            last = max(place for place, item in enumerate(self._items) if item.get("role") == "user")
            gone = [item["turn"] for item in self._items[last:] if "turn" in item]
            self._items, self._turns = self._items[:last], self._turns[: min(gone, default=len(self._turns))]
            self._runs = {number: run for number, run in self._runs.items() if number < len(self._turns)}
            self._selection = {}
            self._post_conversation()

    def approve(self, arguments: Mapping[str, Any] | None = None) -> None:
        """Make the call that waits, with other arguments if any are given. Raises RequestError if none waits."""
        self._desk.decide("approve", None if arguments is None else dict(arguments))

    def mock(self, result: Any) -> None:
        """Tell the model `result`, as if the call that waits had given it. Raises RequestError if none waits."""
        self._desk.decide("mock", result)

    def decline(self, reason: str = "") -> None:
        """Tell the model that the call that waits is not made. Raises RequestError if none waits."""
        self._desk.decide("decline", reason)

    def open_probe(self, turn: int | None = None) -> RoutingProbe:
        """A routing probe of a turn, by default of the one that is picked; it can regenerate the turn with changes."""
        self._settle()
        found = self._turn(turn)
        self._probe = RoutingProbe(self._lm, run=self._run_of(found))
        self.post("probe", {"turn": found.number, "model": self._probe.model_id})
        return self._probe

    def stop(self) -> None:
        super().stop()
        self._desk.stop()
        if self._stream is not None:
            self._stream.stop()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until nothing is being done, or a call waits to be decided on. Raises what the work failed with."""
        if self._settle(timeout):
            super().wait(timeout)

    def picture(self) -> tuple[str, bytes] | None:
        with self._telling:
            return chat_picture(self._lm.name, self._items, self._turns) if self._items else None

    # Messages.

    def snapshot(self) -> None:
        with self._telling:
            about = {"live": True, "model": self._lm.name, "tools": [tool["function"]["name"] for tool in self._tools]}
            about |= {"approve": self._desk.approves, "temperature": self._settings.get("temperature")}
            self.post("about", about | {name: self._settings[name] for name in SETTINGS})
            self._post_conversation()
            if self._probe is not None:
                self.post("probe", {"turn": None, "model": self._probe.model_id})

    def on_ask(self, content: Mapping[str, Any]) -> None:
        given = {name: content[name] for name in ("thinking", "max_tokens", "temperature")}
        self.ask(content["text"], **given)

    def on_go_on(self, _: Mapping[str, Any]) -> None:
        self.go_on()

    def on_take_back(self, _: Mapping[str, Any]) -> None:
        self.take_back()

    def on_approves(self, content: Mapping[str, Any]) -> None:
        self._desk.approves = bool(content["on"])
        self.post("approves", {"on": self._desk.approves})

    def on_decide(self, content: Mapping[str, Any]) -> None:
        """About one call; where it waits no more, another view or a cell has decided on it."""
        card = self.pending
        if card is None or card.id != content["call"]:
            return
        value = content.get("value")
        if content["how"] == "approve" and value is not None:
            value = arguments_of(value)
        self._desk.decide(content["how"], value)

    def on_prompt(self, content: Mapping[str, Any]) -> None:
        turn = self._turn(content["turn"])
        text = "" if turn.completion is None else turn.completion.prompt
        self.answer(content, "prompt", {"turn": turn.number, "text": text})

    def on_client(self, content: Mapping[str, Any]) -> None:
        self.answer(content, "client", {"client": content["client"], "code": self.code(content["client"])})

    def on_probe(self, content: Mapping[str, Any]) -> None:
        turn = self._turn(content["turn"])
        self.begin("reading the turn", lambda: self._open_clicked(turn.number))

    def _open_clicked(self, number: int) -> None:
        """In the place of what was clicked before, which nobody else has asked for."""
        before, self._clicked = self._clicked, self.open_probe(number)
        if before is not None:
            before.close()

    def _post_conversation(self) -> None:
        self.post("conversation", {"items": self._items, "turns": [turn.message() for turn in self._turns]})
        self.redraw()

    def _tell_turn(self) -> None:
        """A card of the last turn has changed."""
        with self._telling:
            self.post("turn", self._turns[-1].message())
        self.redraw()

    # Work, in the background.

    def _say_all(self, said: Sequence[Mapping[str, Any]]) -> None:
        with self._telling:
            for message in said:
                self._messages.append(message)
                own = {"role": message["role"], "text": message_text(message)}
                self._items.append(own | {"reasoning": message.get("reasoning_content", "")})
            self._selection = {}
            self._post_conversation()

    def _answer(self) -> None:
        """Turns and calls until one has none."""
        for _ in range(self._max_turns):
            settings = {name: value for name, value in self._settings.items() if value is not None}
            (step,) = run_agent(
                self._make_turn, self._messages, self._tools, max_turns=1, run=self._desk.serve, **settings
            )
            if not step.completion.tokens and step.completion.finish_reason == "interrupted":
                return
            self._messages = with_edits(step.messages, self._turns[-1].cards)
            if step.done or self._stopping.is_set():
                return
        raise RequestError(f"{self._max_turns} turns with calls; go_on lets the model go on")

    def _make_turn(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any], **settings: Any) -> Completion:
        """What `lm.chat` gives, told as it comes."""
        mode, plan = settings["thinking"], self._lm.interventions
        turn = ChatTurn(len(self._turns), tuple(messages), settings, mode, plan)
        stream = self._stream = self._lm.chat(messages, tools=tools, stream=True, **settings)
        with self._telling:
            self._turns.append(turn)
            self._items.append({"turn": turn.number})
            self._post_conversation()
        if self._stopping.is_set():
            stream.stop()
        try:
            with Paced(lambda pieces: self._hear(turn, pieces)) as paced:
                for delta in stream:
                    paced.add((delta, time.perf_counter()))
            turn.close(stream.completion)
        except Exception as error:
            turn.error, turn.thinking = f"{type(error).__name__}: {error}", False
            raise
        finally:
            self._stream = None
            self._tell_turn()
        self._desk.take(turn.cards)
        return turn.completion

    def _hear(self, turn: ChatTurn, pieces: Sequence[tuple[Delta, float]]) -> None:
        """What came since the last time, in one message; calls as they are by now."""
        with self._telling:
            at = {"reasoning_at": len(turn.reasoning), "content_at": len(turn.content)}
            for delta, now in pieces:
                turn.feed(delta, now)
            told = {"reasoning": turn.reasoning[at["reasoning_at"] :], "content": turn.content[at["content_at"] :]}
            told |= {"turn": turn.number, "count": turn.count, "thinking": turn.thinking}
            told |= {"seconds": round(turn.seconds, 3), "cards": [card.message() for card in turn.cards]}
            self.post("stream", at | told)

    # Small things.

    def _run_of(self, turn: ChatTurn) -> Run:
        """Read what the turn was given and said."""
        if turn.completion is None:
            raise RequestError(f"turn {turn.number} {'failed: ' + turn.error if turn.error else 'goes on'}")
        if turn.number not in self._runs:
            prompt, what = self._lm.tokenizer.encode(turn.completion.prompt), f"turn {turn.number}"
            run = read_once_more(self._lm, what, turn.plan, (*prompt, *turn.completion.tokens), len(prompt))
            asked = {"max_tokens": self._lm.engine.max_len - len(prompt), **turn.settings, "tools": self._tools}
            asked |= {"x": list(turn.messages), "seed": turn.completion.seed}
            self._runs[turn.number] = dataclasses.replace(run, completion=turn.completion, asked=asked)
        return self._runs[turn.number]

    def _turn(self, number: int | None) -> ChatTurn:
        if number is None:
            number = self._selection.get("turn")
        if number is None:
            number = len(self._turns) - 1
        if number not in range(len(self._turns)):
            raise RequestError(f"there is no turn {number}; there are {len(self._turns)}, from 0 on")
        return self._turns[number]

    def _settle(self, timeout: float | None = None) -> bool:
        """Wait until nothing goes on without a decision; whether nothing goes on at all."""
        thread, deadline = self._thread, None if timeout is None else time.monotonic() + timeout
        if thread is threading.current_thread():
            return True
        while thread is not None and thread.is_alive() and self.pending is None:
            if deadline is not None and time.monotonic() >= deadline:
                break
            try:
                thread.join(0.02)
            except KeyboardInterrupt:
                self.stop()
        return thread is None or not thread.is_alive()

    def _refuse_while_busy(self) -> None:
        if self.busy:
            raise RequestError(f"{self._doing} still goes on; wait for it, decide on its call, or stop it")
