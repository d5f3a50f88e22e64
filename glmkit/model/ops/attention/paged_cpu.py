"""Attention over a cache of pages on CPU: one flat loop over every page that some block of queries sees.

A step costs what its rows hold, each by itself, however unequal they are. `blocked` goes through all rows together, as
far as the longest holds. Pages are read where they lie; gathering a page of every row costs more than its products.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glmkit.model.ops.attention.blocked import QUERIES
from glmkit.model.ops.attention.reference import MASKED
from glmkit.model.ops.vary import vary_like


def attend(
    q: Float[Array, "B T KV G C"],
    k: Float[Array, "P KV S C"],
    v: Float[Array, "P KV S C"],
    table: Int[Array, "B N"],
    slots: Int[Array, "B T"],
) -> Float[Array, "B T KV G C"]:
    """As `attention_blocked`."""
    rows, steps, kv_heads, group, channels = q.shape
    size = min(QUERIES, steps)
    count = -(-steps // size)
    missing = ((0, 0), (0, count * size - steps))
    slots = jnp.pad(slots, missing, constant_values=-1).reshape(rows * count, size)
    q = jnp.pad(q * channels**-0.5, (*missing, (0, 0), (0, 0), (0, 0)))
    q = q.reshape(rows * count, size, kv_heads, group, channels).transpose(0, 2, 3, 1, 4)
    q = q.reshape(rows * count, kv_heads, group * size, channels)
    out = _blocks(q, k, v, jnp.repeat(table, count, axis=0), jnp.tile(slots, (1, group)))
    out = out.reshape(rows, count, kv_heads, group, size, channels).transpose(0, 1, 4, 2, 3, 5)
    return out.reshape(rows, count * size, kv_heads, group, channels)[:, :steps]


def _blocks(
    q: Float[Array, "J KV Q C"],
    k: Float[Array, "P KV S C"],
    v: Float[Array, "P KV S C"],
    table: Int[Array, "J N"],
    slots: Int[Array, "J Q"],
) -> Float[Array, "J KV Q C"]:
    wide, size = jnp.promote_types(q.dtype, jnp.float32), k.shape[2]
    furthest = slots.max(-1)
    ends = jnp.cumsum(furthest // size + 1)  # of each block's pages among all

    def step(n, carry):
        block = jnp.searchsorted(ends, n, side="right", method="compare_all")
        i = n - ends[block] + furthest[block] // size + 1
        highest, total, out = (x[block] for x in carry)
        page, place = table[block, i], i * size + jnp.arange(size)
        scores = jnp.einsum("kqc,ksc->kqs", q[block], k[page], preferred_element_type=wide)
        scores = jnp.where(place <= slots[block][:, None], scores, MASKED)
        # What a page holds beyond its row may be anything, and NaN is NaN with any weight.
        values = jnp.where(place[:, None] <= furthest[block], v[page], 0)
        # The first page holds a key for every query that sees any, so this is never the mask's value for one of them.
        new_highest = jnp.maximum(highest, scores.max(-1, keepdims=True))
        weights, decay = jnp.exp(scores - new_highest), jnp.exp(highest - new_highest)
        update = jnp.einsum("kqs,ksc->kqc", weights.astype(v.dtype), values, preferred_element_type=wide)
        new = new_highest, total * decay + weights.sum(-1, keepdims=True), out * decay + update
        return tuple(x.at[block].set(each) for x, each in zip(carry, new, strict=True))

    column = (*q.shape[:3], 1)
    start = (jnp.full(column, MASKED, wide), jnp.zeros(column, wide), jnp.zeros(q.shape, wide))
    start = tuple(vary_like(x, q, k, table, slots) for x in start)
    _, total, out = jax.lax.fori_loop(0, ends[-1], step, start)
    seen = slots[:, None, :, None] >= 0
    return jnp.where(seen, out / jnp.where(seen, total, 1), 0).astype(v.dtype)
