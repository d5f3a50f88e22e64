"""Attention over a cache of pages: blocks of queries, each over its pages of keys in turn with a running softmax.

A block of queries reads pages only as far as its furthest one sees, so a step costs what the context holds and not
what the cache could hold, in one compiled program for every length. Not differentiable: a loop of dynamic length has
no reverse.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glmkit.model.ops.attention.reference import MASKED
from glmkit.model.ops.vary import vary_like

PAGE = 256  # tokens of a row whose keys and values lie together, and are read in one step
QUERIES = 256  # tokens per block: few blocks, of which little is done above the diagonal


def attention_blocked(
    q: Float[Array, "B T KV G C"],
    k: Float[Array, "P KV S C"],
    v: Float[Array, "P KV S C"],
    table: Int[Array, "B N"],
    slots: Int[Array, "B T"],
) -> Float[Array, "B T KV G C"]:
    """Each query sees the keys in slots `0 .. slots[b, t]` of its row; a query with a negative slot gives zeros.

    Slot `s` of row `b` lies in page `table[b, s // S]`.
    """
    rows, steps, kv_heads, group, channels = q.shape
    size = min(QUERIES, steps)
    count = -(-steps // size)
    missing = ((0, 0), (0, count * size - steps))
    slots = jnp.pad(slots, missing, constant_values=-1).reshape(rows, count, size)
    q = jnp.pad(q * channels**-0.5, (*missing, (0, 0), (0, 0), (0, 0)))
    q = q.reshape(rows, count, size, kv_heads, group, channels).transpose(1, 0, 3, 4, 2, 5)
    blocks = q.reshape(count, rows, kv_heads, group * size, channels), jnp.tile(slots.swapaxes(0, 1), (1, 1, group))
    if count == 1:
        out = _one_block(blocks[0][0], k, v, table, blocks[1][0])
    else:
        out = jax.lax.map(lambda block: _one_block(block[0], k, v, table, block[1]), blocks)
    out = out.reshape(count, rows, kv_heads, group, size, channels).transpose(1, 0, 4, 2, 3, 5)
    return out.reshape(rows, count * size, kv_heads, group, channels)[:, :steps]


def _one_block(
    q: Float[Array, "B KV Q C"],
    k: Float[Array, "P KV S C"],
    v: Float[Array, "P KV S C"],
    table: Int[Array, "B N"],
    slots: Int[Array, "B Q"],
) -> Float[Array, "B KV Q C"]:
    wide = jnp.promote_types(q.dtype, jnp.float32)
    last, size = slots[:, None, :, None], k.shape[2]
    furthest = slots.max(-1)[:, None, None, None]

    def step(i, carry):
        highest, total, out = carry
        page = jax.lax.dynamic_index_in_dim(table, i, axis=1, keepdims=False)
        keys, values = k[page], v[page]
        scores = jnp.einsum("bkqc,bksc->bkqs", q, keys, preferred_element_type=wide)
        place = i * size + jnp.arange(size)
        scores = jnp.where(place <= last, scores, MASKED)
        # What a page holds beyond its row may be anything, and NaN is NaN with any weight.
        values = jnp.where(place[:, None] <= furthest, values, 0)
        # The first page holds a key for every query that sees any, so this is never the mask's value for one of them.
        new_highest = jnp.maximum(highest, scores.max(-1, keepdims=True))
        weights = jnp.exp(scores - new_highest)
        decay = jnp.exp(highest - new_highest)
        total = total * decay + weights.sum(-1, keepdims=True)
        update = jnp.einsum("bkqs,bksc->bkqc", weights.astype(v.dtype), values, preferred_element_type=wide)
        return new_highest, total, out * decay + update

    column = (*q.shape[:3], 1)
    start = (jnp.full(column, MASKED, wide), jnp.zeros(column, wide), jnp.zeros(q.shape, wide))
    start = tuple(vary_like(x, q, k, table, slots) for x in start)
    _, total, out = jax.lax.fori_loop(0, jnp.max(slots) // size + 1, step, start)
    return jnp.where(last >= 0, out / jnp.where(last >= 0, total, 1), 0).astype(v.dtype)
