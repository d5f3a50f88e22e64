"""What may be called: tools by their declarations, each parameter by its schema, to the letter."""

import functools

import jsonschema
import numpy as np
import pytest

from glmkit.errors import RequestError
from glmkit.text import normalize_tools, parse
from glmkit.text.grammar import answer_grammar
from grammars import TOOLS, WEATHER, at_random, call, matcher, passes


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


def test_more_parameters_than_can_be_told_apart_are_refused():
    many = {f"p{i}": {"type": "integer"} for i in range(65)}
    tools = normalize_tools([{"name": "wide", "parameters": {"type": "object", "properties": many}}])
    with pytest.raises(RequestError, match="'wide' has 65 parameters"):
        answer_grammar(tools)
