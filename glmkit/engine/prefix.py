"""Who owns which page of the cache, and which pages hold what: a tree of token prefixes, whose edges are full pages.

Pages of a request that ended stay in the tree, and the next request that begins alike has them for nothing. When pages
run out, the leaf that was used longest ago goes; what a running request reads never does. Plain Python: no arrays.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

__all__ = ["Lease", "OutOfPages", "PrefixTree"]


class OutOfPages(Exception):
    """Every page is in use."""


@dataclass(eq=False)
class _Node:
    """A full page: its tokens come after those of its parents."""

    tokens: tuple[int, ...]
    page: int
    parent: "_Node | None"
    children: dict[tuple[int, ...], "_Node"] = field(default_factory=dict)
    leases: int = 0  # that read it
    used: int = 0  # when it was last part of a lease

    @property
    def idle(self) -> bool:
        return not self.leases and not self.children


@dataclass(eq=False)
class Lease:
    """The pages of one request in the order of its tokens: first those that it shares, then those that it writes."""

    root: _Node  # of the tree as it was when the lease began
    shared: list[_Node]
    own: list[int] = field(default_factory=list)

    @property
    def pages(self) -> list[int]:
        return [*(node.page for node in self.shared), *self.own]


class PrefixTree:
    """Pages `0 .. count - 1` of `page_size` tokens each."""

    def __init__(self, count: int, page_size: int):
        self.page_size, self.count = page_size, count
        self._free = list(range(count - 1, -1, -1))  # the last is taken first
        self._root = _Node((), -1, None)
        self._clock = 0

    @property
    def free(self) -> int:
        """Pages that nothing is in."""
        return len(self._free)

    @property
    def cached(self) -> int:
        """Pages in the tree."""
        return sum(1 for _ in self._nodes())

    def lease(self, prompt: Sequence[int]) -> Lease:
        """The longest known beginning of a prompt, in full pages; its last token is always left to be computed."""
        shared: list[_Node] = []
        node, self._clock = self._root, self._clock + 1
        for start in range(0, len(prompt) - self.page_size, self.page_size):
            node = node.children.get(tuple(prompt[start : start + self.page_size]))
            if node is None:
                break
            node.leases, node.used = node.leases + 1, self._clock
            shared.append(node)
        return Lease(self._root, shared)

    def extend(self, lease: Lease) -> int:
        """One more page for a request to write. Raises `OutOfPages` when none is free and none can be made so."""
        if not self._free:
            self._evict()
        lease.own.append(self._free.pop())
        return lease.own[-1]

    def end(self, lease: Lease, tokens: Sequence[int] = ()) -> None:
        """Give a lease up. `tokens` are those whose keys and values its pages hold; full pages of them stay known."""
        for node in lease.shared:
            node.leases -= 1
        if lease.root is self._root:
            self._keep(lease, tokens)
        else:  # what it holds was forgotten meanwhile
            self._free += [*lease.own, *(node.page for node in lease.shared if not node.leases)]
        lease.shared, lease.own = [], []

    def grow(self, count: int) -> None:
        """Have `count` pages in all."""
        self._free = [*range(count - 1, self.count - 1, -1), *self._free]
        self.count = count

    def clear(self) -> None:
        """Forget what pages hold, those of running requests excepted, which will not be known later either."""
        for node in list(self._nodes()):
            if not node.leases:
                self._free.append(node.page)
        self._root = _Node((), -1, None)

    def _keep(self, lease: Lease, tokens: Sequence[int]) -> None:
        """Hang the full pages of a lease below those that it shared; the others are free."""
        node = lease.shared[-1] if lease.shared else self._root
        start = len(lease.shared) * self.page_size
        for page in lease.own:
            piece = tuple(tokens[start : start + self.page_size])
            start += self.page_size
            known = node.children.get(piece)
            if len(piece) < self.page_size or known is not None:  # begun, never written, or here already
                self._free.append(page)
            else:
                known = node.children[piece] = _Node(piece, page, node, used=self._clock)
            node = known or node

    def _evict(self) -> None:
        """Free the page of the leaf that was used longest ago."""
        idle = [node for node in self._nodes() if node.idle]
        if not idle:
            raise OutOfPages
        oldest = min(idle, key=lambda node: node.used)
        assert oldest.parent is not None
        del oldest.parent.children[oldest.tokens]
        self._free.append(oldest.page)

    def _nodes(self) -> Iterator[_Node]:
        waiting = [*self._root.children.values()]
        while waiting:
            node = waiting.pop()
            waiting += node.children.values()
            yield node
