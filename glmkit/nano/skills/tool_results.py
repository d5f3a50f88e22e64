"""What tools send back, and the sentence that tells it: one sentence for each form of result."""

import json
from random import Random
from typing import Any, NamedTuple

from glmkit.nano.skills.lexicon import (
    CITIES,
    NAMES,
    capital,
    drawn,
    enumerated,
    name_or_word,
    pick_several,
    syllables,
    words,
)
from glmkit.nano.task import Split, pick

__all__ = ["Result", "draw_result", "draw_value_result"]

RESULT_KEYS = words(
    "price total count score state level id number weight name city owner code temperature distance size speed place "
    "amount rank length color title answer value"
)
FAILURES = (
    "not found", "no such user", "access denied", "timeout", "server down", "wrong name", "no connection",
    "not allowed", "too many requests", "bad input", "out of stock", "no space left", "already exists", "expired",
)  # fmt: skip
_RESULTS = {"value": 50, "pair": 14, "truth": 6, "done": 10, "failure": 7, "list": 6, "nothing": 4, "sentence": 3}
DONE = ("done", "ok", "success", '{"status": "ok"}', '{"success": true}', '{"status": "done"}')


class Result(NamedTuple):
    """What a tool sends back, the sentence that tells it, and the bare value, where it is one."""

    content: str
    told: str
    value: Any = None


def draw_result(rng: Random, split: Split) -> Result:
    kind = rng.choices(tuple(_RESULTS), tuple(_RESULTS.values()))[0]
    if kind == "value":
        return draw_value_result(rng, split, rng.choice(("integer", "string", "number")))
    if kind == "pair":
        keys = [_result_key(rng, split) for _ in range(2)]
        values = {key: _value(rng, split, rng.choice(("integer", "string"))) for key in keys}
        return Result(json.dumps(values), _sentence(values))
    if kind == "truth":
        truth = rng.random() < 0.5
        return Result(json.dumps(truth), "Yes." if truth else "No.")
    if kind == "done":
        return Result(rng.choice(DONE), "Done.")
    if kind == "failure":
        reason = rng.choice(FAILURES)
        return Result(json.dumps({"error": reason}), f"That failed: {reason}.")
    if kind == "list":
        items = pick_several(rng, rng.choice((NAMES, CITIES)), split, rng.randint(2, 3))
        return Result(json.dumps(items), f"The results are {enumerated(items)}.")
    if kind == "nothing":
        return Result(rng.choice(("[]", "{}", "null")), "Nothing was found.")
    told = f"{pick(rng, NAMES, split)} is in {pick(rng, CITIES, split)}."
    return Result(told, told)


def draw_value_result(rng: Random, split: Split, kind: str) -> Result:
    """One value, bare or under a key."""
    value = _value(rng, split, kind)
    if rng.random() < 0.4:
        return Result(str(value), f"The result is {value}.", value)
    content = {_result_key(rng, split): value}
    return Result(json.dumps(content), _sentence(content), value)


def _sentence(content: dict[str, Any]) -> str:
    return capital(" and ".join(f"the {key} is {value}" for key, value in content.items())) + "."


def _result_key(rng: Random, split: Split) -> str:
    return drawn(split, lambda: syllables(rng) if rng.random() < 0.25 else rng.choice(RESULT_KEYS))


def _value(rng: Random, split: Split, kind: str) -> Any:
    if kind == "string":
        return name_or_word(rng, split)
    number = rng.randrange(10 ** rng.randint(1, 4))
    return number if kind == "integer" else number / 10
