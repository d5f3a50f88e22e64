"""From a record (a text, or a conversation with its tools) to tokens, and which of them the model learns to produce."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int32

from glmkit.errors import DataError, GLMKitError
from glmkit.text import Tokenizer, normalize_messages, normalize_tools, render, render_jinja
from glmkit.text.template import thinking_mode

__all__ = ["Example", "encode_record"]

_SAID = ("content", "reasoning_content", "tool_calls")
END_OF_TEXT, END_OF_TURN, END_OF_CALL = "<|endoftext|>", "<|user|>", "<|observation|>"


class Example(NamedTuple):
    """A sequence that is trained on whole or, if it is a text, in pieces."""

    tokens: Int32[np.ndarray, " T"]
    learned: Bool[np.ndarray, " T"]  # whether the loss covers this token, predicted from those before it


def encode_record(record: Mapping[str, Any], tokenizer: Tokenizer) -> list[Example]:
    """The examples of one record.

    `{"text": ...}` is learned whole and ends in <|endoftext|>. `{"messages": [...], "tools": [...]}` is a conversation
    whose assistant turns are learned, each behind the prompt that `LM.chat` would give for it: without the thoughts of
    earlier rounds. "thinking" says in which mode; left out, it is "enabled" if any turn has a thought and "disabled"
    otherwise, where the empty thought is the template's and not learned. Turns whose prompts continue one another
    share an example. A thought may also stand in the content, in `<think>` tags. Raises `DataError` saying what of the
    record is wrong.
    """
    if not isinstance(record, Mapping):
        raise DataError(f"expected an object with 'text' or 'messages', got {type(record).__name__}")
    if "messages" in record:
        return _encode_conversation(record, tokenizer)
    if isinstance(record.get("text"), str) and record["text"]:
        return [_joined([(tokenizer.encode(record["text"]), True), ([tokenizer.token_id(END_OF_TEXT)], True)])]
    raise DataError(f"expected 'text' (a string that is not empty) or 'messages', got the keys {sorted(record)}")


def _encode_conversation(record: Mapping[str, Any], tokenizer: Tokenizer) -> list[Example]:
    try:
        messages = normalize_messages(record["messages"])
        tools = normalize_tools(record.get("tools"))
        _check_order(messages)
        if not isinstance(record["messages"], str):
            _check_said(record["messages"])
        said = [message for message in messages if message["role"] == "assistant"]
        mode = thinking_mode(record.get("thinking", "enabled" if any(map(_thinks, said)) else "disabled"))
        _check_thoughts(messages, mode)
        turns = [
            _turn(messages[: at + 1], tools, mode, tokenizer.chat_template)
            for at, message in enumerate(messages)
            if message["role"] == "assistant"
        ]
    except GLMKitError as error:
        raise DataError(str(error)) from error
    if not turns:
        raise DataError("messages: expected at least one assistant message to learn")
    return [_joined([(tokenizer.encode(text), learned) for text, learned in pieces]) for pieces in _merged_turns(turns)]


def _check_order(messages: Sequence[Mapping[str, Any]]) -> None:
    """Each result of a tool answers a call: one is open before it, and it is of none but those."""
    open_calls, ids = 0, []
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            open_calls -= len(message["content"]) if isinstance(message["content"], list) else 1
            if open_calls < 0:
                raise DataError(
                    f"messages[{index}]: a tool result, but no assistant message before it calls a tool for it"
                )
            answered = message.get("tool_call_id")
            if answered is not None and None not in ids and answered not in ids:
                raise DataError(f"messages[{index}].tool_call_id: no open call before it has the id {answered!r}")
            if answered in ids:
                ids.remove(answered)
        else:
            open_calls = len(message.get("tool_calls", ()))
            ids = [call.get("id") for call in message.get("tool_calls", ())]


def _check_thoughts(messages: Sequence[Mapping[str, Any]], mode: str) -> None:
    """None is to be learned in the mode in which nothing is thought."""
    for index, message in enumerate(messages):
        if mode == "disabled" and message["role"] == "assistant" and _thinks(message):
            raise DataError(f"messages[{index}] has a thought, and thinking is 'disabled'; leave one of them out")


def _thinks(message: Mapping[str, Any]) -> bool:
    return bool(message.get("reasoning_content")) or "</think>" in message["content"]


def _check_said(messages: Sequence[Mapping[str, Any]]) -> None:
    """An assistant's message says something, under a key that is known."""
    for index, message in enumerate(messages):
        if message["role"] == "assistant" and all(message.get(key) is None for key in _SAID):
            raise DataError(f"messages[{index}]: none of {', '.join(_SAID)}, only {', '.join(sorted(message))}")


def _turn(
    messages: list[dict[str, Any]], tools: list[dict[str, Any]], mode: str, template: str | None
) -> tuple[str, str]:
    """What the model is given before the last message, and what it has to produce: that message and its end."""

    def rendered(part: list[dict[str, Any]], thinking: str, prompt: bool) -> str:
        if template is None:
            return render(part, tools, thinking, add_generation_prompt=prompt)
        return render_jinja(template, part, tools, thinking, add_generation_prompt=prompt)

    prompt = rendered(messages[:-1], mode, True)
    whole = rendered(messages, "disabled" if mode == "disabled" else "enabled", False)
    if not whole.startswith(prompt):
        raise DataError("the chat template does not continue its own prompt when the answer is added")
    return prompt, whole.removeprefix(prompt) + (END_OF_CALL if messages[-1].get("tool_calls") else END_OF_TURN)


def _merged_turns(turns: Iterable[tuple[str, str]]) -> list[list[tuple[str, bool]]]:
    """Pieces of text, learned or not: a turn is added to the example before it where its prompt goes on from there."""
    examples: list[list[tuple[str, bool]]] = []
    so_far = None
    for prompt, answer in turns:
        if so_far is not None and prompt.startswith(so_far):
            examples[-1] += [(prompt.removeprefix(so_far), False), (answer, True)]
        else:
            examples.append([(prompt, False), (answer, True)])
        so_far = prompt + answer
    return examples


def _joined(pieces: Iterable[tuple[Sequence[int], bool]]) -> Example:
    """Pieces end in special tokens, so that encoding them apart is encoding them together."""
    pieces = list(pieces)
    tokens = np.concatenate([np.asarray(ids, np.int32) for ids, _ in pieces])
    learned = np.concatenate([np.full(len(ids), flag) for ids, flag in pieces])
    return Example(tokens, learned)
