"""Scoring: log-probabilities and entropies of a rollout's tokens in one parallel pass, with its routes replayed.

Logits become the sampling distribution by `glmkit.engine.sampling.sampling_logits`, which the sampler draws from, but
for its filters: which tokens those left to the sampler is in the rollout, and is the same whatever model is scored.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer

from glmkit.engine.sampling import NEVER, SamplingBatch, masked_logits, sampling_logits
from glmkit.model import GLM, Interventions, Keep
from glmkit.model.params import weight
from glmkit.model.transformer import Remat, token_logits
from glmkit.rl.batch import Batch, Scored
from glmkit.sharding import constrain, mesh_of, partition_spec, zeros_like
from glmkit.train.loss import CHUNK_TOKENS

__all__ = ["Seen", "score", "sequence_logprobs"]


class Seen(NamedTuple):
    """What the experts did. Layers are those with experts."""

    load: Float[Array, "moe_layer E"]  # valid tokens that chose each
    flips: Int[Array, "R T"] | None  # in how many layers a token's experts are others than in the rollout
    unforced: Float[Array, "moe_layer E"] | None  # tokens for which an expert came or went because routes were replayed


def score(
    model: GLM, batch: Batch, *, replay: bool = True, remat: Remat = "none"
) -> tuple[Scored, Seen, Float[Array, "R T D"]]:
    """One forward pass over rows, `[R, T]`: what it finds at learned tokens, what the experts did, and hidden states.

    With `replay` every token goes to the experts that it went to in the rollout, where that is known; the weights are
    computed from live scores, so that gradients reach the router. Without, routes are the router's own, and compared.
    """
    known, moe = batch.routes is not None, any(model.config.is_moe(number) for number in model.layer_numbers)
    forced = Interventions(forced=batch.routes.astype(jnp.int32)) if replay and known else None
    keep = Keep(routes=("ids",), effects=forced is not None) if moe and known else None
    out = model(batch.tokens, segment_ids=batch.segment_ids, interventions=forced, keep=keep, remat=remat)
    scored = sequence_logprobs(model, out.hidden, batch)
    flips = None if keep is None else _flips(out.kept.ids, batch.routes)
    return scored, Seen(out.load, flips, None if forced is None else out.kept.effects), out.hidden


def sequence_logprobs(model: GLM, hidden: Float[Array, "R T D"], batch: Batch) -> Scored:
    """Of each learned token, from the state before it, in chunks of tokens; those without a learned one cost nothing.

    A gradient computes the logits of a chunk again instead of keeping them.
    """
    table = weight(model.embed if model.head is None else model.head, like=model.embed[...])
    rows, length = batch.tokens.shape
    size = min(max(1, CHUNK_TOKENS // rows), max(1, length - 1))
    tied, wide = model.head is None, jnp.promote_types(hidden.dtype, jnp.float32)

    def ahead(x: Array) -> Array:
        """The places of `[R, T, ...]` after the first, padded to whole chunks, `[chunks, R, size, ...]`."""
        return _chunks(x[:, 1:], size, like=table)

    inputs = (
        _chunks(constrain(hidden, "batch", None, None, like=table)[:, :-1], size, like=table),
        ahead(batch.tokens),
        ahead(batch.mask),
        None if batch.allowed is None else ahead(batch.allowed),
    )
    settings = jax.tree.map(lambda x: constrain(x, "batch", like=table), batch.settings)

    @functools.partial(jax.checkpoint, policy=jax.checkpoint_policies.nothing_saveable)
    def chunk(hidden, targets, learned, allowed):
        logits = token_logits(hidden, table, tied, wide)
        return _spread(logits, targets, learned, settings, allowed)

    def step(_, part):
        hidden, targets, learned, allowed = part
        nothing = zeros_like(targets, wide)
        found = jax.lax.cond(learned.any(), chunk, lambda *_: (nothing, nothing), hidden, targets, learned, allowed)
        return None, found

    _, found = jax.lax.scan(step, None, inputs)
    return Scored(*(_whole(x, length) for x in found))


def _spread(
    logits: Float[Array, "R C V"],
    targets: Int[Array, "R C"],
    learned: Bool[Array, "R C"],
    settings: SamplingBatch | None,
    allowed: Int[Array, "R C W"] | None,
) -> tuple[Float[Array, "R C"], Float[Array, "R C"]]:
    """`_measured` on every device for its rows, with all of the vocabulary there."""
    batch = partition_spec(("batch",))
    logits = constrain(logits, "batch", None, None)
    found = jax.shard_map(_measured, mesh=mesh_of(logits), in_specs=batch, out_specs=batch)
    return found(logits, targets, learned, settings, allowed)


def _measured(logits, targets, learned, settings, allowed):
    """Log-probability of each target and the entropy of what it was drawn from; 0 where nothing is learned."""
    rows, places, vocab_size = logits.shape
    each = jax.tree.map(lambda x: jnp.repeat(x, places, axis=0), settings)
    mask = None if allowed is None else allowed.reshape(rows * places, -1)
    drawn_from = logits.reshape(-1, vocab_size)
    if each is not None:
        drawn_from = sampling_logits(drawn_from, each, None, mask)
    elif mask is not None:
        drawn_from = masked_logits(drawn_from, mask)
    logprobs = jax.nn.log_softmax(drawn_from).reshape(logits.shape)
    here = jnp.arange(vocab_size) == targets[..., None]
    chosen = jnp.where(here, logprobs, 0).sum(-1)
    entropy = -jnp.where(logprobs > NEVER / 2, jnp.exp(logprobs) * logprobs, 0).sum(-1)
    return jnp.where(learned, chosen, 0), jnp.where(learned, entropy, 0)


def _flips(ids: Integer[Array, "moe_layer R T k"], routes: Int[Array, "R T moe_layer k"]) -> Int[Array, "R T"]:
    """In how many layers a token's experts are not those of the rollout, where these are known."""
    before = jnp.moveaxis(routes, 2, 0)
    same = (jnp.sort(ids.astype(jnp.int32)) == jnp.sort(before.astype(jnp.int32))).all(-1)
    return (~same & (before >= 0).all(-1)).sum(axis=0, dtype=jnp.int32)


def _chunks(x: Array, size: int, like: Array) -> Array:
    rows, length = x.shape[:2]
    count = -(-length // size)
    x = jnp.pad(x, ((0, 0), (0, count * size - length), *((0, 0),) * (x.ndim - 2)))
    x = constrain(x, "batch", *(None,) * (x.ndim - 1), like=like)
    return jnp.moveaxis(x.reshape(rows, count, size, *x.shape[2:]), 1, 0)


def _whole(chunks: Array, length: int) -> Array:
    """`[chunks, R, size]` as `[R, T]`, the first place being 0."""
    x = jnp.moveaxis(chunks, 0, 1)
    return jnp.pad(x.reshape(x.shape[0], -1)[:, : length - 1], ((0, 0), (1, 0)))
