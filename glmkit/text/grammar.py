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
from glmkit.text.arguments import takes_text

if TYPE_CHECKING:
    from glmkit.text.tokenizer import Tokenizer

__all__ = ["GrammarVocabulary", "TurnMatcher", "answer_grammar", "chosen_tools"]

Thought = Literal["free", "open", "over"]  # not begun, begun by the prompt, over in the prompt

_MOST_PARAMETERS = 64  # of a tool: those already given are counted in the bits of an integer
# Blanks as people and models write JSON: one, or a new line and what it is indented by.
_JSON_OPTIONS = {"whitespace_pattern": r"( |\n[ \t]{0,24})"}

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
    response_format: Mapping[str, Any] | None = None,
) -> str | None:
    """The grammar of an answer in `llguidance`'s dialect of Lark; None where nothing is asked of it.

    With tools, text may be followed by calls, whose names, parameters and types are the declared ones: each parameter
    at most once, in any order, the required ones all. Texts follow their enum, const, pattern and lengths, other values
    the whole of their schema. With a `response_format` the answer is JSON, `{"type": "json_object"}` or
    `{"type": "json_schema", "json_schema": {"schema": ...}}`. Raises `RequestError` for another format, and for a tool
    of more parameters than can be told apart.
    """
    schema = _answer_schema(response_format)
    if not tools and schema is None:
        return None
    rules = [rule for number, tool in enumerate(tools) for rule in _call_rules(number, tool)]
    if tools:
        calls = " | ".join(f"call_{number}" for number in range(len(tools)))
        rules.append(f"calls: (({calls}) NEWLINE?)+")
    if schema is not None:
        rules.append(f"document: {_json(schema)}")
    if required:
        answer = "calls"
    elif schema is None:
        answer = "TEXT calls?"
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
    return schema


def _call_rules(number: int, tool: Mapping[str, Any]) -> list[str]:
    """The rules of a call, by the names `call_N` and those that it uses."""
    function = tool["function"]
    parameters = function.get("parameters") or {}
    properties, required = parameters.get("properties") or {}, parameters.get("required") or ()
    names = sorted(properties, key=lambda name: name not in required)  # the required ones have the lowest bits
    if len(names) > _MOST_PARAMETERS:
        raise RequestError(f"tool {function['name']!r} has {len(names)} parameters; at most {_MOST_PARAMETERS} can be")
    head = f"call_{number}: <tool_call> {_text(function['name'])} NEWLINE"
    if not names:
        return [f"{head} </tool_call>"]
    definitions = {key: parameters[key] for key in ("$defs", "definitions") if key in parameters}
    must = sum(name in required for name in names)
    given = [f'""{f" %if is_ones([0:{must}])" if must else ""}']
    values = []
    for bit, name in enumerate(names):
        schema = properties[name]
        value = f"{'TEXT' if takes_text(schema) else 'json'}_{number}_{bit}"
        key = f"<arg_key> {_text(name)} </arg_key> NEWLINE <arg_value> {value} </arg_value> NEWLINE"
        given.append(f"{key} given_{number}::set_bit({bit}) %if bit_clear({bit})")
        values.append(f"{value}: {_value(schema, definitions)}")
    return [f"{head} given_{number}::0 </tool_call>", f"given_{number}::_: " + "\n  | ".join(given), *values]


def _value(schema: Any, definitions: Mapping[str, Any]) -> str:
    """What may stand as a parameter's value: a text as it is, anything else as JSON."""
    if not takes_text(schema):
        return _json({**schema, **definitions} if isinstance(schema, Mapping) else schema)
    choices = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if choices is not None:
        return " | ".join(_text(choice if isinstance(choice, str) else json.dumps(choice)) for choice in choices)
    low, high = schema.get("minLength", 0), schema.get("maxLength", "")
    if schema.get("type") != "string" or not (low or high != "" or "pattern" in schema):
        return "VALUE"
    parts = ["VALUE", f"/(?s:.){{{low},{high}}}/"]
    if "pattern" in schema:
        parts.append(_regex(schema["pattern"]))
    return " & ".join(parts)


def _regex(pattern: str) -> str:
    """A terminal for the texts that a JSON schema's pattern finds something in."""
    start = "" if pattern.startswith("^") else "(?s:.*)"
    end = "" if pattern.endswith("$") and not pattern.endswith("\\$") else "(?s:.*)"
    body = pattern.removeprefix("^") if not start else pattern
    body = body.removesuffix("$") if not end else body
    return "/" + start + "(" + body.replace("/", "\\/") + ")" + end + "/"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _json(schema: Any) -> str:
    if isinstance(schema, Mapping):
        schema = {**schema, "x-guidance": _JSON_OPTIONS}
    return "%json " + json.dumps(schema, ensure_ascii=False)


class GrammarVocabulary:
    """A tokenizer as `llguidance` reads it: made once for a tokenizer, the model's vocabulary and its stop tokens.

    The tokenizer has `tags`: without tokens of their own for thoughts and calls there are no grammars.
    """

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, stop_ids: Sequence[int]):
        self._tokenizer, self._vocab_size, self._stop_ids = tokenizer, vocab_size, tuple(stop_ids)

    def matcher(self, grammar: str, what: str, thought: Thought = "free") -> TurnMatcher:
        """What follows a turn whose answer is by `grammar`.

        Raises `RequestError` in the name of `what` for a grammar that cannot be followed.
        """
        from llguidance import LLMatcher

        failed, told = LLMatcher.validate_grammar_with_warnings(grammar, self._compiled)
        if failed or told:
            raise RequestError(f"{what}: {_reason(told[0])}")
        return TurnMatcher(LLMatcher(self._compiled, grammar, log_level=0), self._thought, thought)

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
        return _Thought(opening, closing, newline, np.packbits(inside, axis=1, bitorder="little").view(np.int32)[:, 0])


class _Thought(NamedTuple):
    """The tokens that a thought is told by, and the mask of what may stand in one: all but other tags and stops."""

    opening: int
    closing: int
    newline: int
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
    """How far a turn has come: before a thought, in it, or in the answer, which follows the grammar."""

    def __init__(self, matcher: Any, tokens: _Thought, thought: Thought):
        self._matcher, self._tokens, self._thought = matcher, tokens, thought

    def copy(self) -> TurnMatcher:
        """One that goes its own way from here."""
        return TurnMatcher(self._matcher.deep_copy(), self._tokens, self._thought)

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
                raise RequestError(f"the answer left its grammar: {_reason(self._matcher.get_error())}")


def _reason(told: str) -> str:
    """What `llguidance` says, without the places in a grammar that nobody wrote."""
    return " ".join(told.rpartition("failed to compile JSON schema: ")[2].split())[:300]
