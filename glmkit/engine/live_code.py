"""A digest of the code that is loaded now, so that a compiled program is never used for code it was not made from.

It reads the functions themselves, not their files: a file that was edited after it was imported does not matter, and
a function that was replaced in a running notebook does.
"""

import functools
import hashlib
import sys
from collections.abc import Collection, Iterator, Mapping
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

_OWN = "glmkit"
# Libraries that a program depends on by their version alone, as long as what glmkit uses of them is their own.
_VERSIONED = sys.stdlib_module_names | {
    "flax",
    "jax",
    "jaxlib",
    "jaxtyping",
    "ml_dtypes",
    "nanobind",
    "numpy",
    "safetensors",
    "tqdm",
}
_VERSIONED -= {"unittest"}  # a mock stands for anything
_PLAIN = (bool, bytes, complex, float, int, str, type(None), type(...))
# Where a callable object keeps the function it calls: a decorator's, a method's, a property's, a partial's.
_INNER = ("__wrapped__", "__func__", "fget", "fset", "fdel", "func", "fun")


class ForeignCode(Exception):
    """A name stands for something that is neither glmkit's nor a library's own, such as a notebook's function."""


def live_code_digest(packages: tuple[str, ...], used: Collection[type] = ()) -> str:
    """SHA-256 of all functions, classes and constants of the loaded modules of `packages`, in hexadecimal.

    Raises `ForeignCode` naming what has been replaced by code from elsewhere, in these modules or in what they use of
    libraries, or which of the classes `used` comes from elsewhere: a digest of the packages would say too little.
    """
    code, digest = _LiveCode(), hashlib.sha256()
    for kind in used:
        code.check_home(kind.__qualname__, kind)
    for name in sorted(sys.modules):
        if any(name == package or name.startswith(f"{package}.") for package in packages):
            for line in code.namespace(name, vars(sys.modules[name])):
                digest.update(line.encode())
    code.check_libraries()
    return digest.hexdigest()


class _LiveCode:
    """Walks through namespaces, yielding lines that differ when what a value does differs."""

    def __init__(self):
        self._described: set[int] = set()  # functions: a closure may hold itself
        self._names: set[str] = set()  # all that functions look up, in modules too
        self._libraries: dict[str, ModuleType] = {}

    def namespace(self, owner: str, names: Mapping[str, Any]) -> Iterator[str]:
        for name, value in sorted(names.items()):
            if not name.startswith("__") or callable(value):  # the others are documentation and the import system's
                yield from self.value(f"{owner}.{name}", value)

    def value(self, path: str, value: Any) -> Iterator[str]:
        if isinstance(value, ModuleType):
            yield f"{path} is module {value.__name__}\n"
            if self.check_home(path, value) != _OWN:
                self._libraries[value.__name__] = value
        elif isinstance(value, FunctionType):
            yield from self._function(path, value)
        elif isinstance(value, type):
            yield f"{path} is {value.__module__}.{value.__qualname__}\n"
            if self.check_home(path, value) == _OWN and path == f"{value.__module__}.{value.__qualname__}":
                yield from self.namespace(path, vars(value))
        else:
            yield from self._object(path, value)

    def check_home(self, path: str, value: Any) -> str:
        """The package something comes from. Raises `ForeignCode` if that is neither glmkit nor a versioned library."""
        home = _home(value)
        root = home.partition(".")[0]
        if root != _OWN and root not in _VERSIONED:
            raise ForeignCode(f"{path} is {home}.{getattr(value, '__qualname__', '')}")
        return root

    def check_libraries(self) -> None:
        """Raise `ForeignCode` if a function that glmkit looks up in a library has been replaced there."""
        waiting, seen = list(self._libraries.values()), set()
        while waiting:
            library = waiting.pop()
            if library.__name__ in seen:
                continue
            seen.add(library.__name__)
            for name in self._names & vars(library).keys():
                value = vars(library)[name]
                if isinstance(value, ModuleType):
                    waiting.append(value)
                for part in _layers(value):
                    if isinstance(part, FunctionType) or _is_mock(part):  # what is compiled is the library's
                        self.check_home(f"{library.__name__}.{name}", part)

    def _function(self, path: str, function: FunctionType) -> Iterator[str]:
        yield f"{path} is {_home(function)}.{function.__qualname__}\n"
        if self.check_home(path, function) == _OWN and id(function) not in self._described:
            self._described.add(id(function))
            yield f"{self._code(function.__code__)}\n"
            yield from self.value(f"{path}.<defaults>", (function.__defaults__, function.__kwdefaults__))
            for number, cell in enumerate(function.__closure__ or ()):
                yield from self.value(f"{path}.<cell {number}>", cell.cell_contents)
        if (wrapped := getattr(function, "__wrapped__", None)) is not None:
            yield from self.value(f"{path}.<wrapped>", wrapped)

    def _object(self, path: str, value: Any) -> Iterator[str]:
        self.check_home(path, value)
        if isinstance(value, functools.partial):
            yield from self.value(f"{path}.<arguments>", (value.args, value.keywords))
        elif isinstance(value, tuple | list) or (isinstance(value, Mapping) and type(value).__module__ == "builtins"):
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            yield f"{path} is a {type(value).__qualname__} of {len(value)}\n"
            for key, item in items:
                yield from self.value(f"{path}[{key!r}]", item)
            return
        elif isinstance(value, (*_PLAIN, set, frozenset, CodeType)):
            yield f"{path} = {self._constant(value)}\n"
            return
        inner = [(name, getattr(value, name, None)) for name in _INNER]
        inner = [(name, part) for name, part in inner if callable(part)]
        if callable(value) and not inner and not _is_plain_callable(value):
            raise ForeignCode(f"{path} is an object of {type(value).__module__}.{type(value).__qualname__}")
        shown = repr(value)
        yield f"{path} is {type(value).__qualname__} {'' if ' at 0x' in shown else shown}\n"
        for name, part in inner:
            yield from self.value(f"{path}.<{name}>", part)

    def _code(self, code: CodeType) -> str:
        self._names |= set(code.co_names)
        names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
        return f"{code.co_code.hex()} {names} {' '.join(map(self._constant, code.co_consts))}"

    def _constant(self, value: Any) -> str:
        """The same text in every process: no addresses, no order of a set."""
        if isinstance(value, CodeType):
            return f"({self._code(value)})"
        if isinstance(value, tuple):
            return f"({', '.join(map(self._constant, value))})"
        if isinstance(value, set | frozenset):
            return f"{{{', '.join(sorted(map(self._constant, value)))}}}"
        return repr(value)


def _home(value: Any) -> str:
    """The module that a function was compiled in or a class was made in; of any other object, its class's.

    Not what a function says of itself: `functools.wraps` makes a wrapper claim the place of what it wraps.
    """
    if isinstance(value, ModuleType):
        return value.__name__
    if isinstance(value, FunctionType):
        home = value.__globals__.get("__name__", "")
    else:
        home = (value if isinstance(value, type) else type(value)).__module__
    return "typing" if home.startswith("namedtuple_") else home


def _layers(value: Any) -> Iterator[Any]:
    """An object and, one by one, the functions that it wraps."""
    yield value
    if not isinstance(value, type | ModuleType) and not _is_mock(value):
        for name in _INNER:
            if callable(part := getattr(value, name, None)):
                yield from _layers(part)


def _is_mock(value: Any) -> bool:
    return type(value).__module__.startswith("unittest")


def _is_plain_callable(value: Any) -> bool:
    """Whether a callable object that wraps no function is told by its name: a builtin, or an annotation."""
    return isinstance(value, BuiltinFunctionType) or type(value).__module__ in ("types", "typing")
