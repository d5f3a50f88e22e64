"""A conversation as Python that asks for its next turn: with glmkit, or with the zai, openai or anthropic client."""

import json
import pprint
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from glmkit.errors import RequestError
from glmkit.text import normalize_messages
from glmkit.widgets.code import Source

__all__ = ["CLIENTS", "client_code"]

Messages = Sequence[Mapping[str, Any]]
_ANTHROPIC_LEAST = 1024  # tokens that a budget for thinking has at least there
_SERVER = "# the address and the key of a server that has the model"


def client_code(
    kind: str, model: Source, messages: Messages, tools: Messages, mode: str, settings: Mapping[str, Any]
) -> str:
    """What asks for the turn after `messages`; `kind` is one of `CLIENTS`, `mode` the thinking mode.

    Raises RequestError for another kind.
    """
    if kind not in CLIENTS:
        raise RequestError(f"there is no client {kind!r}; expected one of {', '.join(CLIENTS)}")
    given = {name: value for name, value in settings.items() if value is not None}
    return CLIENTS[kind](model, normalize_messages(messages), list(tools), mode, given)


def _glmkit(model: Source, messages: Messages, tools: Messages, mode: str, settings: Mapping[str, Any]) -> str:
    lines = ["import glmkit as gk", "", model.line, f"messages = {_shown(messages)}"]
    given = {"thinking": mode, **settings}
    if tools:
        lines.append(f"tools = {_shown(tools)}  # or the functions themselves")
    arguments = "".join(f", {name}={value!r}" for name, value in given.items())
    lines += [f"done = lm.chat(messages{', tools=tools' if tools else ''}{arguments})"]
    return "\n".join([*lines, "print(done.reasoning, done.content, done.tool_calls)"])


def _zai(model: Source, messages: Messages, tools: Messages, mode: str, settings: Mapping[str, Any]) -> str:
    head = ["from zai import ZaiClient", "", _SERVER, '# or the key of https://z.ai: ZaiClient(api_key="...")']
    head += ['client = ZaiClient(api_key="KEY", base_url="http://127.0.0.1:8000/api/paas/v4")']
    own, more = _split(settings, ("max_tokens", "temperature", "top_p", "seed", "stop", "tool_choice"))
    call = {"thinking": {"type": mode}, **own, **_extra(more)}
    return _openai_like(head, model, messages, tools, call)


def _openai(model: Source, messages: Messages, tools: Messages, mode: str, settings: Mapping[str, Any]) -> str:
    head = ["from openai import OpenAI", "", _SERVER]
    head += ['client = OpenAI(api_key="KEY", base_url="http://127.0.0.1:8000/v1")']
    known = ("max_tokens", "temperature", "top_p", "seed", "stop", "tool_choice", "response_format", "top_logprobs")
    own, more = _split(settings, known)
    return _openai_like(head, model, messages, tools, own | _extra({"thinking": {"type": mode}, **more}))


def _openai_like(head: list[str], model: Source, messages: Messages, tools: Messages, call: Mapping[str, Any]) -> str:
    lines = [*head, f"messages = {_shown([_with_text(message) for message in messages])}"]
    if tools:
        lines.append(f"tools = {_shown(tools)}")
    arguments = [f"model={model.name!r}", "messages=messages", *(["tools=tools"] if tools else [])]
    arguments += [f"{name}={value!r}" for name, value in call.items()]
    lines += ["response = client.chat.completions.create(", *(f"    {argument}," for argument in arguments), ")"]
    return "\n".join([*lines, "print(response.choices[0].message)"])


def _anthropic(model: Source, messages: Messages, tools: Messages, mode: str, settings: Mapping[str, Any]) -> str:
    head = ["from anthropic import Anthropic", "", _SERVER]
    head += ['client = Anthropic(api_key="KEY", base_url="http://127.0.0.1:8000")']
    most = settings.get("max_tokens") or 4096
    budget = settings.get("budget") or max(_ANTHROPIC_LEAST, most // 2)
    thinking = {"type": "disabled"} if mode == "disabled" else {"type": "enabled", "budget_tokens": budget}
    system = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
    call: dict[str, Any] = {"max_tokens": most, "thinking": thinking}
    call |= {"system": system} if system else {}
    call |= {name: settings[name] for name in ("temperature", "top_p", "top_k") if name in settings}
    if settings.get("stop"):
        call["stop_sequences"] = [settings["stop"]] if isinstance(settings["stop"], str) else list(settings["stop"])
    lines = [*head, f"messages = {_shown(_blocks(messages))}"]
    if tools:
        own = [tool["function"] for tool in tools]
        declared = [
            {"name": tool["name"], "description": tool.get("description", ""), "input_schema": tool["parameters"]}
            for tool in own
        ]
        lines.append(f"tools = {_shown(declared)}")
    arguments = [f"model={model.name!r}", "messages=messages", *(["tools=tools"] if tools else [])]
    arguments += [f"{name}={value!r}" for name, value in call.items()]
    lines += ["response = client.messages.create(", *(f"    {argument}," for argument in arguments), ")"]
    return "\n".join([*lines, "print(response.content)"])


def _blocks(messages: Messages) -> list[dict[str, Any]]:
    """In Anthropic's shape: results of tools are the user's, and what one role says in a row is one message."""
    found: list[dict[str, Any]] = []
    for message in messages:
        role = message["role"]
        if role == "system":
            continue
        own = "assistant" if role == "assistant" else "user"
        blocks = _of_assistant(message) if role == "assistant" else _of_user(message)
        if found and found[-1]["role"] == own:
            found[-1]["content"] += blocks
        else:
            found.append({"role": own, "content": blocks})
    return found


def _of_user(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    if message["role"] == "user":
        return [{"type": "text", "text": content}]
    parts = [content] if isinstance(content, str) else [part["output"] for part in content]
    about = {"type": "tool_result", "tool_use_id": message.get("tool_call_id", "")}
    return [{**about, "content": part} for part in parts]


def _of_assistant(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if message.get("reasoning_content"):
        blocks.append({"type": "thinking", "thinking": message["reasoning_content"], "signature": ""})
    if message["content"]:
        blocks.append({"type": "text", "text": message["content"]})
    for call in message.get("tool_calls", ()):
        function = call["function"]
        about = {"id": call.get("id", ""), "name": function["name"], "input": function["arguments"]}
        blocks.append({"type": "tool_use", **about})
    return blocks


def _with_text(message: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of calls as JSON text, as clients send them."""
    if "tool_calls" not in message:
        return dict(message)
    calls = []
    for call in message["tool_calls"]:
        arguments = json.dumps(call["function"]["arguments"], ensure_ascii=False)
        calls.append({**call, "function": {**call["function"], "arguments": arguments}})
    return {**message, "tool_calls": calls}


def _split(settings: Mapping[str, Any], known: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    own = {name: value for name, value in settings.items() if name in known}
    return own, {name: value for name, value in settings.items() if name not in known}


def _extra(more: Mapping[str, Any]) -> dict[str, Any]:
    return {"extra_body": dict(more)} if more else {}


def _shown(value: Any) -> str:
    return pprint.pformat(value, width=110, sort_dicts=False)


CLIENTS: Mapping[str, Callable[[Source, Messages, Messages, str, Mapping[str, Any]], str]] = {
    "glmkit": _glmkit,
    "zai": _zai,
    "openai": _openai,
    "anthropic": _anthropic,
}
"""What code there is for, by the name of the package."""
