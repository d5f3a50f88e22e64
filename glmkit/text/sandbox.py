"""jinja2 templates that come with a checkpoint, run as the foreign code they are.

jinja2's sandbox keeps them from Python's internals and from changing what they are given. On top of it every render
has a budget: of characters printed, of the size of the values it builds, and of time, looked at on each pass of a loop
and each call. What could grow a value past those checks (padding, formatting, sums) is not offered.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from glmkit.errors import TemplateError

__all__ = ["MAX_CHARACTERS", "MAX_SECONDS", "run_template"]

MAX_CHARACTERS = 1 << 24
"""Printed plus passes of loops in one render, and the size of any value it builds: some 4 million tokens."""

MAX_BUILT = 1 << 29
"""The size of all values a render builds, together: a prompt may be collected piece by piece."""

MAX_SECONDS = 5.0
"""A conversation that fills the context takes milliseconds."""

FILTERS = """abs capitalize count d default dictsort e escape first float groupby int items join last length list lower
map max min reject rejectattr replace reverse safe select selectattr sort string title trim unique upper"""
METHODS = """capitalize casefold copy count endswith find get index isalnum isalpha isascii isdecimal isdigit islower
isnumeric isspace istitle isupper items join keys lower lstrip partition removeprefix removesuffix replace rfind rindex
rpartition rsplit rstrip split splitlines startswith strip swapcase title upper values"""
BACKWARD = frozenset({"rfind", "rindex", "rpartition", "rsplit"})
"""Searches that may look at every letter of what is sought at every place."""

MAX_COMPARED = 1 << 28  # letters, by one of these; a tenth of a second
MAX_BITS = 4096
MAX_FORM = 100  # characters of a format of dates
ENTRY = 64  # what a value counts besides its text, in characters
METER = " meter"  # a name no template can spell, so none can reach or replace its meter

FAILURES = (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
FAILURES += (MemoryError, RecursionError, SyntaxError)  # the last where jinja2 writes what Python does not compile
"""What an expression of a template can end in, besides running out of budget."""


def run_template(source: str, variables: Mapping[str, Any]) -> str:
    """Render a chat template. Raises TemplateError for one that is malformed, fails, refuses or outruns its budget."""
    try:
        return _compiled(source).render({**variables, METER: _Meter()})
    except TemplateError:
        raise
    except FAILURES as error:
        line = error.lineno if isinstance(error, jinja2.TemplateSyntaxError) else None
        place = f" (line {line})" if line else ""
        raise TemplateError(f"chat template{place}: {type(error).__name__}: {error}") from error


class _Meter:
    """What one render has printed and built, and until when it may run."""

    def __init__(self) -> None:
        self.printed = 0
        self.built = 0
        self.deadline = time.thread_time() + MAX_SECONDS

    def charge(self, printed: int = 0, built: int = 0) -> None:
        self.printed += printed
        self.built += built
        if self.printed > MAX_CHARACTERS:
            raise TemplateError(f"chat template: more than {MAX_CHARACTERS} characters or passes; does it loop?")
        if self.built > MAX_BUILT:
            raise TemplateError(f"chat template: builds values of {MAX_BUILT} characters together; does it loop?")
        if time.thread_time() > self.deadline:
            raise TemplateError(f"chat template: not done after {MAX_SECONDS:g} seconds; does it loop?")


def _check_size(size: int) -> None:
    if size > MAX_CHARACTERS:
        raise TemplateError(f"chat template: builds a value larger than {MAX_CHARACTERS} characters; does it loop?")


def _weigh(value: Any) -> int:
    """The size of a value written out, shared parts counted each time: what str, JSON or a comparison would cost."""
    size, left = 0, [value]
    while left and size <= MAX_CHARACTERS:
        item = left.pop()
        size += ENTRY + (len(item) if isinstance(item, str) else 0)
        if isinstance(item, (list, tuple)):
            left.extend(item)
        elif isinstance(item, dict):
            left.extend(item.keys())
            left.extend(item.values())
        elif isinstance(item, Namespace):
            raise TemplateError("chat template: a namespace can be neither printed nor kept in a list")
    _check_size(size)
    return size


class _Namespace(Namespace):
    """Cannot be written out: one that holds others twice would be as long as two to the number of them."""

    def __repr__(self) -> str:
        raise TemplateError("chat template: a namespace can be neither printed nor kept in a list")


class _Environment(ImmutableSandboxedEnvironment):
    """jinja2's sandbox with the settings of transformers' apply_chat_template, and with a budget."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, finalize=_print, extensions=[loopcontrols, _GenerationBlock]
        )
        self.methods = frozenset(METHODS.split())
        self.globals = {name: self.globals[name] for name in ("range", "dict")}
        self.globals |= {"namespace": _Namespace, "raise_exception": _raise_exception, "strftime_now": _strftime_now}
        self.filters = {name: self.filters[name] for name in FILTERS.split()}
        self.filters |= {"join": _join, "replace": _replace, "string": _string, "tojson": _tojson}
        self.filters |= {"metered": _metered, "bounded": _bounded}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        plain = isinstance(obj, (str, int, float, list, tuple, Mapping))
        return (not plain or attr in self.methods) and super().is_safe_attribute(obj, attr, value)

    def unsafe_undefined(self, obj: Any, attribute: str) -> jinja2.Undefined:
        # jinja2 would go on with an undefined value, which prints as nothing.
        raise SecurityError(f"attribute {attribute!r} of a {type(obj).__name__} is not offered to chat templates")

    def wrap_str_format(self, value: Any) -> None:
        if super().wrap_str_format(value) is not None:
            raise SecurityError("str.format is not offered to chat templates; use ~")

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        meter = __context.parent[METER]
        meter.charge(1)
        if isinstance(owner := getattr(__obj, "__self__", None), str):
            if __obj.__name__ == "replace":
                return _replace(owner, *args, **kwargs)
            if __obj.__name__ == "join":
                return _join(*args, owner, **kwargs)
            if __obj.__name__ in BACKWARD:
                _check_search(owner, *args, *kwargs.values())
        result = super().call(__context, __obj, *args, **kwargs)
        if not isinstance(result, Namespace):
            meter.charge(built=_weigh(result))
        return result

    def call_filter(
        self,
        name: str,
        value: Any,
        args: Sequence | None = None,
        kwargs: Mapping | None = None,
        context: Context | None = None,
        eval_ctx: nodes.EvalContext | None = None,
    ) -> Any:
        """What `map` does to each item."""
        result = super().call_filter(name, value, args, kwargs, context, eval_ctx)
        if context is not None:
            context.parent[METER].charge(built=_weigh(result))
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        _check_growth(operator, left, right)
        result = super().call_binop(context, operator, left, right)
        context.parent[METER].charge(built=_weigh(result))
        return result


def _check_growth(operator: str, left: Any, right: Any) -> None:
    """Refuse an operation whose result would be too large before it is made."""
    if operator == "%" and isinstance(left, str):
        raise SecurityError("formatting with % is not offered to chat templates; use ~")
    lengths = [len(side) for side in (left, right) if isinstance(side, (str, list, tuple))]
    if operator == "+":
        _check_size(sum(lengths))
    elif operator == "*" and lengths:
        _check_size(lengths[0] * max(0, right if isinstance(right, int) else left))
    elif isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * (right if operator == "**" else 1) + right.bit_length()
        if bits > MAX_BITS:
            raise TemplateError(f"chat template: computes an integer of more than {MAX_BITS} bits")


def _check_search(text: str, *arguments: Any) -> None:
    sought = max((len(argument) for argument in arguments if isinstance(argument, str)), default=0)
    if len(text) * sought > MAX_COMPARED:
        raise TemplateError("chat template: searches a text backwards for one that is too long")


def _metered(context: Context, iterable: Iterable, characters: int) -> Iterator:
    meter = context.parent[METER]
    for item in iterable:
        meter.charge(characters)
        yield item


def _bounded(context: Context, value: Any) -> Any:
    context.parent[METER].charge(built=_weigh(value))
    return value


def _print(context: Context, value: Any) -> Any:
    context.parent[METER].charge(len(value) if isinstance(value, str) else _weigh(value))
    return value


for _function in (_metered, _bounded, _print):
    pass_context(_function)


def _join(items: Iterable, separator: str = "", attribute: str | None = None) -> str:
    if attribute is not None:
        raise SecurityError("join(attribute=...) is not offered to chat templates; use map(attribute=...) first")
    items = list(items)
    _check_size(_weigh(items) + len(separator) * len(items))
    return separator.join(str(item) for item in items)


def _replace(text: str, old: str, new: str, count: int | None = None) -> str:
    text = str(text)
    _check_size(len(text) + text.count(old) * len(new))
    return text.replace(old, new, -1 if count is None else count)


def _string(value: Any) -> str:
    _weigh(value)
    return str(value)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as apply_chat_template writes it: nothing escaped for HTML, unicode as it is."""
    _check_size(_weigh(value) * (1 + min(indent or 0, MAX_CHARACTERS)))
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise TemplateError(f"chat template: refuses this conversation: {message}")


def _strftime_now(form: str) -> str:
    if len(form) > MAX_FORM:
        raise TemplateError(f"chat template: a format of dates with more than {MAX_FORM} characters")
    return datetime.now().strftime(form)


class _GenerationBlock(Extension):
    """`{% generation %}...{% endgeneration %}`, with which some templates mark the model's own words: just its body."""

    tags = frozenset({"generation"})

    def parse(self, parser: jinja2.parser.Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Budgeted(NodeTransformer):
    """Puts the checks into a parsed template: on every pass of a loop, and on every value built by an expression."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        literal = sum(len(data.data) for part in node.body for data in part.find_all(nodes.TemplateData))
        node.iter = self._filter("metered", node.iter, nodes.Const(1 + literal))
        return node

    def _build(self, node: nodes.Expr) -> nodes.Expr:
        self.generic_visit(node)
        if getattr(node, "ctx", "load") != "load":
            return node  # the targets of an assignment or a loop
        return self._filter("bounded", node)

    visit_Filter = visit_Concat = visit_List = visit_Dict = visit_Tuple = _build

    @staticmethod
    def _filter(name: str, value: nodes.Expr, *args: nodes.Expr) -> nodes.Expr:
        return nodes.Filter(value, name, list(args), [], None, None).set_lineno(value.lineno)


_ENVIRONMENT = _Environment()


@lru_cache(maxsize=16)
def _compiled(source: str) -> jinja2.Template:
    tree = _Budgeted().visit(_ENVIRONMENT.parse(source))
    code = _ENVIRONMENT.compile(tree)
    return _ENVIRONMENT.template_class.from_code(_ENVIRONMENT, code, _ENVIRONMENT.globals)
