"""Who owns which page of the cache, and which pages hold what: trees of token prefixes, whose edges are full pages.

What a request computed stays known, and the next request that begins alike has it for nothing, while the first still
runs and after it. When pages run out, the leaf that was used longest ago goes; what a running request reads never does.
Plain Python: no arrays.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

__all__ = ["Lease", "Node", "OutOfPages", "PrefixTree"]


class OutOfPages(Exception):
    """Every page is in use."""


@dataclass(eq=False)
class Node:
    """A full page: its tokens come after those of its parents."""

    tokens: tuple[int, ...]
    page: int
    parent: "Node | None"
    children: dict[tuple[int, ...], "Node"] = field(default_factory=dict)
    leases: int = 0  # that read it
    used: int = 0  # when it was last part of a lease
    hits: int = 0  # requests that found it here


@dataclass(eq=False)
class Lease:
    """The pages of one request in the order of its tokens: first those that it shares, then those that it writes."""

    scope: Hashable
    root: Node  # of the scope as it was when the lease began
    shared: list[Node]
    own: list[int] = field(default_factory=list)
    version: int = 0  # of its pages

    @property
    def pages(self) -> list[int]:
        return [*(node.page for node in self.shared), *self.own]

    def __len__(self) -> int:
        return len(self.shared) + len(self.own)

    def count_hits(self) -> None:
        """Its request found the pages that it shares, and need not compute them."""
        for node in self.shared:
            node.hits += 1


class PrefixTree:
    """Pages `0 .. count - 1` of `page_size` tokens each.

    Each scope has a tree: equal tokens share pages only where whatever else shaped their keys and values is equal too.
    """

    def __init__(self, count: int, page_size: int):
        self.page_size, self.count = page_size, count
        self._free = list(range(count - 1, -1, -1))  # the last is taken first
        self._roots: dict[Hashable, Node] = {}
        self._clock = 0
        self._known = 0  # pages in a tree
        self._idle = 0  # of these, which no lease reads
        self.changes = 0  # goes up whenever a page changes hands; any thread may look

    @property
    def free(self) -> int:
        """Pages that nothing is in."""
        return len(self._free)

    @property
    def cached(self) -> int:
        """Pages in the trees."""
        return self._known

    @property
    def available(self) -> int:
        """Pages that a request may have: those that are free, and those that can be made so."""
        return len(self._free) + self._idle

    def known(self, prompt: Sequence[int], scope: Hashable = None) -> int:
        """How many full pages of a prompt a lease would share."""
        return len(self._path(prompt, scope))

    def room(self, prompt: Sequence[int], scope: Hashable = None) -> int:
        """Pages that a lease of a prompt could come to: what it would share, and what it may have besides."""
        return self.available + sum(node.leases > 0 for node in self._path(prompt, scope))

    def lease(self, prompt: Sequence[int], scope: Hashable = None) -> Lease:
        """The longest known beginning of a prompt, in full pages; its last token is always left to be computed."""
        self._clock, self.changes = self._clock + 1, self.changes + 1
        lease = Lease(scope, self._roots.setdefault(scope, Node((), -1, None)), self._path(prompt, scope))
        lease.root.leases += 1
        for node in lease.shared:
            self._read(node)
        return lease

    def extend(self, lease: Lease) -> int:
        """One more page for a request to write. Raises `OutOfPages` when none is free and none can be made so."""
        if not self._free:
            self._evict()
        lease.own.append(self._free.pop())
        lease.version, self.changes = lease.version + 1, self.changes + 1
        return lease.own[-1]

    def publish(self, lease: Lease, tokens: Sequence[int]) -> bool:
        """Let others share the first of a lease's own pages, which holds these tokens; not what was forgotten.

        Where another has computed the same, the lease shares that page instead and its own is free.
        """
        if not self._is_current(lease):
            return False
        node = self.adopt(lease, lease.shared[-1] if lease.shared else lease.root, tokens)
        self._read(node)
        lease.shared.append(node)
        lease.version += 1
        return True

    def adopt(self, lease: Lease, parent: Node, tokens: Sequence[int]) -> Node:
        """Have the first of a lease's own pages known below `parent`; where it is known already, the page is free."""
        assert len(tokens) == self.page_size
        page, piece = lease.own.pop(0), tuple(tokens)
        if piece in parent.children:
            self._free.append(page)
        else:
            parent.children[piece] = Node(piece, page, parent, used=self._clock)
            self._known, self._idle = self._known + 1, self._idle + 1
        self.changes += 1
        return parent.children[piece]

    def end(self, lease: Lease) -> None:
        """Give a lease up: what it published stays known, its own pages are free."""
        current = self._is_current(lease)
        for node in lease.shared:
            node.leases -= 1
            if not node.leases and current:
                self._idle += 1
            elif not node.leases:  # what it holds was forgotten meanwhile
                self._free.append(node.page)
        self._free += lease.own
        lease.shared, lease.own = [], []
        lease.root.leases -= 1
        self._let_go(lease.root)
        self.changes += 1

    def grow(self, count: int) -> None:
        """Have `count` pages in all."""
        self._free = [*range(count - 1, self.count - 1, -1), *self._free]
        self.count, self.changes = count, self.changes + 1

    def clear(self) -> None:
        """Forget what pages hold, those of running requests excepted, which will not be known later either."""
        self._free += [node.page for node in self.nodes() if not node.leases]
        self._roots, self._known, self._idle = {}, 0, 0
        self.changes += 1

    @property
    def scopes(self) -> tuple[Hashable, ...]:
        """What there are trees of."""
        return tuple(self._roots)

    def nodes(self, *scopes: Hashable) -> Iterator[Node]:
        """The known pages of these scopes, by default of all, parents before their children."""
        roots = [self._roots[scope] for scope in scopes or self._roots if scope in self._roots]
        waiting = [child for root in roots for child in root.children.values()]
        while waiting:
            node = waiting.pop()
            waiting += node.children.values()
            yield node

    def _path(self, prompt: Sequence[int], scope: Hashable) -> list[Node]:
        path, node = [], self._roots.get(scope)
        for start in range(0, len(prompt) - self.page_size, self.page_size):
            node = node and node.children.get(tuple(prompt[start : start + self.page_size]))
            if node is None:
                break
            path.append(node)
        return path

    def _read(self, node: Node) -> None:
        self._idle -= not node.leases
        node.leases, node.used = node.leases + 1, self._clock

    def _is_current(self, lease: Lease) -> bool:
        return self._roots.get(lease.scope) is lease.root

    def _let_go(self, node: Node) -> None:
        """Forget a scope that has no page any more, and no reader."""
        if node.parent is None and not node.leases and not node.children:
            self._roots = {scope: root for scope, root in self._roots.items() if root is not node}

    def _evict(self) -> None:
        """Free the page of the leaf that was used longest ago."""
        leaves = (node for node in self.nodes() if not node.leases and not node.children)
        oldest = min(leaves, key=lambda node: node.used, default=None)
        if oldest is None:
            raise OutOfPages
        del oldest.parent.children[oldest.tokens]
        self._let_go(oldest.parent)
        self._free.append(oldest.page)
        self._known, self._idle = self._known - 1, self._idle - 1
