"""What the parser gives: parts of an answer as they come, the answer that they make together, and its message."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["Delta", "Parsed", "ToolCall", "ToolCallDelta", "as_json", "assemble", "joined"]


@dataclass(frozen=True)
class ToolCallDelta:
    """A part of a tool call. The first has `id` and the whole `name`; all `arguments_fragment`s together are JSON."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments_fragment: str = ""
    closed: bool = False  # the model has ended the call, with this its last part


@dataclass(frozen=True)
class Delta:
    """What one piece added: reasoning, or content, or a part of a tool call."""

    reasoning: str = ""
    content: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()


@dataclass(frozen=True)
class ToolCall:
    """A call the model made; `closed` is false for one that the end of the output broke off."""

    name: str
    arguments: dict[str, Any]
    id: str
    closed: bool = True


@dataclass(frozen=True)
class Parsed:
    """A whole answer. Reasoning and content are None where the model gave none."""

    reasoning: str | None
    content: str | None
    tool_calls: tuple[ToolCall, ...] = ()

    @property
    def message(self) -> dict[str, Any]:
        """The assistant message to append to the conversation, in the OpenAI shape."""
        message: dict[str, Any] = {"role": "assistant", "content": self.content}
        if self.reasoning is not None:
            message["reasoning_content"] = self.reasoning
        if self.tool_calls:
            message["tool_calls"] = [
                {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": as_json(c.arguments)}}
                for c in self.tool_calls
            ]
        return message


def assemble(deltas: Iterable[Delta]) -> Parsed:
    """Put the deltas of one answer together."""
    reasoning: list[str] = []
    content: list[str] = []
    calls: dict[int, list[ToolCallDelta]] = {}
    for delta in deltas:
        reasoning.append(delta.reasoning)
        content.append(delta.content)
        for part in delta.tool_calls:
            calls.setdefault(part.index, []).append(part)
    return Parsed("".join(reasoning) or None, "".join(content) or None, tuple(map(_whole, calls.values())))


def _whole(parts: Sequence[ToolCallDelta]) -> ToolCall:
    arguments = json.loads("".join(part.arguments_fragment for part in parts))
    return ToolCall(parts[0].name, arguments, parts[0].id, closed=parts[-1].closed)


def joined(first: Delta, second: Delta) -> Delta | None:
    """Two deltas as one, or None where they differ in kind. The name of a call stays a delta of its own."""
    if first.reasoning and second.reasoning:
        return Delta(reasoning=first.reasoning + second.reasoning)
    if first.content and second.content:
        return Delta(content=first.content + second.content)
    if first.tool_calls and second.tool_calls:
        (one,), (two,) = first.tool_calls, second.tool_calls
        if one.name is None and two.name is None:
            fragment = one.arguments_fragment + two.arguments_fragment
            return Delta(tool_calls=(replace(two, arguments_fragment=fragment),))
    return None


def as_json(value: Any) -> str:
    """In the separators of the chat template, unicode as it is."""
    return json.dumps(value, ensure_ascii=False)
