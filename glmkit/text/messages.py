"""Conversations in the OpenAI shape, checked and brought to the one form the templates read."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from glmkit.errors import RequestError
from glmkit.text.tools import check_name

__all__ = ["ROLES", "Messages", "has_other_parts", "normalize_messages"]

if TYPE_CHECKING:
    Messages = str | Sequence[Mapping[str, Any]]
else:
    Messages = Any  # at run time `normalize_messages` checks them, and says what is wrong

ROLES = ("system", "user", "assistant", "tool")


def normalize_messages(messages: Messages) -> list[dict[str, Any]]:
    """Messages as new dictionaries: content a string, arguments of tool calls a mapping, other keys kept.

    A string is one user turn. Content may be a string, None (the empty string), or a list of strings and
    `{"type": "text", "text": ...}`; parts of another type are dropped, as the released template does, with a
    warning. The content of a tool message may also be a list of several results, each a string or
    `{"output": ...}`; it becomes a list of `{"output": str}`. Results that say by `tool_call_id` which call they are of
    come in the order of the calls, which is all that the template tells of them. Arguments may be JSON text. Raises
    RequestError naming the message's index and key.
    """
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    if isinstance(messages, Mapping) or not isinstance(messages, Sequence):
        raise RequestError(f"messages: expected a string or a list of messages, got {type(messages).__name__}")
    if not messages:
        raise RequestError("messages: expected at least one message, got an empty list")
    normal = [_normalize_message(message, f"messages[{index}]") for index, message in enumerate(messages)]
    for at, message in enumerate(normal):
        _order_results(message, normal, at + 1)
    return normal


def _order_results(message: Mapping[str, Any], messages: list[dict[str, Any]], start: int) -> None:
    """Put the results from `start` on into the order of the message's calls, if each says which one it is of."""
    order = {call.get("id"): place for place, call in enumerate(message.get("tool_calls", ()))}
    end = start
    while end < len(messages) and messages[end]["role"] == "tool":
        end += 1
    if len(order) > 1 and all(result.get("tool_call_id") in order for result in messages[start:end]):
        messages[start:end] = sorted(messages[start:end], key=lambda result: order[result.get("tool_call_id")])


def _normalize_message(message: Any, where: str) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise RequestError(f"{where}: expected a mapping with role and content, got {type(message).__name__}")
    role = message.get("role")
    if role not in ROLES:
        raise RequestError(f"{where}.role: expected one of {', '.join(ROLES)}, got {role!r}")
    content = message.get("content")
    normal = {**message, "content": (_results if role == "tool" else _text)(content, f"{where}.content")}
    reasoning = message.get("reasoning_content")
    if reasoning is None:
        normal.pop("reasoning_content", None)
    elif not isinstance(reasoning, str):
        raise RequestError(f"{where}.reasoning_content: expected a string, got {type(reasoning).__name__}")
    _check_id(message.get("tool_call_id"), f"{where}.tool_call_id")
    calls = normal.pop("tool_calls", None)
    if calls:
        if role != "assistant":
            raise RequestError(f"{where}.tool_calls: only an assistant message calls tools, this one is {role!r}")
        normal["tool_calls"] = _tool_calls(calls, f"{where}.tool_calls")
    return normal


def has_other_parts(messages: Any) -> bool:
    """Whether there are parts that are not text, which `normalize_messages` leaves out."""
    said = messages if isinstance(messages, Sequence) and not isinstance(messages, str) else ()
    contents = [message.get("content") for message in said if isinstance(message, Mapping)]
    parts = [part for content in contents if isinstance(content, list | tuple) for part in content]
    return any(isinstance(part, Mapping) and "output" not in part and part.get("type") != "text" for part in parts)


def _check_id(value: Any, where: str) -> None:
    if value is not None and not isinstance(value, str):
        raise RequestError(f"{where}: expected a string, got {type(value).__name__}")


def _text(content: Any, where: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        raise RequestError(f"{where}: expected a string, None or a list of parts, got {type(content).__name__}")
    return "".join(_part(part, f"{where}[{index}]") for index, part in enumerate(content))


def _part(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
        raise RequestError(f"{where}: expected a string or {{'type': 'text', 'text': ...}}, got {part!r}")
    if part["type"] != "text":
        warnings.warn(f"{where}: a part of type {part['type']!r} is left out; this model reads text", stacklevel=2)
        return ""
    if not isinstance(part.get("text"), str):
        raise RequestError(f"{where}.text: expected a string, got {part.get('text')!r}")
    return part["text"]


def _results(content: Any, where: str) -> str | list[dict[str, str]]:
    """One result as a string, or several as a list. A list of nothing but text parts is one result."""
    if not isinstance(content, Sequence) or isinstance(content, str):
        return _text(content, where)
    if all(isinstance(part, Mapping) and "output" not in part for part in content):
        return _text(content, where)
    return [{"output": _result(part, f"{where}[{index}]")} for index, part in enumerate(content)]


def _result(part: Any, where: str) -> str:
    if not isinstance(part, Mapping) or "output" not in part:
        return _part(part, where)
    if not isinstance(part["output"], str):
        raise RequestError(f"{where}.output: expected a string, got {type(part['output']).__name__}")
    return part["output"]


def _tool_calls(calls: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(calls, Sequence) or isinstance(calls, str):
        raise RequestError(f"{where}: expected a list, got {type(calls).__name__}")
    return [_tool_call(call, f"{where}[{index}]") for index, call in enumerate(calls)]


def _tool_call(call: Any, where: str) -> dict[str, Any]:
    if not isinstance(call, Mapping):
        raise RequestError(f"{where}: expected a mapping with 'function', got {type(call).__name__}")
    if call.get("type", "function") != "function":
        raise RequestError(f"{where}.type: expected 'function', got {call['type']!r}")
    if "function" in call:
        outer, function, where = dict(call), call["function"], f"{where}.function"
    else:
        outer, function = {"type": "function"}, call
    if not isinstance(function, Mapping):
        raise RequestError(f"{where}: expected a mapping with name and arguments, got {type(function).__name__}")
    _check_id(call.get("id"), f"{where}.id")
    check_name(function.get("name"), f"{where}.name")
    arguments = _arguments(function.get("arguments"), f"{where}.arguments")
    return outer | {"function": {**function, "arguments": arguments}}


def _arguments(arguments: Any, where: str) -> dict[str, Any]:
    try:
        if isinstance(arguments, str):
            arguments = json.loads(arguments or "{}")
        else:
            json.dumps(arguments)
    except (ValueError, TypeError, RecursionError) as error:
        raise RequestError(f"{where}: not JSON: {error}") from error
    if arguments is None:
        return {}
    if not isinstance(arguments, Mapping):
        raise RequestError(f"{where}: expected an object, got {type(arguments).__name__}")
    return dict(arguments)
