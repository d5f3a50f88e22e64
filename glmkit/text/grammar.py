"""What a model may answer, as a grammar over its own tokens: JSON by a schema, calls of the tools that there are.

The grammar is that of the answer; before it, a thought is free. Masks and schemas are `llguidance`'s, what is GLM's own
is the form of thoughts and calls.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int32

from glmkit.errors import RequestError
from glmkit.text.call_grammar import NO_END, call_rules, in_short, json_rule
from glmkit.text.schemas import followed, has_an_end

if TYPE_CHECKING:
    from glmkit.text.tokenizer import Tokenizer

__all__ = ["GrammarVocabulary", "TurnMatcher", "answer_grammar", "chosen_tools"]

Thought = Literal["free", "open", "over"]  # not begun, begun by the prompt, over in the prompt

# Texts hold no tag, not even spelled out.
_RULES = r"""
start: NEWLINE? answer
answer: {answer}
NEWLINE: "\n"
TEXT: /(?s:.*)/ & ~/(?s:.*)(<think>|<\/think>|<tool_call>)(?s:.*)/
VALUE: /(?s:.*)/ & ~/(?s:.*)<\/arg_value>(?s:.*)/
{rules}
"""


def chosen_tools(tools: Sequence[Mapping[str, Any]], choice: Any) -> tuple[list[Mapping[str, Any]], bool]:
    """The tools that may be called, and whether one has to be.

    `choice` is "auto", "none", "required", or a tool by its name: `{"type": "function", "function": {"name": ...}}`.
    Raises `RequestError` for anything else, for a tool that is not declared, and where a call is asked for and there is
    nothing to call.
    """
    if choice in (None, "auto"):
        return list(tools), False
    if choice == "none":
        return [], False
    names = [tool["function"]["name"] for tool in tools]
    if choice == "required":
        if not names:
            raise RequestError('tool_choice is "required", but no tools are declared')
        return list(tools), True
    function = choice.get("function") if isinstance(choice, Mapping) and choice.get("type") == "function" else None
    if not isinstance(function, Mapping) or "name" not in function:
        raise RequestError(
            f'tool_choice is {choice!r}; expected "auto", "none", "required" or '
            '{"type": "function", "function": {"name": ...}}'
        )
    if function["name"] not in names:
        raise RequestError(f"tool_choice names {function['name']!r}; declared are {', '.join(names) or 'no tools'}")
    return [tools[names.index(function["name"])]], True


def answer_grammar(
    tools: Sequence[Mapping[str, Any]] = (),
    *,
    required: bool = False,
    forbidden: bool = False,
    response_format: Mapping[str, Any] | None = None,
) -> str | None:
    """The grammar of an answer in `llguidance`'s dialect of Lark; None where nothing is asked of it.

    Where calls are `forbidden` the answer is text, or JSON.

    With tools, text may be followed by calls, whose names, parameters and types are the declared ones: each parameter
    at most once, in any order, the required ones all. Texts follow their enum, const, pattern, format and lengths,
    other values the whole of their schema; what may be either is a text unless it is JSON of what else it may be.

    With a `response_format` the answer is JSON, `{"type": "json_object"}` or
    `{"type": "json_schema", "json_schema": {"schema": ...}}`. Raises `RequestError` for another format, and as
    `call_rules` for what of a tool's declaration cannot be followed.
    """
    schema = _answer_schema(response_format)
    if not tools and schema is None and not forbidden:
        return None
    rules = [rule for number, tool in enumerate(tools) for rule in call_rules(number, tool)]
    if tools:
        calls = " | ".join(f"call_{number}" for number in range(len(tools)))
        rules.append(f"calls: (({calls}) NEWLINE?)+")
    if schema is not None:
        rules.append(f"document: {json_rule(schema)}")
    if required:
        answer = "calls"
    elif schema is None:
        answer = "TEXT calls?" if tools else "TEXT"
    else:
        answer = "document | calls" if tools else "document"
    return _RULES.format(answer=answer, rules="\n".join(rules))


def _answer_schema(response_format: Mapping[str, Any] | None) -> Any:
    """The schema of the answer; None for a text."""
    if response_format is None:
        return None
    kind = response_format.get("type") if isinstance(response_format, Mapping) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    if kind != "json_schema":
        raise RequestError(
            f'response_format is {response_format!r}; expected {{"type": "text"}}, {{"type": "json_object"}} or '
            '{"type": "json_schema", "json_schema": {"schema": ...}}'
        )
    wrapped = response_format.get("json_schema")
    schema = wrapped.get("schema") if isinstance(wrapped, Mapping) else None
    if not isinstance(schema, Mapping):
        raise RequestError(f"response_format.json_schema.schema is {schema!r}; expected a JSON schema")
    try:
        json.dumps(followed(schema), allow_nan=False)
        ends = has_an_end(schema)
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(f"response_format.json_schema.schema: not JSON: {error}") from error
    if not ends:
        raise RequestError(f"response_format.json_schema.schema: {NO_END}")
    return schema


class GrammarVocabulary:
    """A tokenizer as `llguidance` reads it: made once for a tokenizer, the model's vocabulary and its stop tokens.

    The tokenizer has `tags`: without tokens of their own for thoughts and calls there are no grammars.
    """

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, stop_ids: Sequence[int]):
        self._tokenizer, self._vocab_size, self._stop_ids = tokenizer, vocab_size, tuple(stop_ids)

    def matcher(self, grammar: str, what: str, thought: Thought = "free") -> TurnMatcher:
        """What follows a turn whose answer is by `grammar`.

        Raises `RequestError` in the name of `what` for a grammar that cannot be followed, or that nothing satisfies.
        """
        from llguidance import LLMatcher

        failed, told = LLMatcher.validate_grammar_with_warnings(grammar, self._compiled)
        if failed or told:
            raise RequestError(f"{what}: {in_short(told[0])}")
        matcher = LLMatcher(self._compiled, grammar, log_level=0)
        begun = matcher.deep_copy()
        begun.consume_token(self._thought.newline)
        begun.compute_bitmask()  # a rule that never ends is found out when it is gone into
        if begun.is_error():
            raise RequestError(f"{what}: there is nothing that satisfies it ({in_short(begun.get_error())})")
        return TurnMatcher(matcher, what, self._thought, thought)

    @cached_property
    def _compiled(self) -> Any:
        from llguidance import LLTokenizer, TokenizerWrapper

        wrapped = TokenizerWrapper(_Wrapped(self._tokenizer, self._stop_ids))
        return LLTokenizer(wrapped, n_vocab=self._vocab_size, eos_token=list(self._stop_ids))

    @cached_property
    def _thought(self) -> _Thought:
        opening, closing, newline = (self._tokenizer.token_id(token) for token in ("<think>", "</think>", "Ċ"))
        inside = np.zeros((-(-self._vocab_size // 32), 32), bool)
        inside.reshape(-1)[: self._tokenizer.vocab_size] = True
        inside.reshape(-1)[[*self._tokenizer.backend.get_added_tokens_decoder(), *self._stop_ids]] = False
        inside.reshape(-1)[closing] = True
        stops = frozenset(self._stop_ids)
        return _Thought(
            opening, closing, newline, stops, np.packbits(inside, axis=1, bitorder="little").view(np.int32)[:, 0]
        )


class _Thought(NamedTuple):
    """The tokens that a thought is told by, those that end a turn, and the mask of what may stand in a thought: all but
    other tags and stops."""

    opening: int
    closing: int
    newline: int
    stops: frozenset[int]
    inside: Int32[np.ndarray, " W"]


class _Wrapped:
    """What `llguidance` asks of a tokenizer."""

    def __init__(self, tokenizer: Tokenizer, stop_ids: Sequence[int]):
        self._tokenizer = tokenizer
        self.eos_token_id, self.bos_token_id = stop_ids[0], None
        self.tokens = [tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)]
        self.special_token_ids = sorted(tokenizer.backend.get_added_tokens_decoder())

    def __call__(self, text: str | bytes) -> list[int]:
        return self._tokenizer.encode(text.decode() if isinstance(text, bytes) else text)


class TurnMatcher:
    """How far a turn has come: before a thought, in it, or in the answer, which follows the grammar of `what`."""

    def __init__(self, matcher: Any, what: str, tokens: _Thought, thought: Thought):
        self._matcher, self._what, self._tokens, self._thought = matcher, what, tokens, thought

    def copy(self) -> TurnMatcher:
        """One that goes its own way from here."""
        return TurnMatcher(self._matcher.deep_copy(), self._what, self._tokens, self._thought)

    def fill(self, mask: Int32[np.ndarray, " W"]) -> None:
        """Write which tokens may come next: bit `i % 32` of word `i // 32` is token `i`."""
        if self._thought == "open":
            mask[:] = self._tokens.inside
            return
        self._matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        if self._thought == "free":
            word, bit = divmod(self._tokens.opening, 32)
            mask[word] |= np.uint32(1 << bit).view(np.int32)

    def take(self, token: int) -> None:
        """Go on by a token. Raises `RequestError` for one that may not come here, or where the grammar gives up."""
        if self._thought == "open":
            self._thought = "over" if token == self._tokens.closing else "open"
        elif self._thought == "free" and token == self._tokens.opening:
            self._matcher.reset()  # a newline may have been before it
            self._thought = "open"
        else:
            self._thought = "free" if self._thought == "free" and token == self._tokens.newline else "over"
            if not self._matcher.consume_token(token):
                raise RequestError(f"{self._what}: the answer left its grammar: {in_short(self._matcher.get_error())}")

    def end(self, stop: int) -> None:
        """End by a stop token. Raises `RequestError` for one of the model's own where the answer is not whole.

        Where nothing can come that satisfies a schema, the mask of `fill` has no more than these.
        """
        if self._thought == "open" or stop not in self._tokens.stops:
            return
        if self._matcher.is_error() or not self._matcher.is_accepting():
            reason = in_short(self._matcher.get_error()) or "the answer is not whole"
            raise RequestError(f"{self._what}: nothing that it allows can come next ({reason})")
