"""Steps: the compiled programs that append tokens to rows and draw what comes next, and what they are given.

All that a step knows of its rows is on the host and passed in each time; the pages alone stay on the devices.
"""

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Bool, Float, Int

from glmkit.engine.pool import Pool, pages_for
from glmkit.engine.programs import Programs
from glmkit.engine.request import TokenLogprob
from glmkit.engine.sampling import MOST_TOP, Sampling, SamplingBatch, sample
from glmkit.model import GLM, KVCache, LayerCache
from glmkit.sharding import mesh_of, partition_spec

__all__ = ["Drawn", "Kind", "Rows", "Steps"]

_IDLE = Sampling(temperature=0.0)  # of rows without a request


class Kind(NamedTuple):
    """What a program is compiled for, besides the model and the number of pages.

    With `masked`, of grammars, a step is two programs, so that masks are made while the model runs; `penalised` steps
    are told which tokens a row holds; with `top` they give the likeliest tokens.
    """

    rows: int
    size: int  # tokens that each row may append
    masked: bool = False
    penalised: bool = False
    top: bool = False


class Drawn(NamedTuple):
    """What a row drew: a token, its raw log-probability, and the likeliest tokens where they were asked for."""

    token: int
    logprob: float
    top: tuple[TokenLogprob, ...] = ()


@dataclass
class Rows:
    """What a step is given of its rows; a row with no valid segment appends nothing and draws nothing of meaning."""

    kind: Kind
    settings: SamplingBatch
    tokens: Int[np.ndarray, "B T"]
    segment_ids: Int[np.ndarray, "B T"]
    length: Int[np.ndarray, " B"]  # tokens that a row holds before the step
    table: Int[np.ndarray, "B N"]
    seen: Bool[np.ndarray, "B V"] | None
    masks: Int[np.ndarray, "B W"] = field(repr=False)


class Steps:
    """The programs of one model and its arrays; whoever edits the model in place is heard at the next `renew`."""

    def __init__(self, model: GLM, max_len: int):
        self._model, self._width = model, pages_for(max_len)
        self._known: list[weakref.ref] = []
        self._compiled_for: object = None
        self._leaves: list[jax.Array] | None = None
        self._ready: dict[tuple[Kind, int], tuple[jax.stages.Compiled, jax.stages.Compiled | None]] = {}
        self.renew()
        self.rest()

    @property
    def count(self) -> int:
        """How many programs have been made."""
        return self._steps.count + self._forwards.count + self._draws.count

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
        settings = SamplingBatch.of([each or _IDLE for each in sampling], top=kind.top)
        vocab_size = self._model.config.vocab_size
        return Rows(
            kind,
            jax.device_put(settings, self._by_row),
            tokens=np.zeros((kind.rows, kind.size), np.int32),
            segment_ids=np.full((kind.rows, kind.size), -1, np.int32),
            length=np.zeros(kind.rows, np.int32),
            table=np.zeros((kind.rows, self._width), np.int32),
            seen=np.zeros((kind.rows, vocab_size), bool) if kind.penalised else None,
            masks=np.full((kind.rows, -(-vocab_size // 32)), -1, np.int32),
        )

    def is_ready(self, kind: Kind, pool: Pool) -> bool:
        return (kind, pool.count) in self._ready

    def prepare(self, kinds: Iterable[Kind], pool: Pool) -> None:
        """Have programs for steps of these kinds; those that are missing are compiled side by side."""
        missing = [kind for kind in dict.fromkeys(kinds) if not self.is_ready(kind, pool)]
        if not missing:
            return
        fused, forwards, draws = {}, {}, {}
        for kind in missing:
            rows = self.rows(kind, [None] * kind.rows)
            name = (kind, pool.count)
            if not kind.masked:
                fused[name] = self._step_arguments(rows, pool)
            else:
                logits = jax.device_put(np.zeros((kind.rows, self._model.config.vocab_size), np.float32), self._by_row)
                forwards[name[0]._replace(penalised=False, top=False), pool.count] = self._arguments(rows, pool)
                draws[kind._replace(size=0)] = self._draw_arguments(rows, logits)
        steps = self._steps.prepared(fused)
        drawing, forwarding = self._draws.prepared(draws), self._forwards.prepared(forwards)
        for kind in missing:
            program = steps.get((kind, pool.count)), None
            if kind.masked:
                plain = kind._replace(penalised=False, top=False)
                program = forwarding[plain, pool.count], drawing[kind._replace(size=0)]
            self._ready[kind, pool.count] = program

    def run(self, rows: Rows, pool: Pool, fill: Callable[[], None]) -> list[Drawn]:
        """Append the rows' tokens and draw. `fill` writes the masks, while the model runs."""
        program, draw = self._ready[rows.kind, pool.count]
        if draw is None:
            (drawn, logprobs, top), pool.layers = program(*self._step_arguments(rows, pool))
        else:
            logits, pool.layers = program(*self._arguments(rows, pool))
            fill()
            drawn, logprobs, top = draw(*self._draw_arguments(rows, logits))
        found = zip(np.asarray(drawn).tolist(), np.asarray(logprobs).tolist(), strict=True)
        if top is None:
            return [Drawn(*each) for each in found]
        likeliest = zip(np.asarray(top[0]).tolist(), np.asarray(top[1]).tolist(), strict=True)
        return [
            Drawn(*each, tuple(map(TokenLogprob, tokens, of_tokens)))
            for each, (of_tokens, tokens) in zip(found, likeliest, strict=True)
        ]

    def _arguments(self, rows: Rows, pool: Pool) -> tuple[Any, ...]:
        return self._leaves, pool.layers, rows.table, rows.length, rows.tokens, rows.segment_ids

    def _step_arguments(self, rows: Rows, pool: Pool) -> tuple[Any, ...]:
        return *self._arguments(rows, pool), rows.settings, rows.seen

    def _draw_arguments(self, rows: Rows, logits: jax.Array) -> tuple[Any, ...]:
        positions = rows.length + (rows.segment_ids >= 0).sum(1, dtype=np.int32)
        return logits, rows.settings, positions, rows.seen, rows.masks

    def _make_programs(self, structure: Any) -> None:
        """Flattening the model once outside costs less than having every call walk its modules."""

        def step(leaves, layers, table, length, tokens, segment_ids, settings, seen):
            model = jax.tree.unflatten(structure, leaves)
            return _step(model, layers, table, length, tokens, segment_ids, settings, seen)

        def forward(leaves, layers, table, length, tokens, segment_ids):
            return _forward(jax.tree.unflatten(structure, leaves), layers, table, length, tokens, segment_ids)

        self._ready.clear()
        self._steps = Programs(jax.jit(step, donate_argnums=1), self._model)
        self._forwards = Programs(jax.jit(forward, donate_argnums=1), self._model)
        self._draws = Programs(jax.jit(_draw), self._model)

    def _has(self, leaves: list[jax.Array]) -> bool:
        return len(leaves) == len(self._known) and all(
            known() is leaf for known, leaf in zip(self._known, leaves, strict=True)
        )

    @property
    def mesh(self) -> Mesh:
        return self._model.embed[...].sharding.mesh

    @property
    def _by_row(self) -> NamedSharding:
        return NamedSharding(self.mesh, partition_spec(("batch",)))


def _kinds(leaves: list[jax.Array], structure: Any) -> object:
    return structure, [(leaf.shape, leaf.dtype, leaf.sharding) for leaf in leaves]


def _step(
    model: GLM,
    layers: tuple[LayerCache, ...],
    table: Int[Array, "B N"],
    length: Int[Array, " B"],
    tokens: Int[Array, "B T"],
    segment_ids: Int[Array, "B T"],
    settings: SamplingBatch,
    seen: Bool[Array, "B V"] | None,
) -> tuple[tuple, tuple[LayerCache, ...]]:
    """Append tokens to their rows and draw the next one of each: what `_draw` gives, and the pages."""
    logits, layers = _forward(model, layers, table, length, tokens, segment_ids)
    positions = length + (segment_ids >= 0).sum(axis=1, dtype=jnp.int32)
    return _draw(logits, settings, positions, seen, None), layers


def _forward(
    model: GLM,
    layers: tuple[LayerCache, ...],
    table: Int[Array, "B N"],
    length: Int[Array, " B"],
    tokens: Int[Array, "B T"],
    segment_ids: Int[Array, "B T"],
) -> tuple[Float[Array, "B V"], tuple[LayerCache, ...]]:
    """Append tokens to their rows: the logits after the last of each, and the pages."""
    table, length, tokens, segment_ids = (_by_row(x, model.embed[...]) for x in (table, length, tokens, segment_ids))
    out = model(tokens, segment_ids=segment_ids, cache=KVCache(layers, table, length))
    last = jnp.maximum((segment_ids >= 0).sum(axis=1) - 1, 0)
    hidden = jnp.take_along_axis(out.hidden, last[:, None, None], axis=1)
    return _by_row(model.logits(hidden), out.hidden)[:, 0], out.cache.layers


def _draw(
    logits: Float[Array, "B V"],
    settings: SamplingBatch,
    positions: Int[Array, " B"],
    seen: Bool[Array, "B V"] | None,
    masks: Int[Array, "B W"] | None,
) -> tuple[Int[Array, " B"], Float[Array, " B"], tuple[Float[Array, "B K"], Int[Array, "B K"]] | None]:
    """The drawn token of each row and its raw log-probability; the likeliest tokens' too, and which,
    where a row asks for them."""

    def draw(logits, settings, positions, seen, masks):
        drawn, logprobs = sample(logits, settings, positions, seen, masks), jax.nn.log_softmax(logits)
        chosen = jnp.take_along_axis(logprobs, drawn[:, None], axis=1)[:, 0]
        wanted = settings.top_logprobs is not None
        return drawn, chosen, jax.lax.top_k(logprobs, min(MOST_TOP, logits.shape[1])) if wanted else None

    given = jax.tree.map(lambda x: _by_row(x, logits), (logits, settings, positions, seen, masks))
    batch = partition_spec(("batch",))
    return jax.shard_map(draw, mesh=mesh_of(logits), in_specs=batch, out_specs=batch)(*given)


def _by_row(x: Array, like: Array) -> Array:
    """`x` with its rows spread as a batch is on the mesh of `like`."""
    return jax.sharding.reshard(x, NamedSharding(mesh_of(like), partition_spec(("batch",))))
