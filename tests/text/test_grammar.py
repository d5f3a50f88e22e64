"""What may be answered: every answer that a grammar lets pass is right, and every right one is let pass."""

import functools
import json
import math
from collections.abc import Sequence
from random import Random

import jsonschema
import numpy as np
import pytest

from glmkit.engine import Request, Sampling
from glmkit.errors import RequestError
from glmkit.text import normalize_tools, parse
from glmkit.text.grammar import GrammarVocabulary, TurnMatcher, answer_grammar, chosen_tools
from schemas import instance, random_document_schema, spoiled, text
from tiny import CONFIG, tokenizer

STOPS = CONFIG.eos_token_id
VOCABULARY = GrammarVocabulary(tokenizer(), CONFIG.vocab_size, STOPS)
WEATHER = {
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 5},
            "days": {"type": "integer", "minimum": 1, "maximum": 9},
            "unit": {"type": "string", "enum": ["C", "F"]},
            "code": {"type": "string", "pattern": "^[A-Z]{2}$"},
            "near": {"$ref": "#/$defs/point"},
            "wind": {
                "anyOf": [{"type": "string", "maxLength": 3}, {"type": "integer", "minimum": 5}, {"type": "null"}]
            },
        },
        "required": ["city", "days"],
        "$defs": {"point": {"type": "array", "items": {"type": "integer", "maximum": 9}, "maxItems": 2}},
    },
}
TOOLS = normalize_tools([WEATHER, {"name": "now"}])


def json_format(schema) -> dict:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def matcher(thought="over", **grammar) -> TurnMatcher:
    return VOCABULARY.matcher(answer_grammar(**grammar), "test", thought)


def may_come(match: TurnMatcher) -> np.ndarray:
    """The tokens that may come next."""
    mask = np.zeros(-(-CONFIG.vocab_size // 32), np.int32)
    match.fill(mask)
    return np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))


def passes(match: TurnMatcher, answer: str) -> bool:
    """Whether a whole answer is let pass, and may end there."""
    try:
        for token in tokenizer().encode(answer):
            if token not in may_come(match):
                return False
            match.take(token)
    except RequestError:
        return False
    return set(STOPS) <= set(may_come(match).tolist())


def at_random(match: TurnMatcher, rng: np.random.Generator, most: int = 1500) -> str | None:
    """An answer of tokens drawn at random from those that may come; None if it had not ended after `most`."""
    tokens: list[int] = []
    while len(tokens) < most:
        options = may_come(match)
        token = int(rng.choice(options))
        if token in STOPS:
            return tokenizer().decode(tokens)
        tokens.append(token)
        match.take(token)
    return None


def call(*arguments: tuple[str, str], name: str = "get_weather") -> str:
    said = "".join(f"<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n" for key, value in arguments)
    return f"<tool_call>{name}\n{said}</tool_call>"


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


def test_calls_are_those_of_the_declared_tools():
    right = (
        call(("city", "Oslo"), ("days", "3")),
        call(("days", "3"), ("unit", "F"), ("city", "Oslo")),  # in any order
        call(("city", "a<b"), ("days", "3"), ("code", "AB"), ("near", "[1, 2]")),
        f"It rains. {call(name='now')}\n{call(('city', ''), ('days', '9'))}",
        "No tool is needed.",
        "",
    )
    wrong = (
        call(("city", "Oslo")),  # days is required
        call(("city", "Oslo"), ("days", "30")),
        call(("city", "Oslo"), ("days", "three")),
        call(("city", "Oslo"), ("city", "Rome"), ("days", "3")),
        call(("city", "London"), ("days", "3")),  # too long
        call(("city", "Oslo"), ("days", "3"), ("unit", "K")),
        call(("city", "Oslo"), ("days", "3"), ("code", "ABC")),
        call(("city", "Oslo"), ("days", "3"), ("near", "[1, 2, 3]")),
        call(("city", "Oslo"), ("days", "3"), ("sky", "blue")),
        call(name="later"),
        f"{call(name='now')} and more",
    )
    for answer in right:
        assert passes(matcher(tools=TOOLS), answer), answer
    for answer in wrong:
        assert not passes(matcher(tools=TOOLS), answer), answer


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"anyOf": [{"enum": ["C", "F"]}, {"type": "null"}]}, {"C": "C", "null": None}, ["banana", '"C"', ""]),
        ({"type": ["string", "null"], "maxLength": 2}, {"ab": "ab", "null": None, "": ""}, ["abc", "nul"]),
        ({"enum": [1, "high"]}, {"1": 1, "high": "high"}, ['"high"', "2"]),
        ({"const": "fixed"}, {"fixed": "fixed"}, ['"fixed"', "x"]),
        ({"type": ["string", "integer"], "minimum": 5}, {"7": 7, "x7": "x7", " 7": " 7", "true": "true"}, ["3"]),
        ({"type": ["array", "string"], "items": {"type": "null"}}, {"[null]": [None], "x]": "x]"}, ["[1]", "[x"]),
        ({"$ref": "#/$defs/unit"}, {"C": "C", "": ""}, ['"C"', "K"]),
        ({"anyOf": [{"type": "string"}, {"allOf": [{"type": "integer"}]}]}, {"7": 7, "x": "x"}, ["true", "null"]),
        ({"type": "string", "pattern": r"^\d{2}\/\d{2}$"}, {"01/02": "01/02"}, ["01-02"]),
        ({"type": "string", "pattern": "^/a|b$|[|]c\n"}, {"/ax": "/ax", "xb": "xb", "x|c\n": "x|c\n"}, ["x/a", "bx"]),
        ({"type": "string", "format": "date"}, {"2024-02-29": "2024-02-29"}, ["2025-02-29", "2025-11-31", "today"]),
        ({"type": "string", "format": "uri"}, {"https://a.b/c?d": "https://a.b/c?d"}, ["a b"]),
    ],
)
def test_a_value_is_a_text_or_json_as_its_schema_says(schema, right, wrong):
    parameters = {"type": "object", "properties": {"x": schema}, "required": ["x"]}
    tools = normalize_tools([{"name": "f", "parameters": {**parameters, "$defs": {"unit": {"enum": ["C", ""]}}}}])
    match = matcher(tools=tools, required=True)
    for written, value in right.items():
        answer = call(("x", written), name="f")
        assert passes(match.copy(), answer), written
        assert parse(answer, tools).tool_calls[0].arguments == {"x": value}
    for written in wrong:
        assert not passes(match.copy(), call(("x", written), name="f")), written


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "string", "not": {}}, "not"),
        ({"type": "string", "allOf": [{"maxLength": 2}]}, "allOf"),
        ({"type": "string", "anyOf": [{"maxLength": 2}]}, "anyOf"),
        ({"type": "string", "nullable": True}, "nullable"),
        ({"type": "string", "format": "hostname"}, "hostname"),
        ({"type": "string", "format": "colour"}, "colour"),
        ({"type": "string", "enum": []}, "empty"),
        ({"type": "string", "minLength": "3"}, "minLength"),
        ({"type": "string", "pattern": "^abcdef$", "maxLength": 3}, "Unsatisfiable"),
        ({"type": "string", "pattern": "(^a|b)"}, "not supported"),
        ({"type": "objekt"}, "objekt"),
        ({"type": "object", "required": 5}, "required"),
        ({"type": "integer", "nullable": True}, "nullable"),
        ({"$ref": "#/$defs/none"}, "none"),
        (5, "object or boolean"),
        (functools.reduce(lambda schema, _: {"type": "array", "items": schema}, range(400), {}), "recursion"),
    ],
)
def test_a_parameter_that_cannot_be_followed_is_refused_by_its_name(schema, said):
    tools = normalize_tools([{"name": "f", "parameters": {"type": "object", "properties": {"x": schema}}}])
    with pytest.raises(RequestError, match=f"^tool 'f', parameter 'x': .*{said}"):
        answer_grammar(tools)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"minProperties": 1}, "minProperties is not supported"),
        ({"dependentRequired": {"a": ["b"]}}, "dependentRequired is not supported"),
        ({"$ref": "#/$defs/a"}, "ref is not supported"),
        ({"type": "objekt"}, "type is 'objekt'"),
        ({"required": ["b"]}, "required names 'b'"),
        ({"required": 5}, "required is 5"),
        ({"properties": {" a": {"type": "string"}}}, "' a' has blanks around it"),
    ],
)
def test_parameters_that_cannot_be_followed_are_refused_by_what_is_wrong(keywords, said):
    parameters = {"type": "object", "properties": {"a": {"type": "string"}}, **keywords}
    with pytest.raises(RequestError, match=f"^tool 'f', parameters: .*{said}"):
        answer_grammar(normalize_tools([{"name": "f", "parameters": parameters}]))


def test_calls_at_random_read_back_as_declared():
    draws = np.random.default_rng(2)
    for _ in range(30):
        answer = at_random(matcher(tools=TOOLS, required=True), draws)
        if answer is None:
            continue
        parsed = parse(answer, TOOLS)
        assert parsed.tool_calls
        assert not parsed.content
        for made in parsed.tool_calls:
            assert made.closed
            if made.name == "get_weather":
                jsonschema.validate(made.arguments, WEATHER["parameters"])
            else:
                assert (made.name, made.arguments) == ("now", {})


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


LOOP = {"a": {"$ref": "#/$defs/a"}}


OWN = {"type": "object", "properties": {"next": {"$ref": "#"}}}


@pytest.mark.parametrize(
    ("schema", "ends"),
    [
        ({"$ref": "#/$defs/a", "$defs": LOOP}, False),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"], "$defs": LOOP}, False),
        (OWN | {"required": ["next"]}, False),
        (OWN, True),
        (OWN | {"type": ["object", "null"], "required": ["next"]}, True),
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


def test_more_parameters_than_can_be_told_apart_are_refused():
    many = {f"p{i}": {"type": "integer"} for i in range(65)}
    tools = normalize_tools([{"name": "wide", "parameters": {"type": "object", "properties": many}}])
    with pytest.raises(RequestError, match="'wide' has 65 parameters"):
        answer_grammar(tools)
