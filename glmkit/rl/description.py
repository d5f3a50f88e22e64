"""Values and functions in words that are the same in every process: by which a run that goes on knows what it is."""

import dataclasses
import dis
import functools
import hashlib
import inspect
from collections.abc import Iterator, Mapping, Set
from types import CodeType
from typing import Any

import jax
import numpy as np

__all__ = ["described"]


def described(value: Any, _within: tuple[int, ...] = ()) -> str:
    """What tells a value apart from others, without the addresses of its objects.

    Dataclasses are known by their fields, functions by their sources, defaults and what of their surroundings cannot
    change: numbers, texts, arrays, functions and frozen dataclasses that they close over, or find in their own module
    by name. Other objects are known by what they give as `digest`, or by what of these kinds they keep of their
    parameters, and all of these by their names. Of a class that is not glmkit's, the source counts
    too. Lists and dictionaries that a function closes over are left out, as they may be what it counts in.
    """
    if id(value) in _within:  # a function that calls itself
        return "..."
    inner = functools.partial(described, _within=(*_within, id(value)))
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return repr(value)
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        array = np.asarray(value)
        return f"{array.dtype}{list(array.shape)} {_hashed(array.tobytes())}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(sorted(f'{inner(key)}: {inner(item)}' for key, item in value.items()))}}}"
    if isinstance(value, Set):
        return f"{{{', '.join(sorted(map(inner, value)))}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(inner, value))}]"
    if isinstance(value, functools.partial):
        return f"partial({inner(value.func)}, {inner(value.args)}, {inner(value.keywords)})"
    if inspect.ismethod(value):
        return f"{inner(value.__self__)}.{inner(value.__func__)}"
    if inspect.isroutine(value) or hasattr(value, "__wrapped__"):
        return f"{_name(value)} {_source(value)}{_surroundings(value, inner)}"
    if isinstance(value, type):
        return _class(value)
    if isinstance(digest := getattr(value, "digest", None), str):
        return f"{_class(type(value))} {digest}"
    if dataclasses.is_dataclass(value):
        fields = (f"{field.name}={inner(getattr(value, field.name))}" for field in dataclasses.fields(value))
        return f"{_class(type(value))}({', '.join(fields)})"
    kept = (f"{name}={inner(each)}" for name, each in _parameters(value).items() if _is_fixed(each))
    return f"{_class(type(value))}({', '.join(kept)})"


def _parameters(value: Any) -> dict[str, Any]:
    """What an object of a class that is not glmkit's keeps of what it was made with, as `name` or `_name`: other
    attributes may be what it counts in. Where it keeps some of it under no such name, all its attributes."""
    own = getattr(value, "__dict__", {})
    if _is_known(type(value)) or type(value).__init__ is object.__init__:
        return {}
    _, *names = inspect.signature(type(value).__init__).parameters  # but for self
    kept = {name: own[place] for name in names for place in (name, f"_{name}") if place in own}
    return kept if len(kept) == len(names) else dict(own)


def _surroundings(function: Any, inner: Any) -> str:
    """Defaults of a function, what it closes over and what its module has by the names in it, as far as fixed."""
    held = [getattr(function, "__defaults__", None), getattr(function, "__kwdefaults__", None)]
    for cell in getattr(function, "__closure__", None) or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # not there yet
            continue
    code, known = getattr(function, "__code__", None), getattr(function, "__globals__", {})
    found = (known.get(name) for name in sorted(set(_global_names(code))))
    held += [each for each in found if not _is_of_other_module(each, function)]
    known = [inner(value) for value in held if value is not None and _is_fixed(value)]
    return f" with {', '.join(known)}" if known else ""


def _global_names(code: Any) -> Iterator[str]:
    """The names that code, or code within it, looks up in its module."""
    if isinstance(code, CodeType):
        yield from (each.argval for each in dis.get_instructions(code) if each.opname == "LOAD_GLOBAL")
        for inner in code.co_consts:
            yield from _global_names(inner)


def _is_of_other_module(value: Any, function: Any) -> bool:
    """Functions and classes of other modules are known by their names, which stand in the source."""
    if not (inspect.isroutine(value) or isinstance(value, type)):
        return False
    return getattr(value, "__module__", None) != getattr(function, "__module__", None)


def _is_fixed(value: Any) -> bool:
    if isinstance(value, tuple | frozenset):
        return all(map(_is_fixed, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return value.__dataclass_params__.frozen
    plain = value is None or isinstance(
        value, bool | int | float | str | bytes | type | functools.partial | np.ndarray | np.generic | jax.Array
    )
    return plain or inspect.isroutine(value)


def _is_known(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in ("glmkit", "builtins")


def _class(kind: type) -> str:
    if _is_known(kind):
        return kind.__qualname__
    return f"{_name(kind)} {_source(kind)}".rstrip()


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"


def _source(value: Any) -> str:
    code = getattr(value, "__code__", None)
    try:
        source = inspect.getsource(value)
    except (OSError, TypeError):  # typed at a prompt, or built in
        source = ""
    # Of two lambdas in a line the source is the line.
    compiled = _compiled(code) if code is not None and (not source or code.co_name == "<lambda>") else ""
    return _hashed((source + compiled).encode()) if source or compiled else ""


def _compiled(code: CodeType) -> str:
    """What code does, by what it was compiled to: Python's version is in it."""
    constants = [_compiled(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"


def _hashed(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
