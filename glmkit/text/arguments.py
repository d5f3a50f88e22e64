"""The value of a tool call's argument: from the text a model writes to JSON, by the tool's schema."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["read_value", "takes_text"]


def takes_text(schema: Any) -> bool:
    """Whether a parameter may be a string, so that the model writes it raw: no quotes, nothing escaped.

    True for type "string", a list of types with "string", an anyOf or oneOf with such a member, an enum of strings.
    """
    if not isinstance(schema, Mapping):
        return False
    kinds = schema.get("type")
    if kinds == "string" or (isinstance(kinds, list) and "string" in kinds):
        return True
    if kinds is None and isinstance(schema.get("enum"), list):
        return any(isinstance(choice, str) for choice in schema["enum"])
    options = [schema.get(key) for key in ("anyOf", "oneOf")]
    return any(takes_text(option) for group in options if isinstance(group, list) for option in group)


def read_value(text: str) -> Any:
    """The value of a parameter that is not a string: JSON, JSON with escaped quotes, a Python literal, or the text.

    Never raises. What comes out can always be written as strict JSON, so NaN stays text and a tuple is a list.
    """
    for read in (json.loads, _unescaped, ast.literal_eval):
        try:
            return _plain(read(text.strip()))
        # The readers and writers between them: malformed, not JSON, nested or long beyond what the parsers take.
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def _unescaped(text: str) -> Any:
    """JSON that the model escaped once more, as `[{\\"id\\": 1}]`."""
    return json.loads(json.loads(f'"{text}"'))


def _plain(value: Any) -> Any:
    """`value` in the types of JSON. Raises ValueError or TypeError where it has no strict JSON that can be sent on."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    text.encode()  # fails on a lone surrogate
    return json.loads(text)
