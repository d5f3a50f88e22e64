"""Which requests run together, and what each step computes of them.

A round is at most two steps: one takes the next chunk of a prompt or of several, one the next token of every answer on
its way. Requests join and leave between steps. One that finds no page left waits, and what it had computed is known.
"""

import itertools
import math
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from itertools import takewhile

import numpy as np

from glmkit.engine.ladder import MAX_ROWS, Ladder
from glmkit.engine.pool import Pool, pages_for
from glmkit.engine.prefix import OutOfPages
from glmkit.engine.seated import Seated
from glmkit.engine.steps import Kind, Outcome, Steps
from glmkit.engine.ticket import Ticket
from glmkit.errors import RequestError
from glmkit.model.ops.attention.blocked import PAGE

__all__ = ["AHEAD", "Scheduler"]

AHEAD = 64  # tokens of an answer that there is room for when it begins


class Scheduler:
    """Runs requests over the pages of a pool. One thread calls its methods."""

    def __init__(self, steps: Steps, pool: Pool, max_len: int, vocab_size: int, ladder: Ladder, drafts: int = 0):
        self._steps, self._pool, self._max_len, self._vocab_size = steps, pool, max_len, vocab_size
        self._ladder, self._drafts = ladder, drafts
        self.waiting: deque[Ticket] = deque()
        self.running: list[Ticket] = []  # in the order in which they began
        self._answering: dict[Hashable, Seated] = {}  # the last steps of answers: mostly the next are of the same
        self._refused: set[Ticket] = set()  # who could not begin as things are

    def add(self, ticket: Ticket) -> None:
        self.waiting.append(ticket)

    @property
    def is_idle(self) -> bool:
        return not self.running and not self.waiting

    @property
    def reproducible(self) -> bool:
        """Whether what a request is given has the same bits whatever else is asked."""
        return self._ladder.reproducible

    @property
    def can_go_on(self) -> bool:
        """Whether a round would do anything: not where all are ahead of their readers."""
        over = any(ticket.is_over for ticket in (*self.running, *self.waiting))
        return over or self._may_admit or not self._all_paused

    @property
    def _all_paused(self) -> bool:
        """Whether none that runs, if any does, goes on before it is read."""
        return all(ticket.is_paused for ticket in self.running)

    @property
    def _may_admit(self) -> bool:
        """Whether someone waits who was not refused as things are, or nothing that runs will change how they are."""
        stuck = self._all_paused
        return any(not ticket.is_paused and (stuck or ticket not in self._refused) for ticket in self.waiting)

    def round(self) -> None:
        """One chunk of prompts and one token of answers."""
        self._dismiss()
        self._admit()
        awake = [ticket for ticket in self.running if not ticket.is_paused]
        prompts = [ticket for ticket in awake if self._unread(ticket) > 1]
        if prompts:
            size = self._ladder.chunk(self._unread(prompts[0]))
            alike = [ticket for ticket in prompts if self._ladder.chunk(self._unread(ticket)) == size]
            self._run(self._seatable(_by_probing(alike)[0], size), size)
        answers = [ticket for ticket in self.running if self._unread(ticket) <= 1 and not ticket.is_paused]
        for alike in _by_probing([ticket for ticket in answers if not ticket.is_over]):
            self._run(alike, 1 + self._drafts)
        self._dismiss()

    def renew(self) -> None:
        """Take the weights as they are now, while nothing runs. What is known is of others then, and so is an answer
        that waits for memory to go on."""
        if not self._steps.renew():
            return
        self._pool.forget()
        for ticket in self.waiting:
            if ticket.request.tokens:
                ticket.request.fail(RequestError("the model was changed before this answer could go on; ask again"))

    def fail(self, error: BaseException) -> None:
        """End all that run with an error; who waits goes on."""
        for ticket in self.running:
            ticket.request.fail(error)
        self._answering = {}
        if self._pool.lost:
            self._pool.release()
            for ticket in self.running:
                ticket.lease = None
        self._dismiss()

    def most_tokens(self, prompt: int) -> int:
        """Of a step, on each part of the mesh, for one request whose prompt is of so many tokens; none of it is known.

        It may go by a program of twice the rows.
        """
        return max(size * self._ladder.rows(2, size) for size in (*self._ladder.plan(prompt), 1 + self._drafts))

    def kinds(self, rows: Sequence[int], flags: Mapping[str, bool]) -> list[Kind]:
        """The steps of so many rows that the ladder has, for warming up: with and without each of these flags."""
        parts, always = self._pool.parts, {"masked": True} if self.reproducible else {}
        found = {
            Kind(parts * self._ladder.rows(count, size), size, **(dict(zip(flags, choice, strict=True)) | always))
            for size in (1 + self._drafts, *self._ladder.chunks)
            for count in rows
            for choice in itertools.product(*({False, flag} for flag in flags.values()))
        }
        return sorted(found)

    def _unread(self, ticket: Ticket) -> int:
        """Tokens to be computed in chunks. With one left, a request is at its answer."""
        request = ticket.request
        return (len(request.prompt) if self.reproducible else request.length) - ticket.held

    def _scope(self, ticket: Ticket) -> Hashable:
        """Whose pages a request may share."""
        return ticket.exact_scope if self.reproducible else ticket.scope

    # Who runs.

    def _dismiss(self) -> None:
        for ticket in [ticket for ticket in (*self.running, *self.waiting) if ticket.is_over]:
            (self.running if ticket in self.running else self.waiting).remove(ticket)
            self._leave(ticket)
            ticket.close()

    def _leave(self, ticket: Ticket) -> None:
        """Give the pages up; what they hold stays known."""
        if ticket.lease is not None:
            self._pool.trees[ticket.part].end(ticket.lease)
            ticket.lease, ticket.held, ticket.drafts = None, 0, ()
        self._answering, self._refused = {}, set()

    def _admit(self) -> None:
        """Let those begin that came first, as far as there are rows and pages; none passes one that finds no room.

        What goes wrong with that ends those that were to begin, and what runs goes on.
        """
        if not self._may_admit:
            return
        chosen = [ticket for ticket in self.waiting if not ticket.is_paused]
        self._refused = set(chosen)
        try:
            if self._is_on_current_weights():
                chosen = self._next([ticket for ticket in chosen if not ticket.is_over])
                self._pool.prepare(-(-sum(self._pages(ticket) for ticket in chosen) // self._pool.parts))
                if begun := list(takewhile(self._begin, chosen)):
                    chosen = begun
                    self._prepare(begun)
                elif self._all_paused:
                    self._make_room()
        except Exception as error:
            for ticket in chosen:
                ticket.request.fail(error)
            self._dismiss()

    def _is_on_current_weights(self) -> bool:
        """What runs keeps the weights that it began with: after a change of them, others begin when it has ended.

        Where nobody reads the answers that run, those with new weights need not wait for them.
        """
        if not self.running:
            self.renew()
        elif not self._steps.is_current():
            if self._all_paused:
                for ticket in self.running:
                    ticket.request.fail(RequestError("the model was changed while nobody read this answer; ask again"))
            return False
        return True

    def _next(self, awake: Sequence[Ticket]) -> list[Ticket]:
        """Those whose turn it is, without any whose prompt begins as one that is being computed: it will be known."""
        chosen: list[Ticket] = []
        reading = [ticket for ticket in self.running if self._unread(ticket) > 1 and not ticket.is_paused]
        for ticket in awake:
            if len(self.running) + len(chosen) >= MAX_ROWS * self._pool.parts:
                break
            prompt, scope = ticket.request.prompt, self._scope(ticket)
            alike = [other for other in reading if self._scope(other) == scope] if ticket.may_share else []
            common = max((_common_pages(other.request.prompt, prompt) for other in alike), default=0)
            if not common or common <= max((tree.known(prompt, scope) for tree in self._pool.trees), default=0):
                chosen.append(ticket)
                reading.append(ticket)
        return chosen

    def _begin(self, ticket: Ticket) -> bool:
        """Give a request pages of a part of the pool, rather of one that knows much of it; not where all are short."""
        request, trees, scope = ticket.request, self._pool.trees, self._scope(ticket)
        load = [sum(other.part == part for other in self.running) for part in range(len(trees))]
        fed = request.piece(0, len(request.prompt) if self.reproducible else request.length)
        fed = fed if ticket.may_share else ()
        open_ = [
            part
            for part in range(len(trees))
            if load[part] < MAX_ROWS and self._pool.has_room(part, self._pages(ticket), fed, scope)
        ]
        if not open_:
            return False
        part = max(open_, key=lambda part: (trees[part].known(fed, scope), -load[part]))
        lease = trees[part].lease(fed, scope)
        self.waiting.remove(ticket)
        self.running.append(ticket)
        ticket.part, ticket.lease, ticket.held = part, lease, len(lease) * PAGE
        if request.cached_tokens is None:  # not one that waited for pages and finds its own
            request.cached_tokens = ticket.held
            lease.count_hits()
        if request.probe is not None:
            request.probe.begin()
        if request.sampling.repetition_penalty != 1:
            ticket.seen = np.zeros(self._vocab_size, bool)
            ticket.seen[list(request.piece(0, ticket.held))] = True
        return True

    def _set_aside(self, ticket: Ticket) -> None:
        """Have a request wait once more, without pages."""
        self._leave(ticket)
        self.running.remove(ticket)
        self.waiting.appendleft(ticket)

    def _make_room(self) -> None:
        """Have what runs, and nobody reads, wait; where nothing does, ask for memory anew, without what it held."""
        if not self.running:  # as the memory could not grow beside what there was
            self._pool.release()
        for ticket in reversed(self.running):
            self._set_aside(ticket)

    def _pages(self, ticket: Ticket) -> int:
        return pages_for(min(ticket.request.length + AHEAD, self._max_len))

    # What they run.

    def _prepare(self, begun: Sequence[Ticket]) -> None:
        """Programs for the chunks of prompts that begin and for the answers, compiled side by side."""
        kinds = []
        for alike in _by_probing(begun):
            plans = [list(self._ladder.plan(self._unread(ticket))) for ticket in alike]
            kinds += [
                self._kind([ticket for ticket, plan in zip(alike, plans, strict=True) if size in plan], size)
                for size in sorted(set().union(*plans))
            ]
            if any(ticket.request.max_tokens > 1 for ticket in alike) or not all(plans):
                running = next(part for part in _by_probing(self.running) if alike[0] in part)
                kinds.append(self._kind(running, 1 + self._drafts))
        self._steps.prepare(kinds, self._pool)

    def _kind(self, tickets: Sequence[Ticket], size: int) -> Kind:
        """What a step of these needs; rather one of twice the rows that is there than one that has to be compiled."""
        parts, requests = self._pool.parts, [ticket.request for ticket in tickets]
        most = max(sum(ticket.part == part for ticket in tickets) for part in range(parts))
        kind = Kind(
            parts * self._ladder.rows(most, size),
            size,
            masked=self.reproducible or any(request.grammar is not None for request in requests),
            penalised=any(request.sampling.repetition_penalty != 1 for request in requests),
            top=any(request.sampling.top_logprobs for request in requests),
            drawn=any(request.sampling.drawn_logprobs for request in requests),
            probing=None if requests[0].probe is None else requests[0].probe.probing,
        )
        wider = (kind._replace(rows=kind.rows * times) for times in (1, 2))
        return next((kind for kind in wider if self._steps.is_ready(kind, self._pool)), kind)

    def _run(self, tickets: Sequence[Ticket], size: int) -> None:
        """A step that takes up to `size` tokens of each request, and draws for those that it takes the last of.

        The requests are probed alike.
        """
        for ticket in tickets:
            self._take_pages(ticket, size)
        tickets = [ticket for ticket in tickets if ticket.lease is not None]
        if not tickets:
            return
        seated = self._seat(tickets, size)
        seated.load()
        self._steps.prepare([seated.rows.kind], self._pool)
        outcomes, kept = self._steps.run(seated.rows, self._pool, seated.fill_masks)
        if kept is not None:
            kept = tickets[0].request.probe.probing.saw(kept)
        for row, ticket in seated.places.items():
            with ticket.lock:
                start, was_over = ticket.held, ticket.is_over
                self._took(ticket, seated.fed[row], outcomes[row])
                if kept is not None and not was_over:  # else somebody has gone on with what it holds
                    ticket.request.probe.saw(start, ticket.held - start, kept, row)

    def _took(self, ticket: Ticket, fed: Sequence[int], outcome: Outcome) -> None:
        """The pages hold what was fed, and others may share them, unless the model has gone wrong; so do drafts, as
        far as they are what was drawn."""
        request, was_reading = ticket.request, ticket.held < len(ticket.request.prompt)
        certain, ticket.drafts = min(len(fed), request.length - ticket.held), ()
        drafts = fed[certain:]
        ticket.held += certain
        request.drafted += len(drafts)
        if ticket.held == request.length or math.isnan(outcome.drawn[0].logprob):
            for drawn, draft in zip(outcome.drawn, (*drafts, None), strict=False):
                ticket.deliver(drawn)
                if ticket.is_over or request.tokens[-1] != drawn.token:  # a budget may have dictated another
                    break
                if draft != drawn.token:
                    ticket.drafts = outcome.drafts
                    break
                ticket.held, request.accepted = ticket.held + 1, request.accepted + 1
                if ticket.seen is not None:
                    ticket.seen[draft] = True
        published = request.error is None and self._publish(ticket)
        if was_reading and (published or ticket.held >= len(request.prompt)):
            self._refused = set()  # some may have waited to share it

    def _publish(self, ticket: Ticket) -> bool:
        """Let others share the full pages; whether there were any."""
        if ticket.is_private:
            return False
        tree, lease, published = self._pool.trees[ticket.part], ticket.lease, False
        upto = min(ticket.held, len(ticket.request.prompt)) if self.reproducible else ticket.held
        while (start := len(lease.shared) * PAGE) + PAGE <= upto:
            if not tree.publish(lease, ticket.request.piece(start, start + PAGE)):
                break
            published = True
        return published

    def _take_pages(self, ticket: Ticket, size: int) -> None:
        """Pages for a step. Where there are none left, the last that began waits, and its pages are free."""
        while ticket.lease is not None:
            # Drafts are fed beyond what is certain, and as many are made after them.
            if len(ticket.lease) >= pages_for(min(ticket.held + size, ticket.request.length) + 2 * self._drafts):
                return
            try:
                self._pool.extend(ticket.part, ticket.lease)
            except OutOfPages:
                self._set_aside([other for other in self.running if other.part == ticket.part][-1])

    def _seatable(self, tickets: Sequence[Ticket], size: int) -> list[Ticket]:
        """Those that came first, of each part as many as it has rows for."""
        by_part = [[ticket for ticket in tickets if ticket.part == part] for part in range(self._pool.parts)]
        return [ticket for own in by_part for ticket in own[: self._ladder.most_rows(size)]]

    def _seat(self, tickets: Sequence[Ticket], size: int) -> Seated:
        tickets = sorted(tickets, key=lambda ticket: ticket.part)
        kind, last = self._kind(tickets, size), self._answering.get(tickets[0].probed_as)
        if last is not None and last.rows.kind == kind and [*last.places.values()] == tickets:
            return last
        places, rows = {}, kind.rows // self._pool.parts
        for part in range(self._pool.parts):
            own = [ticket for ticket in tickets if ticket.part == part]
            assert len(own) <= rows  # a row beyond them would write into the pages of another part
            places |= dict(enumerate(own, part * rows))
        sampling = [places[row].request.sampling if row in places else None for row in range(kind.rows)]
        seated = Seated(self._steps.rows(kind, sampling), places)
        if size == 1 + self._drafts:
            self._answering[tickets[0].probed_as] = seated
        return seated


def _by_probing(tickets: Sequence[Ticket]) -> list[list[Ticket]]:
    """Those that may share a step."""
    apart: dict[Hashable, list[Ticket]] = {}
    for ticket in tickets:
        apart.setdefault(ticket.probed_as, []).append(ticket)
    return list(apart.values())


def _common_pages(one: Sequence[int], other: Sequence[int]) -> int:
    """Full pages with which both prompts begin, and which the other could share: not that of its last token."""
    pages, most = 0, min(len(one), len(other) - 1) // PAGE
    while pages < most and one[pages * PAGE : (pages + 1) * PAGE] == other[pages * PAGE : (pages + 1) * PAGE]:
        pages += 1
    return pages
