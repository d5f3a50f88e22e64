"""The tree of cached pages as a browser is told of it: pages without a fork between them are one branch."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from glmkit.engine.snapshot import CacheTree, RunningRequest
from glmkit.runs.tokens import texts
from glmkit.text import Tokenizer

__all__ = ["MOST_PAGES", "Branch", "Words", "branches", "tree_message", "words_of"]

Words = Callable[[tuple[int, ...]], str]

MOST_PAGES = 2000  # told at once
_SHOWN = 48  # tokens of a branch that are told in words
_HINT = 14  # of a page


class Branch(NamedTuple):
    """`pages` are places in a tree, one below the other; `common` tokens of the first are those of a sibling too."""

    parent: int | None
    depth: int
    pages: tuple[int, ...]
    common: int


def branches(tree: CacheTree, most: int = MOST_PAGES) -> list[Branch]:
    """Branches, parents before their children and siblings by their tokens, of the `most` pages used last."""
    shown = _last_used(tree, most)
    below: dict[int | None, list[int]] = {}
    for place in shown:
        below.setdefault(tree.pages[place].parent, []).append(place)
    for places in below.values():
        places.sort(key=lambda place: tree.pages[place].tokens)
    found: list[Branch] = []
    waiting = [(None, 0, place) for place in reversed(below.get(None, ()))]
    while waiting:
        parent, depth, place = waiting.pop()
        siblings = [other for other in below[tree.pages[place].parent] if other != place]
        own = [other for other in siblings if tree.pages[other].scope == tree.pages[place].scope]
        common = max((_common(tree, place, other) for other in own), default=0)
        pages = [place]
        while len(after := below.get(pages[-1], ())) == 1:
            pages.append(after[0])
        waiting += [(len(found), depth + 1, place) for place in reversed(after)]
        found.append(Branch(parent, depth, tuple(pages), common))
    return found


def tree_message(tree: CacheTree, words: Words) -> dict[str, Any]:
    """All that is drawn of a tree, in words and numbers; `words` as `words_of` gives them."""
    told = [_branch_message(tree, branch, words) for branch in branches(tree)]
    return {
        "page_size": tree.page_size,
        "page_bytes": tree.page_bytes,
        "count": tree.count,
        "free": tree.free,
        "known": len(tree.pages),
        "hits": tree.hits,
        "left_out": max(0, len(tree.pages) - sum(len(branch["names"]) for branch in told)),
        "branches": told,
        "running": [_running_message(tree, request, words) for request in tree.requests],
    }


def _branch_message(tree: CacheTree, branch: Branch, words: Words) -> dict[str, Any]:
    pages = [tree.pages[place] for place in branch.pages]
    start = min(branch.common, tree.page_size - 1)
    return {
        "depth": branch.depth,
        "start": (len(tree.path(branch.pages[0])) - 1) * tree.page_size,
        "plain": pages[0].scope is None,
        "common": branch.common,
        "text": words(pages[0].tokens[start : start + _SHOWN]),
        "names": [page.name for page in pages],
        "hits": [page.hits for page in pages],
        "readers": [page.readers for page in pages],
        "hints": [words(page.tokens[:_HINT]) for page in pages],
    }


def _running_message(tree: CacheTree, request: RunningRequest, words: Words) -> dict[str, Any]:
    return {
        "names": [tree.pages[place].name for place in request.shared],
        "own": request.own,
        "length": request.length,
        "held": request.held,
        "prompt": len(request.prompt),
        "cached": request.cached,
        "waits": request.waits,
        "text": words(request.prompt[-_SHOWN:]),
    }


def _last_used(tree: CacheTree, most: int) -> Sequence[int]:
    if len(tree.pages) <= most:
        return range(len(tree.pages))
    shown: set[int] = set()
    for place in sorted(range(len(tree.pages)), key=lambda place: -tree.pages[place].used):
        path = set(tree.path(place)) - shown
        if len(shown) + len(path) <= most:
            shown |= path
    return sorted(shown)


def _common(tree: CacheTree, one: int, other: int) -> int:
    pairs = zip(tree.pages[one].tokens, tree.pages[other].tokens, strict=True)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), tree.page_size)


def words_of(tokenizer: Tokenizer) -> Words:
    """The text of tokens, remembered for as long as whoever asks keeps this."""
    return functools.lru_cache(8192)(lambda tokens: "".join(texts(tokens, tokenizer)))
