"""The requests of a step in its rows: what the step is given of each."""

from dataclasses import dataclass, field

import numpy as np

from glmkit.engine.steps import Rows
from glmkit.engine.ticket import Ticket
from glmkit.errors import RequestError

__all__ = ["Seated"]


@dataclass
class Seated:
    """The rows of a step and the requests in them."""

    rows: Rows
    places: dict[int, Ticket]
    shown: dict[int, int] = field(default_factory=dict)  # the version of a lease whose pages are in the table
    fed: dict[int, tuple[int, ...]] = field(default_factory=dict)  # what each appends now

    def load(self) -> None:
        """Write what the requests' next tokens are, and where they go."""
        rows, size = self.rows, self.rows.kind.size
        for row, ticket in self.places.items():
            piece = self.fed[row] = ticket.fed(size)
            rows.tokens[row, : len(piece)] = piece
            rows.segment_ids[row] = -1
            rows.segment_ids[row, : len(piece)] = 0
            rows.length[row] = ticket.held
            if rows.following is not None:
                after = ticket.held + len(piece)
                rows.following[row] = next(iter(ticket.request.piece(after, after + 1)), -1)
            if self.shown.get(row) != ticket.lease.version:
                pages = ticket.lease.pages
                rows.table[row, : len(pages)] = pages
                self.shown[row] = ticket.lease.version
            if ticket.seen is not None:
                ticket.seen[list(ticket.request.piece(ticket.held, ticket.held + size))] = True
                rows.seen[row] = ticket.seen
        if rows.kind.probing is not None and rows.kind.probing.has_values:
            self._load_changes()

    def _load_changes(self) -> None:
        """Write what is kept and, where the model is changed, what of it for the tokens to come."""
        rows, size = self.rows, self.rows.kind.size
        probing = next(iter(self.places.values())).request.probe.probing
        phases = np.full((rows.kind.rows, size), -1, np.int32)
        for row, ticket in self.places.items() if probing.plan is not None else ():
            request, fed = ticket.request, self.fed[row]
            drafts = fed[max(0, request.length - ticket.held) :]
            known = request.probe.phases(request.prompt, request.tokens, request.forced, drafts)
            phases[row, : len(fed)] = known[ticket.held : ticket.held + len(fed)]
        rows.probed = probing.probed(rows.length[:, None] + np.arange(size), phases)

    def fill_masks(self) -> None:
        """What may come at each place, as the grammars go on if the drafts before it are right."""
        for row, ticket in self.places.items():
            grammar, draws = ticket.request.grammar, ticket.held + len(self.fed[row]) >= ticket.request.length
            if grammar is None or not draws or ticket.is_over:
                continue
            grammar.fill(self.rows.masks[row, 0])
            drafts = self.fed[row][ticket.request.length - ticket.held :]
            ahead = grammar.copy() if drafts else grammar
            for place, draft in enumerate(drafts, 1):
                try:
                    ahead.take(draft)
                except RequestError:  # it will not be drawn, and what is drawn after it is not looked at
                    break
                ahead.fill(self.rows.masks[row, place])
