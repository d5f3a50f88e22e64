"""Turns of a model as a chat shows them: the thought, the answer, and a card for each tool call."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from glmkit.engine.answer import Completion
from glmkit.errors import RequestError
from glmkit.probe import Plan
from glmkit.text import Delta

__all__ = ["ChatTurn", "ToolCard", "arguments_of", "message_text", "with_edits"]

State = Literal["written", "asks", "runs", "done", "mocked", "declined", "failed", "stopped"]


@dataclass
class ToolCard:
    """A call that the model wrote, and what became of it.

    `written` is what came of its arguments so far, `arguments` what the model wants and `given` what it was called
    with; `result` is what the model is told. `mocked` says that no function was called.
    """

    name: str
    id: str = ""
    written: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    given: dict[str, Any] | None = None
    state: State = "written"
    result: str = ""
    decision: tuple[str, Any] | None = None  # of whoever was asked

    @property
    def edited(self) -> bool:
        """Whether it was called with other arguments than the model wrote."""
        return self.given is not None and self.given != self.arguments

    def message(self) -> dict[str, Any]:
        """For a browser."""
        arguments = self.arguments if self.given is None else self.given
        shown = json.dumps(arguments, ensure_ascii=False, indent=1) if self.arguments or self.given else self.written
        return {
            "id": self.id,
            "name": self.name,
            "arguments": shown or "{}",
            "state": self.state,
            "edited": self.edited,
            "result": self.result,
        }


@dataclass
class ChatTurn:
    """One answer: the conversation before it in `messages`, how it was asked for, and what came.

    `mode` is the thinking mode that it was really asked with, `seconds` how long it thought. `completion` is None while
    it goes on, and stays so for one that failed, as `error` says.
    """

    number: int
    messages: tuple[Mapping[str, Any], ...]
    settings: Mapping[str, Any]
    mode: str
    plan: Plan | None = None
    reasoning: str = ""
    content: str = ""
    cards: list[ToolCard] = field(default_factory=list)
    count: int = 0
    thinking: bool = False
    seconds: float = 0.0
    completion: Completion | None = None
    error: str = ""
    _began: float | None = None

    def feed(self, delta: Delta, now: float) -> None:
        """Take what came at `now`, in seconds of any clock."""
        self.count += 1
        if delta.reasoning:
            self._began = now - self.seconds if self._began is None or not self.thinking else self._began
            self.thinking, self.seconds = True, now - self._began
        elif delta.content or delta.tool_calls:
            self.thinking = False
        self.reasoning += delta.reasoning
        self.content += delta.content
        for part in delta.tool_calls:
            while len(self.cards) <= part.index:
                self.cards.append(ToolCard(part.name or "", part.id or ""))
            self.cards[part.index].written += part.arguments_fragment

    def close(self, completion: Completion) -> None:
        """Take the whole answer."""
        self.completion, self.thinking = completion, False
        self.reasoning, self.content = completion.reasoning, completion.content
        self.count = completion.usage.completion_tokens
        self.cards = [ToolCard(call.name, call.id, arguments=dict(call.arguments)) for call in completion.tool_calls]
        if completion.finish_reason != "tool_calls":
            for card in self.cards:  # the end of the answer broke them off
                card.state = "stopped"

    def message(self) -> dict[str, Any]:
        """All of it, for a browser."""
        done = self.completion
        return {
            "turn": self.number,
            "mode": self.mode,
            "changed": "" if self.plan is None else str(self.plan),
            "reasoning": self.reasoning,
            "content": self.content,
            "cards": [card.message() for card in self.cards],
            "count": self.count,
            "thinking": self.thinking,
            "seconds": round(self.seconds, 3),
            "finish": "" if done is None else done.finish_reason,
            "seed": None if done is None else done.seed,
            "thought_tokens": None if done is None else done.usage.reasoning_tokens,
            "prompt_tokens": None if done is None else done.usage.prompt_tokens,
            "cached_tokens": None if done is None else done.usage.cached_tokens,
            "error": self.error,
        }


def with_edits(messages: Sequence[Mapping[str, Any]], cards: Sequence[ToolCard]) -> list[Mapping[str, Any]]:
    """With the arguments that calls of the last turn were made with, as if the model had written them."""
    given = {card.id: card.given for card in cards if card.edited}
    edited = []
    for message in messages:
        if any(call.get("id") in given for call in message.get("tool_calls", ())):
            calls = [
                {**call, "function": {**call["function"], "arguments": given[call["id"]]}}
                if call["id"] in given
                else call
                for call in message["tool_calls"]
            ]
            message = {**message, "tool_calls": calls}
        edited.append(message)
    return edited


def arguments_of(text: str) -> dict[str, Any]:
    """The arguments of a call as somebody wrote them. Raises RequestError for what is no JSON object."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise RequestError(f"arguments: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise RequestError(f"arguments: expected a JSON object, got {text}")
    return value


def message_text(message: Mapping[str, Any]) -> str:
    """What a message says; several results of tools one below the other."""
    content = message["content"]
    return content if isinstance(content, str) else "\n".join(part["output"] for part in content)
