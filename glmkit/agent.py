"""A tool loop: the model calls, the functions are run, their results go back, until it answers without a call."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glmkit.checks import check_integer
from glmkit.engine.answer import Completion
from glmkit.errors import RequestError
from glmkit.text import ToolCall, normalize_messages, normalize_tools

__all__ = ["AgentStep", "ToolResult", "result_text", "run_agent", "run_call"]

Chat = Callable[..., Completion]
Run = Callable[[str, dict[str, Any]], Any]


@dataclass(frozen=True)
class ToolResult:
    """What a call gave: `content` is what the model is told, `value` what the function returned, or `error`."""

    call: ToolCall
    content: str
    value: Any = None
    error: Exception | None = None


@dataclass(frozen=True)
class AgentStep:
    """One turn of the model and what its calls gave. `messages` is the conversation up to here, to go on with."""

    number: int  # from 1
    completion: Completion
    results: tuple[ToolResult, ...]
    messages: tuple[Mapping[str, Any], ...]

    @property
    def done(self) -> bool:
        """Whether the model answered without a call, so that there is nothing left to tell it."""
        return not self.results


def run_agent(
    chat: Chat,
    messages: str | Sequence[Mapping[str, Any]],
    tools: Sequence[Any],
    *,
    max_turns: int = 8,
    run: Run | None = None,
    **settings: Any,
) -> Iterator[AgentStep]:
    """Yield each step of a conversation with tools; `settings` are those of `chat`, which makes the turns.

    Typed Python functions among `tools` are called with the arguments; calls of tools that are declared by a schema go
    to `run(name, arguments)`. What they return is told as it is if it is a string, else as JSON; an exception that they
    raise is told as `{"error": ...}`, and the loop goes on. It ends with an answer without a call, with a call that the
    length broke off, or after `max_turns`. A `tool_choice` that demands a call demands one of the turn that the user is
    answered with, not of those that are told results. Raises `RequestError` before the first turn for a tool that
    nothing can run.
    """
    check_integer("max_turns", max_turns, 1)
    if settings.get("n", 1) != 1 or settings.get("stream"):
        raise RequestError("every turn of an agent is one whole answer: leave out n and stream")
    tools = () if tools is None else tools
    declared = normalize_tools(tools)
    functions = {
        schema["function"]["name"]: tool
        for schema, tool in zip(declared, tools, strict=True)
        if callable(tool) and not isinstance(tool, Mapping)
    }
    for schema in declared:
        name = schema["function"]["name"]
        if name not in functions and run is None:
            raise RequestError(
                f"tool {name!r} is declared by a schema; give run=, which is called with (name, arguments)"
            )
    return _steps(chat, normalize_messages(messages), declared, functions, run, max_turns, settings)


def _steps(
    chat: Chat,
    messages: Sequence[Mapping[str, Any]],
    declared: Sequence[Mapping[str, Any]],
    functions: Mapping[str, Callable],
    run: Run | None,
    max_turns: int,
    settings: dict[str, Any],
) -> Iterator[AgentStep]:
    so_far = tuple(messages)
    names = {tool["function"]["name"] for tool in declared}
    for number in range(1, max_turns + 1):
        told_results = so_far and so_far[-1]["role"] == "tool"
        demands = settings.get("tool_choice", "none") != "none"
        own = settings | {"tool_choice": "auto"} if told_results and demands else settings
        done = chat(so_far, tools=declared, **own)
        called = done.finish_reason == "tool_calls" and settings.get("tool_choice") != "none"
        # A model without tokens for calls follows no grammar: what it names may not be declared.
        results = tuple(
            run_call(call, functions, run if call.name in names else None)
            for call in (done.tool_calls if called else ())
        )
        told = ({"role": "tool", "content": result.content, "tool_call_id": result.call.id} for result in results)
        so_far = (*so_far, done.message, *told)
        yield AgentStep(number, done, results, so_far)
        if not results:
            return


def result_text(value: Any) -> str:
    """What the model is told of what a function returned. Raises what `json` does for what it cannot write."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def run_call(call: ToolCall, functions: Mapping[str, Callable], run: Run | None = None) -> ToolResult:
    """What a call gives, or the error it raises, as the model is told of it."""
    try:
        if call.name in functions:
            value = functions[call.name](**call.arguments)
        elif run is not None:
            value = run(call.name, call.arguments)
        else:
            raise RequestError(f"there is no tool {call.name!r}")
        content = result_text(value)
    except Exception as error:  # what is wrong with a call is for the model to hear
        told = f"{type(error).__name__}: {error}"
        return ToolResult(call, json.dumps({"error": told}, ensure_ascii=False), error=error)
    return ToolResult(call, content, value)
