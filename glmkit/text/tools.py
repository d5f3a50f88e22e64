"""Tools as the model is told of them: OpenAI function schemas, given as such or made from typed Python functions.

Reading the arguments of a call back, by the same schemas, is `arguments.py`.
"""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from glmkit.errors import RequestError

__all__ = ["Tools", "function_schema", "normalize_tools"]

if TYPE_CHECKING:
    Tools = Sequence[Mapping[str, Any] | Callable] | None
else:
    Tools = Any  # at run time `normalize_tools` checks them, and says what is wrong

SCALARS = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    types.NoneType: {"type": "null"},
    Any: {},
}


def normalize_tools(tools: Tools) -> list[dict[str, Any]]:
    """Tools in the form the template prints: `{"type": "function", "function": {"name": ..., ...}}`.

    A schema already in that form is kept as it is, key order included; a bare function object (`{"name": ...,
    "parameters": ...}`, with or without `"type": "function"`) is wrapped; a Python function goes through
    `function_schema`. Raises RequestError naming the tool's index and key.
    """
    if tools is None:
        return []
    if not isinstance(tools, Sequence) or isinstance(tools, (str, bytes)):
        raise RequestError(f"tools: expected a list of schemas or functions, got {type(tools).__name__}")
    normal = [_normalize_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    names = [tool["function"]["name"] for tool in normal]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise RequestError(f"tools[{index}].function.name: {name!r} is declared twice")
    return normal


def _normalize_tool(tool: Any, where: str) -> dict[str, Any]:
    if callable(tool) and not isinstance(tool, type):
        return function_schema(tool)
    if not isinstance(tool, Mapping):
        raise RequestError(f"{where}: expected a schema or a typed Python function, got {type(tool).__name__}")
    if tool.get("type", "function") != "function":
        raise RequestError(f"{where}.type: expected 'function', got {tool['type']!r}")
    if "function" in tool:
        schema = dict(tool)
    else:
        schema = {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}
    _check_function(schema["function"], f"{where}.function")
    try:
        json.dumps(schema)
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(f"{where}: not JSON: {error}") from error
    return schema


def _check_function(function: Any, where: str) -> None:
    if not isinstance(function, Mapping):
        raise RequestError(f"{where}: expected an object with name and parameters, got {type(function).__name__}")
    check_name(function.get("name"), f"{where}.name")
    parameters = function.get("parameters") or {}
    if not isinstance(parameters, Mapping) or not isinstance(parameters.get("properties") or {}, Mapping):
        raise RequestError(f"{where}.parameters: expected a JSON schema of an object")


def check_name(name: Any, where: str) -> None:
    """Raise RequestError unless `name` can stand between `<tool_call>` and the end of the line."""
    if not isinstance(name, str) or not name:
        raise RequestError(f"{where}: a tool needs a name")
    if "<" in name or re.search(r"\s|\\n", name):  # escaped, the end of a line is one too
        raise RequestError(f"{where}: {name!r} is not one word; use letters, digits, '_', '-' and '.'")


def function_schema(function: Callable) -> dict[str, Any]:
    """The tool schema of a typed Python function.

    The description is the docstring's text before `Args:`; a parameter's description is its line there, or the first
    string of its `Annotated`. A parameter with a default is not required. Understood annotations: str, int, float,
    bool, None, Any, list, dict, Literal, Optional and unions of these. Raises RequestError naming the parameter
    that has no annotation, or one with no JSON counterpart.
    """
    name = getattr(function, "__name__", type(function).__name__)
    check_name(name, f"tool {name!r}")
    try:
        hints = get_type_hints(function, include_extras=True)
        signature = inspect.signature(function).parameters
    except (NameError, TypeError, AttributeError, SyntaxError, ValueError) as error:
        raise RequestError(f"tool {name!r}: its annotations cannot be resolved: {error}") from error
    description, about = _read_docstring(inspect.getdoc(function) or "", signature)
    properties, required = {}, []
    for parameter in signature.values():
        where = f"tool {name!r}, parameter {parameter.name!r}"
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise RequestError(f"{where}: a model calls by name; *args, **kwargs and positional-only do not work")
        if parameter.name not in hints:
            raise RequestError(f"{where}: needs a type annotation")
        schema = _schema_of(hints[parameter.name], where)
        if parameter.name in about:
            schema = {**schema, "description": about[parameter.name]}
        properties[parameter.name] = schema
        if parameter.default is parameter.empty:
            required.append(parameter.name)
    parameters = {"type": "object", "properties": properties, "required": required}
    body = {"name": name, **({"description": description} if description else {}), "parameters": parameters}
    return {"type": "function", "function": body}


def _read_docstring(doc: str, names: Iterable[str]) -> tuple[str, dict[str, str]]:
    """What a function does, and what each parameter is by the `name: text` entries of its Args section."""
    description, _, rest = doc.partition("\nArgs:\n")
    section = re.split(r"\n(?=\S)", rest)[0]
    _, *entries = re.split(rf"^\s+({'|'.join(names)})(?: \([^)]*\))?:\s", section, flags=re.MULTILINE)
    about = {name: " ".join(text.split()) for name, text in zip(entries[::2], entries[1::2], strict=True)}
    return re.split(r"\n(?:Returns|Raises|Yields):\n", description)[0].strip(), about


def _schema_of(hint: Any, where: str) -> dict[str, Any]:
    """The JSON schema of one annotation."""
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if isinstance(origin, Hashable) and origin in SCALARS:
        return dict(SCALARS[origin])
    if origin is Annotated:
        text = next((extra for extra in arguments[1:] if isinstance(extra, str)), None)
        return _schema_of(arguments[0], where) | ({"description": text} if text else {})
    if origin is Literal:
        kinds = {type(value) for value in arguments}
        if kinds <= SCALARS.keys():
            return (dict(SCALARS[kinds.pop()]) if len(kinds) == 1 else {}) | {"enum": list(arguments)}
    if origin is list:
        return {"type": "array"} | ({"items": _schema_of(arguments[0], where)} if arguments else {})
    if origin is dict and not arguments:
        return {"type": "object"}
    if origin is dict and arguments[0] is str:
        return {"type": "object", "additionalProperties": _schema_of(arguments[1], where)}
    if origin in (Union, types.UnionType):
        return _union([_schema_of(argument, where) for argument in arguments])
    raise RequestError(f"{where}: {hint} has no JSON schema; use str, int, float, bool, list, dict, Literal or a union")


def _union(options: list[dict[str, Any]]) -> dict[str, Any]:
    if all(option.keys() == {"type"} for option in options):
        return {"type": [option["type"] for option in options]}
    return {"anyOf": options}
