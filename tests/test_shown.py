"""What readers are shown but no test runs: Python of the README and the reference names what there is, with arguments
that it takes, and commands are of the command line. `test_docs` runs the code of the other pages."""

import ast
import inspect
import re
import shlex
import typing
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

import glmkit as gk
from glmkit.cli import _parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN = [page for page in PAGES if page.parent.name not in ("how-to", "explanation")]
UNKNOWN = object()


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in one of these languages, unindented."""
    found = re.findall(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", page.read_text(encoding="utf-8"), re.M | re.S)
    return [re.sub(rf"^{indent}", "", text, flags=re.M) for indent, language, text in found if language in languages]


class Reader(ast.NodeVisitor):
    """Follows names from `gk` through attributes, and from calls to the class that they are annotated to return."""

    def __init__(self):
        self.known: dict[str, Any] = {"gk": gk, "glmkit": gk}
        self.wrong: list[str] = []

    def visit_Assign(self, node: ast.Assign):
        self.generic_visit(node)
        value = self.value_of(node.value)
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = zip(target.elts, map(self.value_of, node.value.elts), strict=True)
            else:
                pairs = [(target, value)]
            for name, found in pairs:
                for each in ast.walk(name) if found is UNKNOWN else [name]:
                    if isinstance(each, ast.Name):
                        self.known[each.id] = found

    def visit_With(self, node: ast.With):
        for item in node.items:
            if isinstance(item.optional_vars, ast.Name):
                self.known[item.optional_vars.id] = UNKNOWN
        self.generic_visit(node)

    def visit_For(self, node: ast.For):
        for each in ast.walk(node.target):
            if isinstance(each, ast.Name):
                self.known[each.id] = UNKNOWN
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute):
        self.generic_visit(node)
        owner = self.value_of(node.value)
        if owner is not UNKNOWN and not _has(owner, node.attr):
            self.wrong.append(f"{ast.unparse(node)}: {_name(owner)} has no {node.attr}")

    def visit_Call(self, node: ast.Call):
        self.generic_visit(node)
        called = self.value_of(node.func)
        spread = any(isinstance(part, ast.Starred) for part in node.args) or any(k.arg is None for k in node.keywords)
        if called is UNKNOWN or spread:
            return
        try:
            signature = inspect.signature(called)
            of_instance = isinstance(node.func, ast.Attribute) and isinstance(self.value_of(node.func.value), type)
            before = [None] if of_instance and not inspect.ismethod(called) and not isinstance(called, type) else []
            signature.bind(*before, *node.args, **{keyword.arg: None for keyword in node.keywords})
        except TypeError as error:
            self.wrong.append(f"{ast.unparse(node)}: {error}")

    def value_of(self, node: ast.AST) -> Any:
        """What an expression is: an object, or for an instance its class."""
        match node:
            case ast.Name(id=name):
                return self.known.get(name, UNKNOWN)
            case ast.Attribute(value=value, attr=name):
                owner = self.value_of(value)
                return UNKNOWN if owner is UNKNOWN else _member(owner, name)
            case ast.Call(func=function):
                called = self.value_of(function)
                return UNKNOWN if called is UNKNOWN else _given(called)
        return UNKNOWN


def _has(owner: Any, name: str) -> bool:
    if hasattr(owner, name) or not isinstance(owner, type):
        return hasattr(owner, name)
    sources = [inspect.getsource(each) for each in owner.__mro__ if each.__module__.startswith("glmkit")]
    return any(re.search(rf"\bself\.{name}\b|^ +{name}: ", source, re.M) for source in sources)


def _member(owner: Any, name: str) -> Any:
    """An attribute of a module or class; of one that is computed, the class that it is annotated to be."""
    found = getattr(owner, name, UNKNOWN)
    computing = getattr(found, "fget", None) or getattr(found, "func", None)
    if isinstance(found, property | cached_property) and computing:
        return _given(computing)
    return UNKNOWN if isinstance(owner, type) and not inspect.isroutine(found) else found


def _given(called: Any) -> Any:
    """The class of glmkit that a call makes or is annotated to return."""
    given = called if isinstance(called, type) else typing.get_type_hints(called).get("return")
    return given if isinstance(given, type) and given.__module__.startswith("glmkit") else UNKNOWN


def _name(owner: Any) -> str:
    return getattr(owner, "__name__", type(owner).__name__)


def commands(page: Path) -> Iterator[list[str]]:
    """The arguments of each `glmkit ...` in the page's blocks."""
    for block in blocks(page, "", "sh", "bash", "console", "shell"):
        for line in block.replace("\\\n", " ").splitlines():
            if re.match(r"(\$ )?glmkit ", line):
                yield shlex.split(line.removeprefix("$ "), comments=True)[1:]


@pytest.mark.parametrize("page", NOT_RUN, ids=lambda page: page.stem)
def test_python_names_what_there_is_with_arguments_that_it_takes(page):
    reader = Reader()
    for block in blocks(page, "python", "py"):
        reader.visit(ast.parse(block))
    assert reader.wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_are_of_the_command_line(page):
    for arguments in commands(page):
        _parser().parse_args(arguments)


def test_what_is_wrong_is_found():
    shown = "lm = gk.load('nano', max_lem=1)\nlm.close(now=True)\ngk.rl.tasks.sums()\nlm.caht('Hi')"
    reader = Reader()
    reader.visit(ast.parse(shown))
    assert [wrong.partition(":")[0] for wrong in reader.wrong] == [
        "gk.load('nano', max_lem=1)", "lm.close(now=True)", "gk.rl.tasks.sums", "lm.caht",
    ]  # fmt: skip
    with pytest.raises(SystemExit):
        _parser().parse_args(["chat", "Hi", "--modle", "nano"])
