"""A digest of the code that is loaded now, so that a compiled program is never used for code it was not made from.

It reads the functions themselves, not their files: a file that was edited after it was imported does not matter, and
a function that was replaced in a running notebook does.
"""

import hashlib
import inspect
import sys
from collections.abc import Collection, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

# Libraries that a program depends on by their version alone.
_VERSIONED = sys.stdlib_module_names | {"flax", "jax", "jaxlib", "jaxtyping", "ml_dtypes", "numpy"}
_OWN = {"glmkit"}
_CONSTANTS = (bool, bytes, complex, float, int, str, type(None), type(...))


class ForeignCode(Exception):
    """A name of glmkit stands for something that is neither glmkit's nor a library's, such as a notebook's function."""


def live_code_digest(packages: tuple[str, ...], used: Collection[type] = ()) -> str:
    """SHA-256 of all functions, classes and constants of the loaded modules of `packages`, in hexadecimal.

    Raises `ForeignCode` naming what has been replaced by code from elsewhere, or which of the classes `used` comes
    from elsewhere: a digest of the packages would say too little.
    """
    digest = hashlib.sha256()
    for kind in used:
        if _root(kind) not in _OWN | _VERSIONED:
            raise ForeignCode(f"{kind.__module__}.{kind.__qualname__}")
    for name in sorted(sys.modules):
        if any(name == package or name.startswith(f"{package}.") for package in packages):
            for line in _namespace(name, vars(sys.modules[name])):
                digest.update(line.encode())
    return digest.hexdigest()


def _namespace(owner: str, names: Any) -> Iterator[str]:
    for name, value in sorted(names.items()):
        if name.startswith("__") and not callable(value):
            continue  # documentation, annotations and the import system's own
        yield from _described(f"{owner}.{name}", value)


def _described(path: str, value: Any) -> Iterator[str]:
    """Lines that differ when what `value` does differs; a value that is not code or constant is told by its type."""
    if isinstance(value, (ModuleType, tuple, frozenset, *_CONSTANTS)):
        yield f"{path} = {_constant(value)}\n"
        return
    for part in _functions_of(value):
        home, name, root = getattr(part, "__module__", None), getattr(part, "__qualname__", ""), _root(part)
        if root not in _OWN | _VERSIONED:
            raise ForeignCode(f"{path} is {home}.{name}")
        yield f"{path} is {home}.{name}\n"
        if root not in _OWN:
            continue
        if isinstance(part, FunctionType):
            yield f"{_code(part.__code__)} {_constant(part.__defaults__)} {_constant(part.__kwdefaults__)}\n"
        elif isinstance(part, type) and path.startswith(f"{home}."):
            yield from _namespace(path, vars(part))


def _root(part: Any) -> str:
    """The package a function or class comes from."""
    home = getattr(part, "__module__", None) or "builtins"
    return "typing" if home.startswith("namedtuple_") else home.partition(".")[0]


def _functions_of(value: Any) -> Iterator[Any]:
    """The functions in a method or property, what a decorator wrapped, or the value itself."""
    if isinstance(value, property):
        yield from (inspect.unwrap(part) for part in (value.fget, value.fset, value.fdel) if part)
    elif isinstance(value, classmethod | staticmethod):
        yield inspect.unwrap(value.__func__)
    elif callable(value):
        yield value if isinstance(value, type) else inspect.unwrap(value)
    else:
        yield type(value)


def _code(code: CodeType) -> str:
    consts = " ".join(_constant(const) for const in code.co_consts)
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {code.co_freevars} {code.co_cellvars} {consts}"


def _constant(value: Any) -> str:
    """The same text in every process: no addresses, no order of a set."""
    match value:
        case CodeType():
            return f"({_code(value)})"
        case ModuleType():
            return value.__name__
        case tuple():
            return f"({', '.join(map(_constant, value))})"
        case frozenset():
            return f"{{{', '.join(sorted(map(_constant, value)))}}}"
        case dict():
            return f"{{{', '.join(f'{key}: {_constant(item)}' for key, item in sorted(value.items()))}}}"
    return repr(value) if isinstance(value, _CONSTANTS) else type(value).__qualname__
