"""What the arguments of tools are given: a value of every JSON type, as the call has it and as the user says it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from glmkit.nano.skills.lexicon import (
    CITIES,
    COLOURS,
    FOODS,
    NAMES,
    THINGS,
    code,
    date,
    drawn,
    enumerated,
    name_or_word,
    pick_several,
)
from glmkit.nano.task import Split, pick

__all__ = ["SCALARS", "VALUES", "Value"]


@dataclass(frozen=True)
class Value:
    """As JSON, as the user says it, and the schema that declares it."""

    json: Any
    said: str
    schema: Mapping[str, Any]


def _text(text: str, said: str | None = None) -> Value:
    return Value(text, said or text, {"type": "string"})


def _string(rng: Random, split: Split) -> Value:
    text = rng.choice((name_or_word, name_or_word, code))(rng, split)
    if rng.random() < 0.15:
        text = f"{pick(rng, COLOURS, split)} {text}"
        return _text(text, f'"{text}"')
    return _text(text, rng.choice((text, text, f'"{text}"', f"'{text}'")))


def _phrase(rng: Random, split: Split) -> Value:
    text = f"{pick(rng, COLOURS, split)} {pick(rng, THINGS, split)}"
    return _text(text, f'"{text}"')


def _integer(rng: Random, split: Split) -> Value:
    number = rng.randrange(10 ** rng.choice((1, 2, 2, 3, 3, 4))) * (-1 if rng.random() < 0.04 else 1)
    return Value(number, str(number), {"type": "integer"})


def _few(rng: Random, split: Split) -> Value:
    number = rng.randint(1, 60)
    return Value(number, str(number), {"type": "integer"})


def _number(rng: Random, split: Split) -> Value:
    number = rng.randrange(1, 10 ** rng.randint(2, 4)) / 10
    return Value(number, str(number), {"type": "number"})


def _boolean(rng: Random, split: Split) -> Value:
    truth = rng.random() < 0.5
    return Value(truth, rng.choice(("yes", "true", "on") if truth else ("no", "false", "off")), {"type": "boolean"})


def _array(rng: Random, split: Split) -> Value:
    source = rng.choice((NAMES, CITIES, FOODS, THINGS))
    return _list(rng, pick_several(rng, source, split, rng.randint(2, 3)), "string")


def _numbers(rng: Random, split: Split) -> Value:
    return _list(rng, [rng.randrange(1, 100) for _ in range(rng.randint(2, 4))], "integer")


def _list(rng: Random, items: list, kind: str) -> Value:
    words = [str(item) for item in items]
    said = rng.choice((enumerated(words), enumerated(words), f"[{', '.join(words)}]"))
    return Value(items, said, {"type": "array", "items": {"type": kind}})


def _object(rng: Random, split: Split) -> Value:
    keys = rng.choice((("x", "y"), ("from", "to"), ("min", "max"), ("width", "height"), ("low", "high")))
    content = {key: rng.randrange(1, 100) for key in keys}
    pattern = rng.choice(("{}={}", "{} {}", "{}: {}"))
    return Value(content, f"({', '.join(pattern.format(*pair) for pair in content.items())})", {"type": "object"})


_ENUMS = tuple(
    options.split()
    for options in (
        "low medium high", "small large", "small medium large", "slow fast", "hot cold warm", "red green blue",
        "left right", "north south east west", "daily weekly monthly", "full empty", "light dark", "km miles",
        "up down", "json text", "short long", "public private", "gold silver", "kg lb", "draft final",
    )
)  # fmt: skip


def _enum(rng: Random, split: Split) -> Value:
    options = rng.choice(_ENUMS)
    options = rng.sample(options, len(options))
    choice = rng.choice(options)
    return Value(choice, choice, {"type": "string", "enum": options})


def _time(rng: Random) -> str:
    return f"{rng.randint(0, 23):02d}:{rng.choice((0, 15, 30, 45)):02d}"


def _one_of(*options: str) -> Callable[[Random, Split], Value]:
    return lambda rng, split: _text(rng.choice(options))


VALUES: dict[str, Callable[[Random, Split], Value]] = {
    "string": _string,
    "integer": _integer,
    "few": _few,
    "number": _number,
    "boolean": _boolean,
    "array": _array,
    "numbers": _numbers,
    "object": _object,
    "enum": _enum,
    "date": lambda rng, split: _text(drawn(split, lambda: date(rng))),
    "time": lambda rng, split: _text(_time(rng)),
    "name": lambda rng, split: _text(pick(rng, NAMES, split)),
    "city": lambda rng, split: _text(pick(rng, CITIES, split)),
    "food": lambda rng, split: _text(pick(rng, FOODS, split)),
    "thing": lambda rng, split: _text(pick(rng, THINGS, split)),
    "code": lambda rng, split: _text(code(rng, split)),
    "phrase": _phrase,
    "currency": _one_of("EUR", "USD", "GBP", "CNY", "JPY", "CHF"),
    "language": _one_of("French", "German", "Spanish", "Chinese", "Italian", "Latin"),
    "room": _one_of("kitchen", "bedroom", "hall", "office", "garage", "bathroom"),
}
"""How a value of each kind is drawn."""

SCALARS = frozenset(VALUES) - {"array", "numbers", "object"}
