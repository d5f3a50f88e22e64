"""What may be answered: every answer that a grammar lets pass is right, and every right one is let pass."""

import json
import math
from collections.abc import Sequence
from random import Random

import jsonschema
import numpy as np
import pytest

from glmkit.engine import Request, Sampling
from glmkit.errors import RequestError
from glmkit.text.grammar import answer_grammar, chosen_tools
from grammars import STOPS, TOOLS, VOCABULARY, at_random, call, json_format, matcher, may_come, passes
from schemas import instance, random_document_schema, spoiled, text
from tiny import tokenizer

LOOP = {"a": {"$ref": "#/$defs/a"}}
OWN = {"type": "object", "properties": {"next": {"$ref": "#"}}}


def test_documents_that_a_schema_validates_are_let_pass_and_others_are_not():
    rng, refused = Random(0), 0
    for _ in range(60):
        schema = random_document_schema(rng)
        for _ in range(6):
            document = instance(rng, schema)
            jsonschema.validate(document, schema)
            assert passes(matcher(response_format=json_format(schema)), text(document)), (schema, document)
            other = spoiled(rng, document)
            if not jsonschema.Draft202012Validator(schema).is_valid(other):
                refused += 1
                assert not passes(matcher(response_format=json_format(schema)), text(other)), (schema, other)
    assert refused > 180


def test_whatever_comes_of_a_grammar_is_valid():
    rng, draws, ended = Random(1), np.random.default_rng(1), 0
    for _ in range(40):
        schema = random_document_schema(rng)
        answer = at_random(matcher(response_format=json_format(schema)), draws)
        if answer is not None:
            ended += 1
            jsonschema.validate(json.loads(answer), schema)
    assert ended >= 36


def test_an_object_without_a_schema_is_any_object():
    anything = {"type": "json_object"}
    assert passes(matcher(response_format=anything), '{"a": [1, {"b": null}], "c": "\\n\u5bb6"}')
    assert passes(matcher(response_format=anything), '\n{\n  "a": 1,\n  "b": {}\n}')
    for wrong in ("[1]", '{"a": 1', "{'a': 1}", "text", '{"a": 01}'):
        assert not passes(matcher(response_format=anything), wrong)


def test_one_tool_chosen_or_any_has_to_be_called():
    assert not passes(matcher(tools=TOOLS, required=True), "No.")
    chosen, required = chosen_tools(TOOLS, {"type": "function", "function": {"name": "now"}})
    assert required
    assert passes(matcher(tools=chosen, required=True), call(name="now"))
    assert not passes(matcher(tools=chosen, required=True), call(("city", "Oslo"), ("days", "3")))


def test_a_format_and_tools_together_are_one_or_the_other():
    both = {"tools": TOOLS, "response_format": {"type": "json_object"}}
    assert passes(matcher(**both), '{"a": 1}')
    assert passes(matcher(**both), call(name="now"))
    assert not passes(matcher(**both), "text")
    assert not passes(matcher(**both), f'{{"a": 1}}{call(name="now")}')


@pytest.mark.parametrize(
    ("thought", "answer"),
    [
        ("free", '\n<think>so, {"a": 2}?\n</think>\n{"a": 1}'),
        ("free", '<think></think>{"a": 1}'),
        ("free", '\n{"a": 1}'),
        ("open", 'hm <b>\u5bb6</think>\n{"a": 1}'),
        ("over", '\n{"a": 1}'),
    ],
)
def test_what_is_thought_is_free_and_the_answer_after_it_is_not(thought, answer):
    assert passes(matcher(thought, response_format={"type": "json_object"}), answer)
    assert not passes(matcher(thought, response_format={"type": "json_object"}), answer.replace("1}", "1"))


def test_a_thought_ends_with_its_own_tag_alone():
    match = matcher("open", tools=TOOLS)
    added = {*tokenizer().backend.get_added_tokens_decoder()}
    assert added & set(may_come(match).tolist()) == {tokenizer().token_id("</think>")}
    # What is over or has begun with an answer does not begin again.
    for before in ("", "hello"):
        match = matcher("over", tools=TOOLS)
        for token in tokenizer().encode(before):
            match.take(token)
        assert tokenizer().token_id("<think>") not in may_come(match)


def test_a_thought_may_break_off_within_a_character():
    match = matcher("open", response_format={"type": "json_object"})
    first, *_ = tokenizer().encode("\u5bb6")
    for token in (first, *tokenizer().encode('\n</think>\n{"a": 1}')):
        match.take(token)
    assert set(STOPS) <= set(may_come(match).tolist())


def test_an_answer_that_leaves_its_grammar_is_told():
    match = matcher(response_format={"type": "json_object"})
    with pytest.raises(RequestError, match="left its grammar"):
        match.take(tokenizer().encode("x")[0])


@pytest.mark.parametrize(
    ("schema", "ends"),
    [
        ({"$ref": "#/$defs/a", "$defs": LOOP}, False),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"], "$defs": LOOP}, False),
        (OWN | {"required": ["next"]}, False),
        (OWN, True),
        (OWN | {"type": ["object", "null"], "required": ["next"]}, True),
        (OWN | {"allOf": [{"required": ["next"]}]}, False),
        (OWN | {"minProperties": 1, "additionalProperties": {"$ref": "#"}}, False),
        ({"type": "object", "required": ["a"], "additionalProperties": {"$ref": "#"}}, False),
        ({"type": "object", "additionalProperties": {"$ref": "#"}}, True),
        ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, False),
        ({"type": "array", "items": {"$ref": "#"}}, True),
        ({"anyOf": [OWN | {"required": ["next"]}, {"type": "string"}]}, True),
        (
            {
                "type": "object",
                "properties": {"default": {"$ref": "#/$defs/x"}},
                "required": ["default"],
                "$defs": {"x": {"type": "string"}},
            },
            True,
        ),
    ],
)
def test_a_schema_that_no_finite_document_follows_is_refused(schema, ends):
    if ends:
        assert matcher(response_format=json_format(schema))
        return
    with pytest.raises(RequestError, match="schema: nothing finite follows its schema"):
        answer_grammar(response_format=json_format(schema))


def test_an_answer_does_not_stop_before_it_is_whole():
    match = matcher(response_format={"type": "json_object"})
    request = Request((1,), Sampling(), 100, frozenset(STOPS), grammar=match)
    for token in (*tokenizer().encode('{"a"'), STOPS[0]):
        may_come(match)
        request.accept(token, -1.0)
    assert request.finish_reason == "error"
    with pytest.raises(RequestError, match=r"test: .*nothing that it allows"):
        raise request.error


@pytest.mark.parametrize(
    ("bounds", "valid", "invalid"),
    [
        ({"exclusiveMinimum": 0, "maximum": 0.5}, ("0.5", "0.001"), ("0", "0.0", "0.6")),
        ({"exclusiveMinimum": 0, "exclusiveMaximum": 0.001}, ("0.0001",), ("0", "0.001")),
        ({"exclusiveMinimum": -0.5, "exclusiveMaximum": 0}, ("-0.3",), ("0", "-0", "-0.5")),
        ({"exclusiveMinimum": 0, "maximum": 1}, ("1", "0.25"), ("0",)),
        ({"exclusiveMinimum": 0, "minimum": 0.2, "maximum": 0.5}, ("0.2",), ("0", "0.1")),
        ({"exclusiveMinimum": 0, "minimum": -3, "maximum": 0.5}, ("0.2",), ("0", "-1")),
    ],
)
def test_an_exclusive_bound_of_0_is_one(bounds, valid, invalid):
    schema = {"type": "object", "properties": {"x": {"type": "number", **bounds}}, "required": ["x"]}
    for number in (*valid, *invalid):
        assert passes(matcher(response_format=json_format(schema)), f'{{"x": {number}}}') == (number in valid), number


@pytest.mark.parametrize("wrapped", [lambda schema: schema, lambda schema: {"allOf": [schema, {"required": ["age"]}]}])
def test_a_declared_name_may_not_be_spelled_with_escapes(wrapped):
    """JSON reads both spellings as one name, whose schema holds."""
    schema = wrapped({"type": "object", "properties": {"age": {"type": "integer"}}})
    grammar = {"response_format": json_format(schema)}
    assert passes(matcher(**grammar), '{"age": 1, "name": "\\n"}')
    assert passes(matcher(**grammar), '{"age": 1, "a ge": {"age": "x"}}')
    assert passes(matcher(**grammar), r'{"age": 1, "a\nb": 2, "\"q\"": 3, "a\\b": 4}')  # escapes that JSON asks for
    assert not passes(matcher(**grammar), '{"age": 1, "\\u0061ge": "x"}')
    assert not passes(matcher(**grammar), '{"age": "x"}')


def test_where_no_call_may_come_there_is_none():
    match = matcher(forbidden=True)
    assert passes(match.copy(), "a text of any kind")
    (call,) = tokenizer().encode("<tool_call>")
    assert call in may_come(matcher(tools=TOOLS))
    assert call not in may_come(match)


def test_nothing_asked_is_no_grammar():
    assert answer_grammar() is None
    assert answer_grammar(response_format={"type": "text"}) is None


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "objekt"}, "objekt"),
        ({"type": "object", "required": 5}, "required"),
        ({"type": "object", "not": {}}, "not"),
        ({"type": "object", "unevaluatedProperties": False}, "unevaluatedProperties"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, r"minimum \(5\) is greater than maximum \(3\)"),
        ({"$ref": "https://example.com/schema"}, "example.com"),
        ({"type": "string", "pattern": "(?=a)"}, "regex parse error.*look-around"),
        ({"type": "string", "format": "colour"}, "colour"),
        ({"anyOf": []}, "anyOf is empty"),
        ({"type": "object", "required": ["a"], "properties": {"a": {"oneOf": []}}}, "'a' is unsatisfiable"),
        ({"$ref": ["#"]}, "ref"),
    ],
)
def test_a_schema_that_cannot_be_followed_is_refused_by_what_is_wrong(schema, said):
    with pytest.raises(RequestError, match=f"^response_format: .*{said}"):
        VOCABULARY.matcher(answer_grammar(response_format=json_format(schema)), "response_format")


@pytest.mark.parametrize(
    "wrong",
    [
        "json",
        {"type": "xml"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"schema": "object"}},
        {
            "type": "json_schema",
            "json_schema": {"schema": {"type": "array", "prefixItems": [], "minItems": math.inf}},
        },
        {},
    ],
)
def test_a_format_of_another_kind_is_refused(wrong):
    with pytest.raises(RequestError, match="response_format"):
        answer_grammar(response_format=wrong)


@pytest.mark.parametrize(
    ("tools", "choice", "said"),
    [
        ([], "required", "no tools"),
        (TOOLS, "any", "'any'"),
        (TOOLS, {"type": "function", "function": {"name": "later"}}, "'later'; declared are get_weather, now"),
        (TOOLS, {"name": "now"}, "expected"),
        (TOOLS, 3, "expected"),
    ],
)
def test_a_choice_of_tools_that_is_none_is_refused(tools: Sequence, choice, said):
    with pytest.raises(RequestError, match=said):
        chosen_tools(tools, choice)
