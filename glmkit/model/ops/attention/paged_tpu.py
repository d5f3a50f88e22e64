"""Attention over a cache of pages by JAX's Pallas kernel for TPU: one query a row, or the few of a draft.

The kernel wants pages `[KV, P, S, C]`. Ours are `[P, KV, S, C]`, of which it is given every (page, key head) as a page
of a single head, and every (row, query, key head) as a sequence: no key is copied. JAX's ragged paged attention, which
would take chunks of prompts too, wants keys and values in turn along the heads of one array, which ours cannot become
without a copy of all that a row could hold.
"""

import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.paged_attention import paged_attention
from jaxtyping import Array, Float, Int

_MOST_QUERIES = 8  # of a row: each reads the row's keys for itself
_SCALARS = 512 * 1024  # bytes of the table, in the scalar memory, of which a core has a megabyte


def supports(q: Float[Array, "B T KV G C"], k: Float[Array, "P KV S C"], table: Int[Array, "B N"]) -> bool:
    """Whether the kernel takes these shapes and dtypes."""
    rows, steps, kv_heads, _, channels = q.shape
    small = steps <= _MOST_QUERIES and 4 * rows * steps * kv_heads * table.shape[1] <= _SCALARS
    return small and channels % 128 == 0 and q.dtype == k.dtype == jnp.bfloat16


def attend(
    q: Float[Array, "B T KV G C"],
    k: Float[Array, "P KV S C"],
    v: Float[Array, "P KV S C"],
    table: Int[Array, "B N"],
    slots: Int[Array, "B T"],
) -> Float[Array, "B T KV G C"]:
    """As `attention_blocked`, if what pages hold beyond their row is finite (see `glmkit.model.cache.cleared`)."""
    rows, steps, kv_heads, group, channels = q.shape
    tables = table[:, None, None] * kv_heads + jnp.arange(kv_heads)[:, None]
    tables = jnp.broadcast_to(tables, (rows, steps, *tables.shape[2:])).reshape(-1, table.shape[1])
    at_once = next(size for size in (4, 2, 1) if table.shape[1] % size == 0)
    out = paged_attention(
        (q * channels**-0.5).reshape(-1, group, channels),
        *(x.reshape(1, -1, *x.shape[2:]) for x in (k, v)),
        jnp.repeat(slots.reshape(-1) + 1, kv_heads),
        tables,
        pages_per_compute_block=at_once,
    )
    return out.reshape(q.shape).astype(v.dtype)
