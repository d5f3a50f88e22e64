"""Training losses as sums over tokens with their counts apart, so that any split of a batch gives the same gradient."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from glmkit.model import GLM, Interventions
from glmkit.model.params import weight
from glmkit.model.transformer import Output, Remat, token_logits
from glmkit.sharding import constrain, platform_of, zeros_like
from glmkit.train.data import Batch

__all__ = ["Sums", "Targets", "cross_entropy_sum", "loss_sums", "second_token_sum", "targets_ahead"]

CHUNK_TOKENS = 1024  # of all rows together, whose logits are held at once; of more, if an accelerator holds
CHUNK_LOGITS = 2**27  # so many: each chunk costs it some launches


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


def loss_sums(
    model: GLM,
    batch: Batch,
    *,
    second: bool,
    balance: bool = False,
    remat: Remat = "none",
    interventions: Interventions | None = None,
) -> Sums:
    """One forward pass over a batch, changed by `interventions`.

    `second` asks for the multi-token-prediction layer's loss too, `balance` for the sequence-level balance loss.
    """
    out = model(
        batch.tokens, segment_ids=batch.segment_ids, interventions=interventions, sequence_loss=balance, remat=remat
    )
    one = targets_ahead(batch, 1)
    table = model.embed if model.head is None else model.head
    first = cross_entropy_sum(out.hidden, weight(table, like=model.embed[...]), one, tied=model.head is None)
    if not second or model.mtp is None:
        return Sums(first, jnp.zeros_like(first), out.load, _total(out.sequence_loss))
    later, ahead = second_token_sum(model, out.hidden, batch, balance=balance)
    uneven = _total(out.sequence_loss) + _total(ahead.sequence_loss)
    return Sums(first, later, jnp.concatenate([out.load, ahead.load]), uneven)


def second_token_sum(
    model: GLM, hidden: Float[Array, "B T D"], batch: Batch, *, balance: bool = False
) -> tuple[Float[Array, ""], Output]:
    """The loss of the prediction layer over the hidden states of a model that has one, and what it put out."""
    tokens = targets_ahead(batch, 1).tokens
    ahead = model.predict_second(hidden, tokens, segment_ids=batch.segment_ids, sequence_loss=balance)
    own = model.mtp.head
    table = (model.embed if model.head is None else model.head) if own is None else own
    tied = own is None and model.head is None
    table = weight(table, like=model.embed[...])
    return cross_entropy_sum(ahead.hidden, table, targets_ahead(batch, 2), tied=tied), ahead


def _total(sequence_loss: Float[Array, " moe_layer"] | None) -> Float[Array, ""]:
    return jnp.zeros((), jnp.float32) if sequence_loss is None else sequence_loss.sum()


def cross_entropy_sum(
    hidden: Float[Array, "B T D"], table: Float[Array, "..."], targets: Targets, *, tied: bool
) -> Float[Array, ""]:
    """Sum of the counted targets' negative log-likelihoods, in float32 at least, without ever holding all logits.

    `table` is the head, `[D, V]`, or with `tied` the embedding, `[V, D]`. Only chunks with counted targets cost
    anything: the counted are brought to the front of each row. The gradients are taken chunk by chunk in the forward
    pass, which saves computing the logits a second time (the method of arXiv 2410.10989).
    """
    hidden = constrain(hidden, "batch", None, None, like=table)
    targets = Targets(*(constrain(x, "batch", None, like=table) for x in targets))
    tokens = CHUNK_TOKENS
    if platform_of(hidden) != "cpu":
        tokens = max(tokens, CHUNK_LOGITS // table.shape[0 if tied else -1])
    steps = max(1, tokens // hidden.shape[0])
    return _chunked(hidden, table, targets, tied, min(steps, hidden.shape[1]))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _chunked(hidden: Array, table: Array, targets: Targets, tied: bool, steps: int) -> Array:
    rows = _counted_first(hidden, targets, steps)

    def chunk(i, total):
        hidden, targets = rows.chunk(i, steps)
        return total + _chunk_sum(hidden, table, targets, tied)

    return jax.lax.fori_loop(0, rows.chunks, chunk, jnp.zeros((), _wide(table)))


def _wide(table: Array) -> jnp.dtype:
    """What sums are in."""
    return jnp.promote_types(table.dtype, jnp.float32)


def _chunked_forward(hidden, table, targets, tied, steps):
    with_table = table.perturbed
    hidden, table = hidden.value, table.value
    wide = _wide(table)
    targets = jax.tree.map(lambda leaf: leaf.value, targets, is_leaf=lambda leaf: hasattr(leaf, "perturbed"))
    rows = _counted_first(hidden, targets, steps)

    def chunk(i, carry):
        total, d_rows, d_table = carry
        part, wanted = rows.chunk(i, steps)
        value, grads = jax.value_and_grad(_chunk_sum, (0, 1) if with_table else (0,))(part, table, wanted, tied)
        d_rows = jax.lax.dynamic_update_slice_in_dim(d_rows, grads[0], i * steps, axis=1)
        return total + value, d_rows, d_table + grads[1].astype(wide) if with_table else None

    start = zeros_like(rows.hidden), zeros_like(table, wide) if with_table else None
    total, d_rows, d_table = jax.lax.fori_loop(0, rows.chunks, chunk, (jnp.zeros((), wide), *start))
    return total, (_by_row(d_rows, rows.places), d_table, jnp.zeros((), table.dtype))


def _chunked_backward(tied, steps, residuals, d_total):
    d_hidden, d_table, like = residuals
    d_table = None if d_table is None else (d_table * d_total).astype(like.dtype)
    return (d_hidden * d_total).astype(d_hidden.dtype), d_table, None


_chunked.defvjp(_chunked_forward, _chunked_backward, symbolic_zeros=True)


class _Rows(NamedTuple):
    """Rows of tokens with the counted ones first, padded to whole chunks."""

    hidden: Float[Array, "B S D"]
    targets: Targets  # [B, S]
    places: Int[Array, "B T"]  # where each token went
    chunks: Int[Array, ""]  # of the row with the most counted tokens

    def chunk(self, index: Int[Array, ""], steps: int) -> tuple[Array, Targets]:
        return jax.tree.map(
            lambda x: jax.lax.dynamic_slice_in_dim(x, index * steps, steps, axis=1), (self.hidden, self.targets)
        )


def _counted_first(hidden: Float[Array, "B T D"], targets: Targets, steps: int) -> _Rows:
    order = jnp.argsort(~targets.counted, axis=1, stable=True)
    places = jnp.argsort(order, axis=1)

    def padded(x: Array) -> Array:
        x = _by_row(x, order)
        return jnp.pad(x, ((0, 0), (0, -x.shape[1] % steps), *((0, 0),) * (x.ndim - 2)))

    most = targets.counted.sum(axis=1).max()
    return _Rows(*jax.tree.map(padded, (hidden, targets)), places, (most + steps - 1) // steps)


def _by_row(x: Shaped[Array, "B S ..."], places: Int[Array, "B T"]) -> Shaped[Array, "B T ..."]:
    """`x[b, places[b]]` of every row `b`."""
    return jax.vmap(lambda row, at: row[at])(x, places)


def _chunk_sum(hidden: Array, table: Array, targets: Targets, tied: bool) -> Array:
    """Selects by comparison, which works whatever axis the logits are split over."""
    logits = token_logits(hidden, table, tied, _wide(table))
    here = jnp.arange(logits.shape[-1]) == targets.tokens[..., None]
    nats = jax.nn.logsumexp(logits, axis=-1) - jnp.where(here, logits, 0).sum(-1)
    return jnp.where(targets.counted, nats, 0).sum()
