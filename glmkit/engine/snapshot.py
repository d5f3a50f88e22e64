"""The pages of an engine as they are at one moment, for whoever wants to look: plain values, and no part of it."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from glmkit.engine.pool import Pool
from glmkit.engine.scheduler import Scheduler
from glmkit.engine.ticket import Ticket
from glmkit.model.ops.attention.blocked import PAGE

__all__ = ["CacheTree", "KnownPage", "RunningRequest", "snapshot"]


@dataclass(frozen=True)
class KnownPage:
    """A full page that requests share, whose `tokens` come after those of its `parent`, a place in `CacheTree.pages`.

    `part` and `page` say where it lies, `hits` how many requests found it there, `readers` how many that run read it,
    `used` when it was last read, as a number that only grows. `scope` is None for what was computed without
    interventions, else what is equal for the same ones alone: the requests with these find it, and no others. Of a
    reproducible engine it tells the compiled steps apart, too.
    """

    part: int
    page: int
    parent: int | None
    tokens: tuple[int, ...]
    hits: int
    readers: int
    used: int
    scope: Hashable = None

    @property
    def name(self) -> str:
        """Of the memory that it lies in, "part:page"; the same for as long as it is known."""
        return f"{self.part}:{self.page}"


@dataclass(frozen=True)
class RunningRequest:
    """A request on its way: `shared` are places in `CacheTree.pages`, `own` counts the pages that are its own yet.

    Of `length` tokens, prompt and answer, `held` are in its pages; `cached` were there when it began. One that `waits`
    has no pages.
    """

    prompt: tuple[int, ...]
    length: int
    held: int
    cached: int
    part: int
    shared: tuple[int, ...]
    own: int
    waits: bool


@dataclass(frozen=True)
class CacheTree:
    """All pages that are known, parents before their children, and the requests on their way.

    A page is `page_size` tokens and `page_bytes` of all devices together. There is memory for `count` of them now, of
    which `free` hold nothing.
    """

    page_size: int
    page_bytes: int
    count: int
    free: int
    pages: tuple[KnownPage, ...]
    requests: tuple[RunningRequest, ...]

    @property
    def nbytes(self) -> int:
        """Of the pages that are known."""
        return len(self.pages) * self.page_bytes

    @property
    def hits(self) -> int:
        """How often a request found one of the pages that are known."""
        return sum(page.hits for page in self.pages)

    def path(self, place: int) -> tuple[int, ...]:
        """The places of a page's ancestors and its own, the first page first."""
        found = [place]
        while (parent := self.pages[found[-1]].parent) is not None:
            found.append(parent)
        return tuple(reversed(found))

    def context(self, place: int) -> tuple[int, ...]:
        """All tokens up to the end of a page."""
        return tuple(token for at in self.path(place) for token in self.pages[at].tokens)

    def find(self, tokens: Sequence[int], scope: Hashable = None) -> tuple[int, ...]:
        """The places of the pages that hold the beginning of `tokens`, by default those without interventions."""
        tokens, found = tuple(tokens), []
        below = {(page.parent, page.tokens): at for at, page in enumerate(self.pages) if page.scope == scope}
        for start in range(0, len(tokens) - self.page_size + 1, self.page_size):
            at = below.get((found[-1] if found else None, tokens[start : start + self.page_size]))
            if at is None:
                break
            found.append(at)
        return tuple(found)


def snapshot(pool: Pool, scheduler: Scheduler) -> CacheTree:
    """Taken by the engine's thread."""
    pages: list[KnownPage] = []
    places: dict[int, int] = {}  # of nodes
    for part, tree in enumerate(pool.trees):
        for scope in tree.scopes:
            for node in tree.nodes(scope):
                places[id(node)] = len(pages)
                above = places.get(id(node.parent))
                read = node.hits, node.leases, node.used
                pages.append(KnownPage(part, node.page, above, node.tokens, *read, scope))

    def running(ticket: Ticket) -> RunningRequest:
        request, lease = ticket.request, ticket.lease
        shared = () if lease is None else tuple(places[id(node)] for node in lease.shared if id(node) in places)
        own = 0 if lease is None else len(lease) - len(shared)
        cached, waits = request.cached_tokens or 0, lease is None
        return RunningRequest(request.prompt, request.length, ticket.held, cached, ticket.part, shared, own, waits)

    requests = tuple(running(ticket) for ticket in (*scheduler.running, *scheduler.waiting))
    count, free = pool.count * pool.parts, sum(tree.free for tree in pool.trees)
    return CacheTree(PAGE, pool.nbytes // count if count else 0, count, free, tuple(pages), requests)
