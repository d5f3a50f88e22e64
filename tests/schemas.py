"""JSON schemas at random, with documents that they validate: the oracle of what a grammar has to let pass."""

import json
import string
from collections.abc import Mapping
from random import Random
from typing import Any

Schema = Mapping[str, Any]


def random_schema(rng: Random, depth: int = 2) -> Schema:
    """A bounded schema: objects, arrays, enums, patterns, ranges, unions and references."""
    if depth == 0:
        return rng.choice(_LEAVES)(rng)
    kind = rng.choice(("object", "object", "array", "anyOf", "ref", "leaf"))
    if kind == "leaf":
        return rng.choice(_LEAVES)(rng)
    if kind == "array":
        low = rng.randint(0, 2)
        return {"type": "array", "items": random_schema(rng, depth - 1), "minItems": low, "maxItems": low + 2}
    if kind == "anyOf":
        return {"anyOf": [{"type": "null"}, _object(rng, depth - 1), {"type": "integer", "minimum": 0, "maximum": 99}]}
    return _object(rng, depth - 1)


def random_document_schema(rng: Random) -> Schema:
    """An object at the top, as an answer is, with a definition that may be referred to."""
    schema = dict(_object(rng, 2))
    if rng.random() < 0.3:
        schema["$defs"] = {"point": _object(rng, 0)}
        schema["properties"] = {**schema["properties"], "place": {"$ref": "#/$defs/point"}}
        schema["required"] = [*schema["required"], "place"]
    return schema


def instance(rng: Random, schema: Schema, root: Schema | None = None) -> Any:
    """A document that the schema validates, its keys in the schema's order."""
    root = root or schema
    if "$ref" in schema:
        return instance(rng, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        return instance(rng, rng.choice(schema["anyOf"]), root)
    if "enum" in schema:
        return rng.choice(schema["enum"])
    if "const" in schema:
        return schema["const"]
    match schema["type"]:
        case "object":
            kept = [name for name in schema["properties"] if name in schema["required"] or rng.random() < 0.5]
            return {name: instance(rng, schema["properties"][name], root) for name in kept}
        case "array":
            length = rng.randint(schema["minItems"], schema["maxItems"])
            return [instance(rng, schema["items"], root) for _ in range(length)]
        case "string":
            if "pattern" in schema:
                return rng.choice("ABC") + "".join(rng.choices(string.digits, k=2))
            size = rng.randint(schema["minLength"], schema["maxLength"])
            return "".join(rng.choices(string.ascii_letters + ' "\\/\u00e9\u5bb6', k=size))
        case "integer":
            return rng.randint(schema["minimum"], schema["maximum"])
        case "number":
            return round(rng.uniform(schema["minimum"], schema["maximum"]), 2)
        case "boolean":
            return rng.random() < 0.5
        case _:
            return None


def spoiled(rng: Random, document: Any) -> Any:
    """The document with something about it changed, which may or may not be wrong."""
    if isinstance(document, dict) and document:
        name = rng.choice(list(document))
        change = rng.randrange(4)
        if change == 0:
            return {key: value for key, value in document.items() if key != name}
        if change == 1:
            return {**document, name + "_": 1}
        return {**document, name: spoiled(rng, document[name])}
    if isinstance(document, list) and document and rng.random() < 0.5:
        return [*document, *document, *document]
    return rng.choice([value for value in ("wrong", 12345, -1, None, [], {}, 0.5) if value != document])


def text(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False)


def _object(rng: Random, depth: int) -> Schema:
    names = rng.sample(("name", "age", "tags", "x y", "\u5bb6", 'a"b', "id", "on"), rng.randint(1, 4))
    return {
        "type": "object",
        "properties": {name: random_schema(rng, depth) for name in names},
        "required": [name for name in names if rng.random() < 0.6],
        "additionalProperties": False,
    }


def _range(rng: Random) -> dict[str, int]:
    low = rng.randint(-50, 50)
    return {"minimum": low, "maximum": low + rng.randint(0, 500)}


_LEAVES = (
    lambda rng: {"type": "string", "minLength": rng.randint(0, 2), "maxLength": rng.randint(3, 8)},
    lambda rng: {"type": "string", "pattern": "^[A-C][0-9]{2}$"},
    lambda rng: {"enum": rng.sample(["red", "blue", 'say "hi"', 3, None, True], 3)},
    lambda rng: {"const": rng.choice(["fixed", 7])},
    lambda rng: {"type": "integer", **_range(rng)},
    lambda rng: {"type": "number", **_range(rng)},
    lambda rng: {"type": "boolean"},
    lambda rng: {"type": "null"},
)
