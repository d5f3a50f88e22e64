"""Rows of a rollout as they are written: turn after turn, each token with what is known of it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from glmkit.engine.probing import Probe
from glmkit.engine.request import Request
from glmkit.engine.sampling import Sampling
from glmkit.rl.rollout import Rollout
from glmkit.rl.sample import Sample
from glmkit.runs import PHASES

__all__ = ["Row", "assembled"]

WIDTH = 32  # rows are padded to a multiple of it, so that few lengths are compiled for
_PROMPT, _FORCED = PHASES.index("prompt"), PHASES.index("forced")


@dataclasses.dataclass
class Row:
    """Tokens so far; `logprobs` are 0 where nothing was drawn, `routes` `[moe_layer, k]` of each that was read."""

    sample: int
    tokens: list[int] = dataclasses.field(default_factory=list)
    spans: list[int] = dataclasses.field(default_factory=list)
    mask: list[bool] = dataclasses.field(default_factory=list)
    logprobs: list[float] = dataclasses.field(default_factory=list)
    routes: list[np.ndarray] = dataclasses.field(default_factory=list)
    allowed: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)  # by place, where not all could be drawn

    def add_turn(self, request: Request, probe: Probe) -> None:
        """Add what a request's prompt has beyond this row, and what it drew, its end among that."""
        start = len(self.tokens)
        prompt = request.prompt[start:]
        self._add(prompt, [_PROMPT] * len(prompt), [False] * len(prompt), [0.0] * len(prompt))
        spans = probe.phases(request.prompt, request.tokens, request.forced)[len(request.prompt) :]
        drawn = [not forced for forced in request.forced]
        tokens = list(request.tokens)
        logprobs = [lp if own else 0.0 for own, lp in zip(drawn, request.logprobs, strict=True)]
        if request.end is not None:
            last = spans[-1] if spans else PHASES.index("answer")
            spans, drawn = [*spans, PHASES.index("answer") if last == _FORCED else last], [*drawn, True]
            tokens, logprobs = [*tokens, request.end.token], [*logprobs, request.end.logprob]
        self.allowed |= enumerate(request.passed, len(self.tokens))
        self._add(tokens, spans, drawn, logprobs)
        for start, _, kept, _ in probe.pieces:
            if kept.ids is not None:  # a token keeps the routes with which it was read first
                known = max(0, len(self.routes) - start)
                self.routes += list(np.moveaxis(kept.ids[:, 0], 0, 1)[known:])

    def _add(self, tokens: Sequence[int], spans: Sequence[int], mask: Sequence[bool], lps: Sequence[float]) -> None:
        self.tokens += tokens
        self.spans += spans
        self.mask += mask
        self.logprobs += lps


def assembled(rows: Sequence[Row], samples: Sequence[Sample], sampling: Sampling, version: int) -> Rollout:
    """All rows as arrays."""
    longest = max((len(row.tokens) for row in rows), default=0)
    shape = (len(rows), max(WIDTH, -(-longest // WIDTH) * WIDTH))

    def filled(name: str, filling: Any, dtype: Any) -> np.ndarray:
        array = np.full(shape, filling, dtype)
        for number, row in enumerate(rows):
            array[number, : len(row.tokens)] = getattr(row, name)
        return array

    return Rollout(
        tokens=filled("tokens", 0, np.int32),
        length=np.array([len(row.tokens) for row in rows], np.int32),
        spans=filled("spans", -1, np.int8),
        mask=filled("mask", False, np.bool_),
        logprobs=filled("logprobs", 0, np.float32),
        sample=np.array([row.sample for row in rows], np.int32),
        group=np.array([sample.group for sample in samples], np.int32),
        routes=_routes(rows, shape),
        allowed=_allowed(rows, shape),
        samples=tuple(samples),
        sampling=sampling,
        version=version,
    )


def _routes(rows: Sequence[Row], shape: tuple[int, int]) -> np.ndarray | None:
    known = next((route for row in rows for route in row.routes), None)
    if known is None:
        return None
    routes = np.full((*shape, *known.shape), -1, np.int16)
    for number, row in enumerate(rows):
        if row.routes:
            routes[number, : len(row.routes)] = row.routes
    return routes


def _allowed(rows: Sequence[Row], shape: tuple[int, int]) -> np.ndarray | None:
    known = next((mask for row in rows for mask in row.allowed.values()), None)
    if known is None:
        return None
    allowed = np.full((*shape, *known.shape), -1, np.int32)
    for number, row in enumerate(rows):
        for place, mask in row.allowed.items():
            allowed[number, place] = mask
    return allowed
