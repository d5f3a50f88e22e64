"""The values of a tool call's arguments: how a parameter's schema has them written, and what they are read as."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["ANNOTATIONS", "Forms", "forms", "json_type", "read_value"]

ANNOTATIONS = frozenset(
    ("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment")
)
"""Keywords that say nothing of what is valid."""


_LARGEST = sys.float_info.max


class Forms(NamedTuple):
    """How a value may be written: raw as a text that one of the schemas describes, or as JSON by one of the others."""

    texts: Sequence[Mapping[str, Any]]
    others: Sequence[Any]

    def read(self, written: str) -> Any:
        """The value of what was written. Never raises.

        JSON of one of the others is that, and what else a text is stays as it is. Where there are no texts, what is not
        JSON is read as well as it can be.
        """
        if not self.texts:
            return read_value(written)
        try:
            value = _plain(_loads(written)) if written == written.strip() else written
        except (ValueError, TypeError, RecursionError, MemoryError):
            return written
        return value if any(_may_be(value, other) for other in self.others) else written


def forms(schema: Any, parameters: Mapping[str, Any]) -> Forms:
    """The forms of one of a tool's `parameters` with this schema, whose references are into these.

    A text is a type "string", alone or in a list of types, and each string of an enum or const; unions and references
    are looked into. A schema that is for anything describes JSON. Never raises.
    """
    texts, others = [], []
    for option in _options(schema, parameters):
        text, other = _split(option)
        texts += [] if text is None else [text]
        others += [] if other is None else [other]
    return Forms(texts, others)


def json_type(value: Any) -> str:
    """The JSON schema type of a value."""
    for kind, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array")):
        if isinstance(value, kind):
            return name
    return "null" if value is None else "object"


def read_value(text: str) -> Any:
    """The value of a parameter that is not a string: JSON, JSON with escaped quotes, a Python literal, or the text.

    Never raises. What comes out can always be written as strict JSON, so NaN stays text and a tuple is a list.
    """
    for read in (_loads, _unescaped, ast.literal_eval):
        try:
            return _plain(read(text.strip()))
        # The readers and writers between them: malformed, not JSON, nested or long beyond what the parsers take.
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def _options(schema: Any, parameters: Mapping[str, Any], seen: tuple[str, ...] = ()) -> Iterator[Any]:
    """The members of unions, and of unions in these, with references followed."""
    keywords = schema.keys() - ANNOTATIONS if isinstance(schema, Mapping) else ()
    match [*keywords]:
        case ["$ref"]:
            name, target = str(schema["$ref"]), parameters
            for key in name.removeprefix("#/").split("/") if name.startswith("#/") else [name]:
                target = target.get(key) if isinstance(target, Mapping) else None
            if target is not None and name not in seen:
                yield from _options(target, parameters, (*seen, name))
                return
        case ["anyOf" | "oneOf" as union] if isinstance(schema[union], list):
            for member in schema[union]:
                yield from _options(member, parameters, seen)
            return
    yield schema


def _split(schema: Any) -> tuple[Mapping[str, Any] | None, Any]:
    """Of a schema that is no union, that of the texts it is for and that of all else."""
    if not isinstance(schema, Mapping):
        return None, schema
    choices = schema.get("enum", [schema["const"]] if "const" in schema else None)
    types = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type")
    known = isinstance(choices, list | tuple | None) and isinstance(types, list | tuple | None)
    if not known or (choices is None and types is None):
        return None, schema
    text, other = dict(schema), dict(schema)
    says_text, says_other = True, True
    if types is not None:
        rest = [name for name in types if name != "string"]
        text["type"], other["type"] = "string", rest
        says_text, says_other = len(rest) < len(types), bool(rest)
    if choices is not None:
        said = [choice for choice in choices if isinstance(choice, str)]
        rest = [choice for choice in choices if not isinstance(choice, str)]
        text["enum"], other["enum"] = said, rest
        says_text, says_other = says_text and bool(said), says_other and bool(rest)
        text.pop("const", None), other.pop("const", None)
    if not says_text:
        return None, schema
    return text, other if says_other else None


def _may_be(value: Any, schema: Any) -> bool:
    """Whether a schema is for values like this one: one of its choices, or of its types."""
    if not isinstance(schema, Mapping):
        return True
    if "enum" in schema:
        return any(type(choice) is type(value) and choice == value for choice in schema["enum"])
    types, own = schema.get("type"), json_type(value)
    types = [types] if isinstance(types, str) else types
    return not isinstance(types, list) or own in types or (own == "integer" and "number" in types)


def _unescaped(text: str) -> Any:
    """JSON that the model escaped once more, as `[{\\"id\\": 1}]`."""
    return _loads(json.loads(f'"{text}"'))


def _loads(text: str) -> Any:
    """JSON; a number larger than any that Python has is the largest."""
    return json.loads(text, parse_float=lambda number: min(max(float(number), -_LARGEST), _LARGEST))


def _plain(value: Any) -> Any:
    """`value` in the types of JSON. Raises ValueError or TypeError where it has no strict JSON that can be sent on."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    text.encode()  # fails on a lone surrogate
    return json.loads(text)
