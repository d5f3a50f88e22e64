"""Interventions as the Python that makes them, for whoever copies it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["call", "literal"]

_MOST = 6144  # numbers of one array: a vector of the largest models, and no table of many tokens


def call(builder: str, *values: Any, tokens: str | None, **settings: Any) -> str | None:
    """A call of a builder of `glmkit`, `gk` there; `tokens` is code. None for an array of too many numbers to write."""
    if any(isinstance(value, np.ndarray) and value.size > _MOST for value in (*values, *settings.values())):
        return None
    given: Mapping[str, str] = {name: literal(value) for name, value in settings.items()}
    given |= {} if tokens is None else {"tokens": tokens}
    arguments = [*map(literal, values), *(f"{name}={value}" for name, value in given.items())]
    return f"gk.{builder}({', '.join(arguments)})"


def literal(value: Any) -> str:
    """Plain data as Python: numbers of NumPy as Python's, to the last digit, and arrays as lists."""
    if isinstance(value, np.ndarray | list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, slice):
        return f"slice({literal(value.start)}, {literal(value.stop)}, {literal(value.step)})"
    if isinstance(value, np.floating):
        return repr(float(str(value)))  # the fewest digits that are this number in its own precision
    return repr(value.item() if isinstance(value, np.generic) else value)
