"""Steps: the compiled programs that append tokens to rows and draw what comes next, and what they are given.

All that a step knows of its rows is on the host and passed in each time; the pages alone stay on the devices.
"""

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Bool, Int

from glmkit.engine.compute import Drafting, Found, Given, Probed, draw_step, forward_step, whole_step
from glmkit.engine.pool import Pool, pages_for
from glmkit.engine.probing import Probing
from glmkit.engine.programs import Programs
from glmkit.engine.request import TokenLogprob
from glmkit.engine.sampling import Sampling, SamplingBatch
from glmkit.model import GLM, Kept
from glmkit.sharding import partition_spec

__all__ = ["Drawn", "Kind", "Outcome", "Rows", "Steps"]

_IDLE = Sampling(temperature=0.0)  # of rows without a request


class Kind(NamedTuple):
    """What a program is compiled for, besides the model and the number of pages.

    With `masked`, of grammars, a step is two programs, so that masks are made while the model runs; `penalised` steps
    are told which tokens a row holds; with `top` they give the likeliest tokens, with `drawn` the log-probabilities of
    what is drawn from, and what that leaves. `probing` counts by its structure.
    """

    rows: int
    size: int  # tokens that each row may append
    masked: bool = False
    penalised: bool = False
    top: bool = False
    drawn: bool = False
    probing: Probing | None = None


class Drawn(NamedTuple):
    """What a row drew: a token, its log-probability, and where they were asked for the likeliest tokens, and which
    could be drawn, as a mask."""

    token: int
    logprob: float
    top: tuple[TokenLogprob, ...] = ()
    passed: Int[np.ndarray, " W"] | None = None


class Outcome(NamedTuple):
    """What came of a row: what it drew at each place, and what it may go on with after all that proves right."""

    drawn: list[Drawn]
    drafts: tuple[int, ...]


@dataclass
class Rows:
    """What a step is given of its rows; a row with no valid segment appends nothing and draws nothing of meaning."""

    kind: Kind
    settings: SamplingBatch
    tokens: Int[np.ndarray, "B T"]
    segment_ids: Int[np.ndarray, "B T"]
    length: Int[np.ndarray, " B"]  # tokens that a row holds before the step
    table: Int[np.ndarray, "B N"]
    following: Int[np.ndarray, " B"] | None
    seen: Bool[np.ndarray, "B V"] | None
    masks: Int[np.ndarray, "B R W"] | None = field(repr=False)
    probed: Probed

    @property
    def given(self) -> Given:
        return Given(self.table, self.length, self.tokens, self.segment_ids, self.following)


class Steps:
    """The programs of one model and its arrays; whoever edits the model in place is heard at the next `renew`."""

    def __init__(self, model: GLM, max_len: int, drafting: Drafting):
        self._model, self._width, self._drafting = model, pages_for(max_len), drafting
        self._known: list[weakref.ref] = []
        self._compiled_for: object = None
        self._leaves: list[jax.Array] | None = None
        self._ready: dict[tuple[Kind, int], tuple[jax.stages.Compiled, jax.stages.Compiled | None]] = {}
        self.renew()
        self.rest()

    @property
    def count(self) -> int:
        """How many programs have been made."""
        return self._wholes.count + self._forwards.count + self._draws.count

    def is_current(self) -> bool:
        """Whether the model's arrays are those that were last renewed, and its structure too."""
        leaves, structure = jax.tree.flatten(self._model)
        return self._has(leaves) and self._compiled_for == _kinds(leaves, structure)

    def renew(self) -> bool:
        """Take the model's arrays as they are now; whether any is another."""
        leaves, structure = jax.tree.flatten(self._model)
        changed, compiled_for = not self._has(leaves), _kinds(leaves, structure)
        if compiled_for != self._compiled_for:
            changed, self._compiled_for = True, compiled_for
            self._make_programs(structure)
        self._leaves, self._known = leaves, [weakref.ref(leaf) for leaf in leaves]
        return changed

    def rest(self) -> None:
        """Hold no arrays until the next `renew`: an engine at rest keeps no weights alive that its model dropped."""
        self._leaves = None

    def rows(self, kind: Kind, sampling: Iterable[Sampling | None]) -> Rows:
        """Rows that append nothing yet, of requests with these settings."""
        settings = SamplingBatch.of([each or _IDLE for each in sampling], kind.top, kind.drawn)
        vocab_size = self._model.config.vocab_size
        positions = np.zeros((kind.rows, kind.size), np.int32)
        return Rows(
            kind,
            jax.device_put(settings, self._by_row),
            tokens=np.zeros((kind.rows, kind.size), np.int32),
            segment_ids=np.full((kind.rows, kind.size), -1, np.int32),
            length=np.zeros(kind.rows, np.int32),
            table=np.zeros((kind.rows, self._width), np.int32),
            following=np.full(kind.rows, -1, np.int32) if self._drafting.tokens else None,
            seen=np.zeros((kind.rows, vocab_size), bool) if kind.penalised else None,
            masks=np.full((kind.rows, self._places(kind), -(-vocab_size // 32)), -1, np.int32) if kind.masked else None,
            probed=Probed() if kind.probing is None else kind.probing.probed(positions, positions - 1),
        )

    def is_ready(self, kind: Kind, pool: Pool) -> bool:
        return (kind, pool.count) in self._ready

    def prepare(self, kinds: Iterable[Kind], pool: Pool) -> None:
        """Have programs for steps of these kinds; those that are missing are compiled side by side."""
        missing = [kind for kind in dict.fromkeys(kinds) if not self.is_ready(kind, pool)]
        if not missing:
            return
        wholes, forwards, draws = {}, {}, {}
        for kind in missing:
            rows = self.rows(kind, [None] * kind.rows)
            if kind.masked:
                forwards[_forward_name(kind, pool)] = self._arguments(rows, pool)
                draws[kind, self._draw_pages(pool)] = self._draw_arguments(rows, pool, *self._abstract_forward(kind))
            else:
                wholes[kind, pool.count] = (*self._arguments(rows, pool), rows.settings, rows.seen)
        made = self._wholes.prepared(wholes), self._forwards.prepared(forwards), self._draws.prepared(draws)
        for kind in missing:
            program = made[0].get((kind, pool.count)), None
            if kind.masked:
                program = made[1][_forward_name(kind, pool)], made[2][kind, self._draw_pages(pool)]
            self._ready[kind, pool.count] = program

    def run(self, rows: Rows, pool: Pool, fill: Callable[[], None]) -> tuple[list[Outcome], Kept | None]:
        """Append the rows' tokens and draw; what was kept is on the devices yet.

        `fill` writes the masks, while the model runs.
        """
        program, draw = self._ready[rows.kind, pool.count]
        if draw is None:
            found, pool.layers, kept = program(*self._arguments(rows, pool), rows.settings, rows.seen)
        else:
            logits, hidden, pool.layers, kept = program(*self._arguments(rows, pool))
            fill()
            found, layers = draw(*self._draw_arguments(rows, pool, logits, hidden))
            pool.layers = pool.layers if layers is None else layers
        return _outcomes(found), kept

    def _places(self, kind: Kind) -> int:
        """How many tokens a row may draw."""
        return kind.size if kind.size == 1 + self._drafting.tokens else 1

    def _arguments(self, rows: Rows, pool: Pool) -> tuple[Any, ...]:
        return self._leaves, pool.layers, rows.given, rows.probed

    def _draw_arguments(self, rows: Rows, pool: Pool, logits: Any, hidden: Any) -> tuple[Any, ...]:
        with_model = (self._leaves, pool.layers) if self._drafting.tokens else (None, None)
        return *with_model, rows.given, logits, hidden, rows.settings, rows.seen, rows.masks

    def _draw_pages(self, pool: Pool) -> int:
        """The size of the pool, where drawing depends on it."""
        return pool.count if self._drafting.tokens else 0

    def _abstract_forward(self, kind: Kind) -> tuple[jax.Array, jax.Array | None]:
        """Stand-ins for logits and hidden states."""
        config = self._model.config
        logits = np.zeros((kind.rows, self._places(kind), config.vocab_size), np.float32)
        hidden = np.zeros((kind.rows, kind.size, config.hidden_size), self._model.embed[...].dtype)
        placed = partial(jax.device_put, device=self._by_row)
        return placed(logits), placed(hidden) if self._drafting.tokens else None

    def _make_programs(self, structure: Any) -> None:
        """Flattening the model once outside costs less than having every call walk its modules."""
        drafting = self._drafting

        def model_of(leaves) -> GLM | None:
            return None if leaves is None else jax.tree.unflatten(structure, leaves)

        def whole(leaves, layers, *rest):
            return whole_step(drafting, model_of(leaves), layers, *rest)

        def forward(leaves, layers, *rest):
            return forward_step(drafting, model_of(leaves), layers, *rest)

        def draw(leaves, layers, *rest):
            return draw_step(drafting, model_of(leaves), layers, *rest)

        self._ready.clear()
        named = f"{drafting}"
        self._wholes = Programs(jax.jit(whole, donate_argnums=1), self._model, named)
        self._forwards = Programs(jax.jit(forward, donate_argnums=1), self._model, named)
        self._draws = Programs(jax.jit(draw, donate_argnums=1), self._model, named)

    def _has(self, leaves: list[jax.Array]) -> bool:
        return len(leaves) == len(self._known) and all(
            known() is leaf for known, leaf in zip(self._known, leaves, strict=True)
        )

    @property
    def _by_row(self) -> NamedSharding:
        return NamedSharding(self._model.embed[...].sharding.mesh, partition_spec(("batch",)))


def _kinds(leaves: list[jax.Array], structure: Any) -> object:
    return structure, [(leaf.shape, leaf.dtype, leaf.sharding) for leaf in leaves]


def _forward_name(kind: Kind, pool: Pool) -> tuple[int, int, Probing | None, int]:
    return kind.rows, kind.size, kind.probing, pool.count


def _outcomes(found: Found) -> list[Outcome]:
    """What was found, row by row, on the host."""
    tokens, logprobs = np.asarray(found.tokens).tolist(), np.asarray(found.logprobs).tolist()
    drafts = [()] * len(tokens) if found.drafts is None else map(tuple, np.asarray(found.drafts).tolist())
    places = len(tokens[0])
    top, passed = [[()] * places] * len(tokens), [[None] * places] * len(tokens)
    if found.top is not None:
        values, ids = (np.asarray(x).tolist() for x in found.top)
        top = [
            [tuple(map(TokenLogprob, *place)) for place in zip(*row, strict=True)]
            for row in zip(ids, values, strict=True)
        ]
    if found.passed is not None:
        passed = np.asarray(found.passed)
    drawn = [list(map(Drawn, *row)) for row in zip(tokens, logprobs, top, passed, strict=True)]
    return list(map(Outcome, drawn, drafts))
