"""The rules of a tool's calls, by its declaration: what cannot be followed to the letter is refused by its name."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from glmkit.errors import RequestError
from glmkit.text.arguments import ANNOTATIONS, Forms, forms, json_type
from glmkit.text.schemas import followed, has_an_end

__all__ = ["NO_END", "call_rules", "in_short", "json_rule", "why_not"]

NO_END = "nothing finite follows its schema, which always asks for another of its own kind"

_MOST_PARAMETERS = 64  # of a tool: those already given are counted in the bits of an integer
# Blanks as people and models write JSON: one, or a new line and what it is indented by.
_JSON_OPTIONS = {"whitespace_pattern": r"( |\n[ \t]{0,24})"}

_DEFINITIONS = ("$defs", "definitions")
_OF_PARAMETERS = {"type", "properties", "required", "additionalProperties", "$schema", "$id", *_DEFINITIONS}
_OF_TEXTS = {"minLength", "maxLength", "pattern", "format"}
_OF_OTHERS = {
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("items", "prefixItems", "additionalItems", "minItems", "maxItems"),
    *("properties", "patternProperties", "additionalProperties", "required", "minProperties", "maxProperties"),
}
_OF_ALL = {"type", "enum", "const", *_DEFINITIONS}
_OF_JSON = {"anyOf", "oneOf", "allOf", "$ref"}  # for a text they would have to be made one with what stands beside them

_LEAP_YEAR = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)"
_DATE = (
    "([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
    f"|{_LEAP_YEAR}-02-29)"
)
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "uuid": "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "ipv4": rf"{_BYTE}(\.{_BYTE}){{3}}",
    "email": r"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9]+(-[A-Za-z0-9]+)*(\.[A-Za-z0-9]+(-[A-Za-z0-9]+)*)+",
    "uri": "[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9._~:/?#@!$&'()*+,;=-]+",
}
# What a text may not be where a value could be of another type too: it would be read as that.
_NOT_A_TEXT = {
    "boolean": "/true|false/",
    "null": "/null/",
    "number": r"/-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?/",
    "string": r'/"(?s:.*)/',
    "array": r"/\[(?s:.*)/",
    "object": r"/\{(?s:.*)/",
}


def call_rules(number: int, tool: Mapping[str, Any]) -> list[str]:
    """The rules of a call, by the names `call_N` and those that it uses; `VALUE` is any text that an argument may be.

    Raises `RequestError` naming the tool, the parameter and the keyword that cannot be followed, and for a tool of more
    parameters than can be told apart.
    """
    function = tool["function"]
    where, parameters = f"tool {function['name']!r}", function.get("parameters") or {}
    properties = parameters.get("properties") or {}
    _check_parameters(parameters, properties, where)
    required = parameters.get("required") or ()
    names = sorted(properties, key=lambda name: name not in required)  # the required ones have the lowest bits
    head = f"call_{number}: <tool_call> {_text(function['name'])} NEWLINE"
    if not names:
        return [f"{head} </tool_call>"]
    must = sum(name in required for name in names)
    given = [f'""{f" %if is_ones([0:{must}])" if must else ""}']
    rules = []
    for bit, name in enumerate(names):
        value = f"value_{number}_{bit}"
        key = f"<arg_key> {_text(name)} </arg_key> NEWLINE <arg_value> {value} </arg_value> NEWLINE"
        given.append(f"{key} given_{number}::set_bit({bit}) %if bit_clear({bit})")
        rules += _value_rules(value, properties[name], parameters, f"{where}, parameter {name!r}")
    return [f"{head} given_{number}::0 </tool_call>", f"given_{number}::_: " + "\n  | ".join(given), *rules]


def json_rule(schema: Any) -> str:
    """What follows a JSON schema, as the right side of a rule."""
    schema = followed(schema)
    if isinstance(schema, Mapping):
        schema = {**schema, "x-guidance": _JSON_OPTIONS}
    return "%json " + json.dumps(schema, ensure_ascii=False, allow_nan=False)


@functools.lru_cache(1024)
def why_not(grammar: str) -> str | None:
    """Why a grammar cannot be followed; None if it can."""
    from llguidance import LLMatcher

    failed, told = LLMatcher.validate_grammar_with_warnings(grammar)
    return in_short(told[0]) if failed or told else None


def in_short(told: str) -> str:
    """What `llguidance` says, without the places in a grammar that nobody wrote, and without its own state."""
    said = told.rpartition("failed to compile JSON schema: ")[2]
    return " ".join(re.split(r"\n\s*\d+ \| |\n<state>", said)[0].split())[:300]


def _check_parameters(parameters: Mapping[str, Any], properties: Mapping[str, Any], where: str) -> None:
    _refuse_others(parameters, _OF_PARAMETERS, f"{where}, parameters")
    if parameters.get("type", "object") != "object":
        raise RequestError(f"{where}, parameters: type is {parameters['type']!r}; expected 'object'")
    required = parameters.get("required") or []
    if not isinstance(required, list | tuple) or any(not isinstance(name, str) for name in required):
        raise RequestError(f"{where}, parameters: required is {required!r}; expected a list of names")
    for name in properties:
        if name != name.strip():
            raise RequestError(f"{where}, parameters: {name!r} has blanks around it, which are no part of what is read")
    for name in required:
        if name not in properties:
            raise RequestError(f"{where}, parameters: required names {name!r}, which is not among the properties")
    if len(properties) > _MOST_PARAMETERS:
        raise RequestError(f"{where} has {len(properties)} parameters; at most {_MOST_PARAMETERS} can be")


def _refuse_others(schema: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    for keyword in schema:
        if keyword not in ANNOTATIONS and keyword not in known and not str(keyword).startswith("x-"):
            raise RequestError(f"{where}: {keyword} is not supported")


def _value_rules(name: str, schema: Any, parameters: Mapping[str, Any], where: str) -> list[str]:
    """The rules of a parameter's value by `name`: a text as it is, anything else as JSON."""
    definitions = {key: parameters[key] for key in _DEFINITIONS if key in parameters}
    whole = {**schema, **definitions} if isinstance(schema, Mapping) else schema
    try:
        reason = why_not(f"start: {json_rule(whole)}") or (None if has_an_end(whole) else NO_END)
    except (TypeError, ValueError, RecursionError) as error:
        reason = f"not JSON: {error}"
    if reason:
        raise RequestError(f"{where}: {reason}")
    ways, options, rules = forms(schema, parameters), [], []
    for other in ways.others:
        if isinstance(other, Mapping):
            _refuse_others(other, _OF_ALL | _OF_TEXTS | _OF_OTHERS | _OF_JSON, where)
            other = {**other, **definitions}
        options.append(f"{name}_{len(options)}")
        rules.append(f"{options[-1]}: {json_rule(other)}")
    for text in ways.texts:
        _refuse_others(text, _OF_ALL | _OF_TEXTS | _OF_OTHERS, where)
        options.append(f"{name.upper()}_{len(options)}")
        rules.append(f"{options[-1]}: {_text_terminal(text, ways, where)}")
    return [f"{name}: {' | '.join(options)}", *rules]


def _text_terminal(schema: Mapping[str, Any], ways: Forms, where: str) -> str:
    """The texts of a schema that are not read as another of the ways that there are."""
    parts = ["VALUE"]
    if "enum" in schema:
        parts = [f"({' | '.join(map(_text, schema['enum']))})"]
    if "minLength" in schema or "maxLength" in schema:
        parts.append(f"/(?s:.){{{schema.get('minLength', 0)},{schema.get('maxLength', '')}}}/")
    if "pattern" in schema:
        parts.append(_regex("|".join(map(_found, _alternatives(schema["pattern"])))))
    if "format" in schema:
        if schema["format"] not in _FORMATS:
            raise RequestError(f"{where}: format {schema['format']!r} is not supported; {', '.join(_FORMATS)} are")
        parts.append(_regex(_FORMATS[schema["format"]]))
    kinds = {kind for other in ways.others for kind in _types(other)}
    parts += [f"~{_NOT_A_TEXT[kind]}" for kind in sorted(kinds & _NOT_A_TEXT.keys())]
    if reason := why_not(f"start: TEXT\nVALUE: /(?s:.*)/\nTEXT: {' & '.join(parts)}"):
        raise RequestError(f"{where}: {reason}")
    return " & ".join(parts)


def _types(schema: Any) -> set[str]:
    """The types of what a schema is for, integers among the numbers; its choices are what they are read as anyway."""
    if isinstance(schema, Mapping) and "enum" in schema:
        return {json_type(choice) for choice in schema["enum"]} & {"array", "object"}
    types = schema.get("type") if isinstance(schema, Mapping) else None
    types = [types] if isinstance(types, str) else _NOT_A_TEXT if types is None else types
    return {"number" if name == "integer" else name for name in types}


def _alternatives(pattern: str) -> list[list[str]]:
    """What stands between the `|` of a pattern that are in no group, each as a list of its smallest parts."""
    found: list[list[str]] = [[]]
    depth = 0
    for part in re.findall(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", pattern, re.DOTALL):
        depth += (part == "(") - (part == ")")
        if part == "|" and not depth:
            found.append([])
        else:
            found[-1].append(part)
    return found


def _found(parts: list[str]) -> str:
    """An expression for the texts in which a pattern without alternatives finds something."""
    start, end = parts[:1] == ["^"], parts[-1:] == ["$"]
    body = "".join(parts[start : len(parts) - end])
    return ("" if start else "(?s:.*)") + f"({body})" + ("" if end else "(?s:.*)")


def _regex(expression: str) -> str:
    """An expression as a terminal, whose own slashes and ends of lines are escaped."""
    escaped = re.sub(r"\\.|/", lambda found: "\\/" if found[0] == "/" else found[0], expression, flags=re.DOTALL)
    return "/" + escaped.replace("\n", r"\n") + "/"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
