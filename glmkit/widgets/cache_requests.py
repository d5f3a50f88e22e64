"""Requests that a cache explorer asked for, and the Python that asks them again."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glmkit.engine.answer import Completion
from glmkit.probe import Plan
from glmkit.turns import as_data
from glmkit.widgets.code import Source, using_lines

__all__ = ["CacheRequest", "cache_code"]


@dataclass
class CacheRequest:
    """One request: it was asked `x`, or goes on with `text` from the first `kept` tokens of a context.

    That context is of the request `source`, or of none that is known here. `plan` is what `lm.using` had in use when it
    was asked, `scope` that of the pages which it shared then. `answer` is what came so far, `completion` all of it once
    it is over; `ids` are all its tokens then, and the prompt's before.
    """

    number: int
    prompt: tuple[int, ...]
    settings: Mapping[str, Any]
    x: Any = None
    text: str = ""
    kept: int = 0
    source: int | None = None
    plan: Plan | None = None
    scope: Hashable = None
    answer: str = ""
    count: int = 0
    completion: Completion | None = None
    error: str = ""

    @property
    def ids(self) -> tuple[int, ...]:
        return self.prompt + (() if self.completion is None else self.completion.tokens)

    @property
    def title(self) -> str:
        """What it is, in words."""
        if self.kept:
            return f"fork of {'a page' if self.source is None else f'request {self.source}'} at token {self.kept}"
        return "asked"


def cache_code(model: Source, requests: Sequence[CacheRequest], picked: int | None) -> str:
    """Load, ask for the picked request or the last, and for those that it goes on from, and look at the tree."""
    lines = ["import glmkit as gk", "", model.line]
    if requests:
        last = requests[-1 if picked is None else picked]
        for request in _way_to(requests, last):
            lines += _request_code(request)
        lines.append(f"print(done{last.number}.content, done{last.number}.usage.cached_tokens)")
    return "\n".join([*lines, "tree = lm.engine.cache.tree()", "print(len(tree.pages), tree.nbytes, tree.hits)"])


def _way_to(requests: Sequence[CacheRequest], last: CacheRequest) -> list[CacheRequest]:
    way = [last]
    while (source := way[-1].source) is not None:
        way.append(requests[source])
    return way[::-1]


def _request_code(request: CacheRequest) -> list[str]:
    number = request.number
    given = "".join(f", {name}={value!r}" for name, value in as_data(request.settings).items() if name != "thinking")
    if request.kept and request.source is not None:
        base = f"[*ids{request.source}, *done{request.source}.tokens][:{request.kept}]"
    elif request.kept:
        base = repr(list(request.prompt[: request.kept]))
    elif isinstance(request.x, str) or (request.x and isinstance(request.x[0], Mapping)):
        prompt = f"lm.prompt({request.x!r}, thinking={request.settings['thinking']!r})"
        base = f"lm.tokenizer.encode({prompt})"
    else:
        base = repr(list(request.prompt))
    added = f" + lm.tokenizer.encode({request.text!r})" if request.text else ""
    asked = using_lines(request.plan, [f"done{number} = lm.complete(ids{number}{given})"])
    return [f"ids{number} = {base}{added}", *asked]
