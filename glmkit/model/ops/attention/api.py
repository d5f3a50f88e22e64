"""Chooses the backend of attention over whole sequences."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glmkit.model.ops.attention.reference import attention_reference
from glmkit.model.ops.attention.tiled import attention_tiled


def attention(
    q: Float[Array, "B T KV G C"],
    k: Float[Array, "B T KV C"],
    v: Float[Array, "B T KV C"],
    segment_ids: Int[Array, "B T"],
) -> Float[Array, "B T KV G C"]:
    """Each query sees the keys of its segment up to itself: in tiles on CPU, elsewhere all scores at once."""
    if jax.default_backend() == "cpu":
        return attention_tiled(q, k, v, segment_ids)
    steps = jnp.arange(q.shape[1])
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    return attention_reference(q, k, v, same & (steps[:, None] >= steps))
