"""Rows to their experts and back: pairs of a token and one of its experts, sorted by expert.

The derivatives are written out: a gather's own is a scatter, where that of a permutation is the gather the other way
round.
"""

from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class PairOrder(NamedTuple):
    """The pairs of `N` tokens with `k` experts each, sorted. Pair `n * k + i` is token `n` with the i-th of its own."""

    pairs: Int[Array, " M"]  # the pair at each place
    places: Int[Array, "N k"]  # the place of each pair

    @classmethod
    def by(cls, keys: Int[Array, "N k"], count: int) -> Self:
        """Pairs by keys in `[0, count)`, those with equal keys as they come.

        Raises ValueError for more pairs than can be sorted as 32-bit integers.
        """
        size = keys.size
        if count * size > jnp.iinfo(jnp.int32).max:
            raise ValueError(f"{size} pairs of tokens and experts in one pass are too many; take fewer tokens")
        index = jnp.arange(size, dtype=jnp.int32)
        # One integer a pair: integers alone sort faster than keys which carry their pairs.
        pairs = jnp.sort(keys.reshape(-1).astype(jnp.int32) * size + index) % size
        places = jnp.zeros_like(pairs).at[pairs].set(index, unique_indices=True)
        return cls(pairs, places.reshape(keys.shape))

    @property
    def tokens(self) -> Int[Array, " M"]:
        """The token of the pair at each place."""
        return self.pairs // self.places.shape[1]


@jax.custom_vjp
def dispatch(x: Float[Array, "N D"], order: PairOrder) -> Float[Array, "M D"]:
    """Each token's row, once for each of its experts, in order."""
    return x[order.tokens]


def _dispatch_backward(order: PairOrder, dy: Array):
    wide = jnp.promote_types(dy.dtype, jnp.float32)
    return sum(dy[places].astype(wide) for places in order.places.T).astype(dy.dtype), None


dispatch.defvjp(lambda x, order: (dispatch(x, order), order), _dispatch_backward)


@jax.custom_vjp
def combine(y: Float[Array, "M D"], weights: Float[Array, "N k"], order: PairOrder) -> Float[Array, "N D"]:
    """The sum of each token's rows, weighted; of the weights' dtype."""
    by_rank = zip(order.places.T, weights.T, strict=True)
    return sum(y[places].astype(weight.dtype) * weight[:, None] for places, weight in by_rank)


def _combine_forward(y, weights, order):
    return combine(y, weights, order), (y, weights, order)


def _combine_backward(residuals, d_out: Array):
    y, weights, order = residuals
    dy = d_out[order.tokens] * weights.reshape(-1)[order.pairs][:, None]
    d_weights = [(y[places].astype(d_out.dtype) * d_out).sum(-1) for places in order.places.T]
    return dy.astype(y.dtype), jnp.stack(d_weights, axis=1), None


combine.defvjp(_combine_forward, _combine_backward)
