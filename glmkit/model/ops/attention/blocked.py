"""Attention over a preallocated cache, in blocks of keys with a running softmax.

The trip count follows the fullest row, so a decode step costs what the context holds and not what the cache could
hold, in one compiled program for every length. Not differentiable: a loop of dynamic length has no reverse.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glmkit.model.ops.attention.reference import MASKED
from glmkit.model.ops.vary import vary_like

BLOCK = 256  # keys per step; a cache's capacity is a multiple of it


def attention_blocked(
    q: Float[Array, "B T KV G C"],
    k: Float[Array, "B KV S C"],
    v: Float[Array, "B KV S C"],
    slots: Int[Array, "B T"],
) -> Float[Array, "B T KV G C"]:
    """Each query sees the keys in slots `0 .. slots[b, t]`; a query with a negative slot gives zeros."""
    rows, steps, kv_heads, group, channels = q.shape
    wide = jnp.promote_types(q.dtype, jnp.float32)
    queries = (q * channels**-0.5).transpose(0, 2, 3, 1, 4).reshape(rows, kv_heads, group * steps, channels)
    last = jnp.tile(slots, (1, group))[:, None, :, None]  # [B, 1, G T, 1]

    def step(i, carry):
        highest, total, out = carry
        keys, values = (jax.lax.dynamic_slice_in_dim(x, i * BLOCK, BLOCK, axis=2) for x in (k, v))
        scores = jnp.einsum("bkqc,bksc->bkqs", queries, keys, preferred_element_type=wide)
        visible = i * BLOCK + jnp.arange(BLOCK) <= last
        new_highest = jnp.maximum(highest, jnp.where(visible, scores, MASKED).max(-1, keepdims=True))
        weights = jnp.where(visible, jnp.exp(scores - new_highest), 0)
        decay = jnp.exp(highest - new_highest)
        total = total * decay + weights.sum(-1, keepdims=True)
        update = jnp.einsum("bkqs,bksc->bkqc", weights.astype(v.dtype), values, preferred_element_type=wide)
        return new_highest, total, out * decay + update

    shape = (rows, kv_heads, group * steps)
    start = (jnp.full((*shape, 1), MASKED, wide), jnp.zeros((*shape, 1), wide), jnp.zeros((*shape, channels), wide))
    start = tuple(vary_like(x, q, k, slots) for x in start)
    _, total, out = jax.lax.fori_loop(0, jnp.max(slots) // BLOCK + 1, step, start)
    out = jnp.where(total > 0, out / jnp.where(total > 0, total, 1), 0).astype(v.dtype)
    return out.reshape(rows, kv_heads, group, steps, channels).transpose(0, 3, 1, 2, 4)
