"""JSON schemas as they can be followed token by token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["followed", "has_an_end"]

_VALUES = ("enum", "const", "default", "examples")  # whose content is no schema
_BY_NAME = ("properties", "patternProperties", "$defs", "definitions")  # whose content is schemas by any name
_ANY_NAME = r"^(?s:.*)$"  # `llguidance` writes what a pattern matches without escapes that JSON does not ask for
_SMALL = 1e-9  # of the other bound: numbers below it are valid, and are not written


def followed(schema: Any) -> Any:
    """A schema as it is given to `llguidance`, with its faults mended by what it does follow.

    It takes an exclusive bound of 0 for 0 itself where the other is between -1 and 1: a small number stands for it. It
    tells names in objects apart by their spelling, so that `"\\u0061ge"` may have what `"age"` may not: names that an
    open object does not declare are written without the escapes that JSON does not ask for.
    """
    if isinstance(schema, Mapping):
        found = {key: _each(key, each) for key, each in schema.items()}
        _close(found, "exclusiveMinimum", "minimum", ("maximum", "exclusiveMaximum"), 1)
        _close(found, "exclusiveMaximum", "maximum", ("minimum", "exclusiveMinimum"), -1)
        return found | _plain_names(found)
    return [followed(each) for each in schema] if isinstance(schema, list | tuple) else schema


def _each(key: str, value: Any) -> Any:
    """`followed`, of what a keyword has."""
    if key in _VALUES:
        return value
    if key in _BY_NAME and isinstance(value, Mapping):
        return {name: followed(schema) for name, schema in value.items()}
    return followed(value)


def _plain_names(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What has the undeclared names of an object in one spelling, where these names may have any value.

    Where they may not, a pattern would hold for the declared ones too.
    """
    more = schema.get("additionalProperties", True)
    if not schema.get("properties") or "patternProperties" in schema or not (more is True or more == {}):
        return {}
    return {"patternProperties": {_ANY_NAME: {}}, "additionalProperties": False}


def _close(schema: dict[str, Any], exclusive: str, closed: str, others: Sequence[str], sign: int) -> None:
    """Have a closed bound in the place of an exclusive one of 0 where the other bound is too near."""
    near = [schema[name] for name in others if _is_number(schema.get(name)) and 0 < schema[name] * sign < 1]
    if not _is_number(schema.get(exclusive)) or schema[exclusive] != 0 or not near:
        return
    del schema[exclusive]
    if not _is_number(schema.get(closed)) or schema[closed] * sign <= 0:  # else it is the narrower
        schema[closed] = min(near, key=abs) * _SMALL


def has_an_end(schema: Any, root: Any = None) -> bool:
    """Whether some finite document follows a schema: one that always asks for another of its own kind has none.

    `root` is what references are into, by default the schema itself.
    """
    root = schema if root is None else root
    targets = {name: _target(name, root) for name in _references(root)}
    ending: set[str] = set()
    while more := {name for name in targets.keys() - ending if _ends(targets[name], ending)}:
        ending |= more
    return _ends(schema, ending | (set(_references(schema)) - targets.keys()))


def _ends(schema: Any, ending: set[str]) -> bool:
    """Whether a finite document follows a schema, where the references that have one are known."""
    if not isinstance(schema, Mapping):
        return True

    def each(schemas: Any) -> Iterator[bool]:
        return (_ends(member, ending) for member in schemas) if isinstance(schemas, list | tuple) else iter(())

    if isinstance(schema.get("$ref"), str) and schema["$ref"] not in ending:
        return False
    if any(schema.get(union) and not any(each(schema[union])) for union in ("anyOf", "oneOf")):
        return False
    if not all(each(schema.get("allOf"))):
        return False
    types = schema.get("type")
    types = [types] if isinstance(types, str) else types
    if "enum" in schema or "const" in schema or not isinstance(types, Sequence):
        return True
    return any(_ends_as(kind, schema, ending) for kind in types)


def _ends_as(kind: str, schema: Mapping[str, Any], ending: set[str]) -> bool:
    if kind == "object":
        return _ends_as_object(list(_parts(schema)), ending)
    least = schema.get("minItems")
    if kind == "array" and _is_number(least) and least > 0:
        first = schema.get("prefixItems")
        first = list(first)[: int(min(least, len(first)))] if isinstance(first, list | tuple) else []
        rest = [] if len(first) >= least else [schema.get("items")]
        return all(_ends(item, ending) for item in (*first, *rest))
    return True


def _ends_as_object(parts: Sequence[Mapping[str, Any]], ending: set[str]) -> bool:
    """What is required, and as many names as there have to be, must have an end by every part of a schema."""
    declared = [part["properties"] for part in parts if isinstance(part.get("properties"), Mapping)]
    others = all(_ends(part.get("additionalProperties"), ending) for part in parts)
    ends = {
        name: all(_ends(properties.get(name), ending) for properties in declared)
        for properties in declared
        for name in properties
    }
    required = [name for part in parts if isinstance(part.get("required"), list | tuple) for name in part["required"]]
    least = max((part["minProperties"] for part in parts if _is_number(part.get("minProperties"))), default=0)
    return all(ends.get(name, others) for name in required) and (others or least <= sum(ends.values()))


def _parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    """A schema and those that hold beside it."""
    if isinstance(schema, Mapping):
        yield schema
        if isinstance(schema.get("allOf"), list | tuple):
            for member in schema["allOf"]:
                yield from _parts(member)


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for key, each in schema.items():
            if key in _BY_NAME and isinstance(each, Mapping):
                yield from _references(list(each.values()))
            elif key not in _VALUES:
                yield from _references(each)
    elif isinstance(schema, list | tuple):
        for each in schema:
            yield from _references(each)


def _target(name: str, root: Any) -> Any:
    """What a reference is to; True, which anything follows, where it is not into `root`."""
    if not name.startswith("#"):
        return True
    for key in filter(None, name.removeprefix("#").split("/")):
        if not isinstance(root, Mapping) or key not in root:
            return True
        root = root[key]
    return root


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
