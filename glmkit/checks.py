"""Checks of what callers pass: one error that names the argument, what it is, and what was expected."""

import json
import math
import os
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from glmkit.errors import CheckpointError, ConfigError, RequestError

__all__ = ["check_integer", "check_number", "file_exists", "is_integer", "is_number", "parse_json"]


def is_integer(value: Any) -> bool:
    """Whether it is an integer, NumPy's included; True and False are not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is a real number, NumPy's included; True and False are not."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_integer(name: str, value: Any, least: int, expected: str | None = None) -> int:
    """`value` as an int. Raises `RequestError` naming the argument if it is no integer of at least `least`."""
    if not is_integer(value) or value < least:
        raise RequestError(f"{name} is {value!r}; expected {expected or f'an integer of at least {least}'}")
    return int(value)


def check_number(name: str, value: Any, *, positive: bool = False, expected: str | None = None) -> float:
    """`value` as a float. Raises `ConfigError` naming the setting if it is no finite number of at least 0, or above it
    where it has to be `positive`."""
    if not is_number(value) or not 0 <= value < math.inf or (positive and value == 0):
        expected = expected or ("a positive number" if positive else "a number of at least 0")
        raise ConfigError(f"{name} is {value!r}; expected {expected}")
    return float(value)


def file_exists(path: Path) -> bool:
    """Whether there is such a file. Raises `CheckpointError` for a link to nothing, as a cache that was pruned has."""
    if path.is_symlink() and not path.exists():
        raise CheckpointError(
            f"{path} is a link to {os.readlink(path)}, which is not there; fetch the checkpoint again"
        )
    return path.exists()


def parse_json(text: str | bytes, **options: Any) -> Any:
    """`json.loads`, for which all that cannot be read, encoding and depth included, is a ValueError."""
    try:
        return json.loads(text, **options)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
