"""Training losses as sums over tokens with their counts apart, so that any split of a batch gives the same gradient."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glmkit.model import GLM
from glmkit.model.params import weight
from glmkit.model.transformer import Remat, token_logits
from glmkit.sharding import constrain
from glmkit.train.data import Batch

__all__ = ["Sums", "Targets", "cross_entropy_sum", "loss_sums", "targets_ahead"]

CHUNK_TOKENS = 1024  # of all rows together, whose logits are held at once


class Targets(NamedTuple):
    """What each position has to predict, and whether that counts."""

    tokens: Int[Array, "B T"]
    counted: Bool[Array, "B T"]


def targets_ahead(batch: Batch, steps: int) -> Targets:
    """The token `steps` further on, counted where it is learned; 0 and not counted past the end of an example."""

    def ahead(x: Array, fill: int | bool) -> Array:
        return jnp.pad(x, ((0, 0), (0, steps)), constant_values=fill)[:, steps:]

    same = (ahead(batch.segment_ids, -1) == batch.segment_ids) & (batch.segment_ids >= 0)
    return Targets(jnp.where(same, ahead(batch.tokens, 0), 0), ahead(batch.learned, False) & same)


class Sums(NamedTuple):
    """Losses in nats, summed over the counted tokens of a batch, and the experts' loads."""

    next_token: Float[Array, ""]
    second_token: Float[Array, ""]  # of the multi-token-prediction layer; 0 without one
    load: Float[Array, "moe_layer E"]  # that layer's last
    balance: Float[Array, ""]  # of sequences in every MoE layer; 0 unless asked for


def loss_sums(model: GLM, batch: Batch, *, second: bool, balance: bool = False, remat: Remat = "none") -> Sums:
    """One forward pass over a batch.

    `second` asks for the multi-token-prediction layer's loss too, `balance` for the sequence-level balance loss.
    """
    out = model(batch.tokens, segment_ids=batch.segment_ids, sequence_loss=balance, remat=remat)
    one = targets_ahead(batch, 1)
    table = model.embed if model.head is None else model.head
    first = cross_entropy_sum(out.hidden, weight(table, like=model.embed[...]), one, tied=model.head is None)
    if not second or model.mtp is None:
        return Sums(first, jnp.zeros_like(first), out.load, _total(out.sequence_loss))
    ahead = model.predict_second(out.hidden, one.tokens, segment_ids=batch.segment_ids, sequence_loss=balance)
    own = model.mtp.head
    later = cross_entropy_sum(
        ahead.hidden,
        weight(table if own is None else own, like=model.embed[...]),
        targets_ahead(batch, 2),
        tied=own is None and model.head is None,
    )
    uneven = _total(out.sequence_loss) + _total(ahead.sequence_loss)
    return Sums(first, later, jnp.concatenate([out.load, ahead.load]), uneven)


def _total(sequence_loss: Float[Array, " moe_layer"] | None) -> Float[Array, ""]:
    return jnp.zeros((), jnp.float32) if sequence_loss is None else sequence_loss.sum()


def cross_entropy_sum(
    hidden: Float[Array, "B T D"], table: Float[Array, "..."], targets: Targets, *, tied: bool
) -> Float[Array, ""]:
    """Sum of the counted targets' negative log-likelihoods, float32, without ever holding all logits.

    `table` is the head, `[D, V]`, or with `tied` the embedding, `[V, D]`. The gradients are taken chunk by chunk in
    the forward pass, which saves computing the logits a second time (the method of arXiv 2410.10989).
    """
    hidden = constrain(hidden, "batch", None, None, like=table)
    steps = max(1, CHUNK_TOKENS // hidden.shape[0])
    return _chunked(hidden, table, targets, tied, min(steps, hidden.shape[1]))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _chunked(hidden: Array, table: Array, targets: Targets, tied: bool, steps: int) -> Array:
    def chunk(total, part):
        return total + _chunk_sum(*part[:1], table, part[1], tied), None

    return jax.lax.scan(chunk, jnp.zeros((), jnp.float32), _split((hidden, targets), steps))[0]


def _chunked_forward(hidden, table, targets, tied, steps):
    with_table = table.perturbed
    hidden, table = hidden.value, table.value
    targets = jax.tree.map(lambda leaf: leaf.value, targets, is_leaf=lambda leaf: hasattr(leaf, "perturbed"))

    def chunk(carry, part):
        total, d_table = carry
        if with_table:
            value, (d_hidden, more) = jax.value_and_grad(_chunk_sum, (0, 1))(part[0], table, part[1], tied)
            return (total + value, d_table + more.astype(jnp.float32)), d_hidden
        value, d_hidden = jax.value_and_grad(_chunk_sum)(part[0], table, part[1], tied)
        return (total + value, None), d_hidden

    nothing = jnp.zeros_like(table, jnp.float32) if with_table else None
    start = (jnp.zeros((), jnp.float32), nothing)
    (total, d_table), d_hidden = jax.lax.scan(chunk, start, _split((hidden, targets), steps))
    rows = jnp.moveaxis(d_hidden, 0, 1).reshape(hidden.shape[0], -1, hidden.shape[2])
    d_hidden = constrain(rows, "batch", None, None)[:, : hidden.shape[1]]  # a reshape may forget an axis of one device
    return total, (d_hidden, d_table, jnp.zeros((), table.dtype))


def _chunked_backward(tied, steps, residuals, d_total):
    d_hidden, d_table, like = residuals
    d_table = None if d_table is None else (d_table * d_total).astype(like.dtype)
    return (d_hidden * d_total).astype(d_hidden.dtype), d_table, None


_chunked.defvjp(_chunked_forward, _chunked_backward, symbolic_zeros=True)


def _chunk_sum(hidden: Array, table: Array, targets: Targets, tied: bool) -> Array:
    """Selects by comparison, which works whatever axis the logits are split over."""
    logits = token_logits(hidden, table, tied)
    here = jnp.arange(logits.shape[-1]) == targets.tokens[..., None]
    nats = jax.nn.logsumexp(logits, axis=-1) - jnp.where(here, logits, 0).sum(-1)
    return jnp.where(targets.counted, nats, 0).sum()


def _split(tree, steps: int):
    """`[B, T, ...]` to `[chunks, B, steps, ...]`, padded with zeros: tokens that are not counted."""

    def split(x: Array) -> Array:
        chunks = -(-x.shape[1] // steps)
        padded = jnp.pad(x, ((0, 0), (0, chunks * steps - x.shape[1]), *((0, 0),) * (x.ndim - 2)))
        return jnp.moveaxis(padded.reshape(x.shape[0], chunks, steps, *x.shape[2:]), 1, 0)

    return jax.tree.map(split, tree)
