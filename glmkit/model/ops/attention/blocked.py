"""Attention over a cache of pages: blocks of queries, each over its pages of keys in turn with a running softmax.

A block of queries reads pages only as far as its furthest one sees, so a step costs what the context holds and not
what the cache could hold, in one compiled program for every length. Not differentiable: a loop of dynamic length has
no reverse.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Int

from glmkit.model.ops.attention.reference import MASKED
from glmkit.model.ops.attention.running import Running

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
    queries, last = in_blocks(q, slots)

    def block(n: int | Array) -> Array:
        return _one_block(queries[:, n], k, v, table, last[:, n])

    count = queries.shape[1]
    out = block(0)[:, None] if count == 1 else jax.lax.map(block, jnp.arange(count)).swapaxes(0, 1)
    return in_rows(out, q.shape)


def in_blocks(
    q: Float[Array, "B T KV G C"], slots: Int[Array, "B T"]
) -> tuple[Float[Array, "B N KV GS C"], Int[Array, "B N GS"]]:
    """The queries, scaled, in blocks, the query heads of a key head one after the other, and the slot of each."""
    rows, steps, kv_heads, group, channels = q.shape
    size = min(QUERIES, steps)
    count = -(-steps // size)
    missing = ((0, 0), (0, count * size - steps))
    slots = jnp.pad(slots, missing, constant_values=-1).reshape(rows, count, size)
    q = jnp.pad(q * channels**-0.5, (*missing, (0, 0), (0, 0), (0, 0)))
    q = q.reshape(rows, count, size, kv_heads, group, channels).transpose(0, 1, 3, 4, 2, 5)
    return q.reshape(rows, count, kv_heads, group * size, channels), jnp.tile(slots, (1, 1, group))


def in_rows(out: Float[Array, "B N KV GS C"], shape: tuple[int, ...]) -> Float[Array, "B T KV G C"]:
    """What came of blocks, in the shape of their queries."""
    rows, steps, kv_heads, group, channels = shape
    count = out.shape[1]
    out = out.reshape(rows, count, kv_heads, group, -1, channels).transpose(0, 1, 4, 2, 3, 5)
    return out.reshape(rows, -1, kv_heads, group, channels)[:, :steps]


def after_page(
    running: Running,
    q: Float[Array, "*rows KV Q C"],
    keys: Float[Array, "*rows KV S C"],
    values: Float[Array, "*rows KV S C"],
    number: Int[Array, ""] | Int[Array, "*rows 1"],
    last: Int[Array, "*rows Q"],
) -> Running:
    """After the page of that number, for all rows or for each, of each row; queries see slots up to their `last`."""
    place = number * keys.shape[-2] + jnp.arange(keys.shape[-2])
    scores = jnp.einsum("...qc,...sc->...qs", q, keys, preferred_element_type=running.out.dtype)
    scores = jnp.where(place[..., None, None, :] <= last[..., None, :, None], scores, MASKED)
    # What a page holds beyond its row may be anything, and NaN is NaN with any weight. The first page holds a key for
    # every query that sees any, so the highest score is never the mask's value for one of them.
    values = jnp.where(place[..., None, :, None] <= last.max(-1)[..., None, None, None], values, 0)
    return running.after(scores, values)


def averaged(running: Running, last: Int[Array, "*rows Q"], dtype: DTypeLike) -> Float[Array, "*rows KV Q C"]:
    """The result of all pages; zeros of queries that see none."""
    seen = last[..., None, :, None] >= 0
    return jnp.where(seen, running.out / jnp.where(seen, running.total, 1), 0).astype(dtype)


def _one_block(
    q: Float[Array, "B KV Q C"],
    k: Float[Array, "P KV S C"],
    v: Float[Array, "P KV S C"],
    table: Int[Array, "B N"],
    last: Int[Array, "B Q"],
) -> Float[Array, "B KV Q C"]:
    def step(i: Array, running: Running) -> Running:
        page = jax.lax.dynamic_index_in_dim(table, i, axis=1, keepdims=False)
        return after_page(running, q, k[page], v[page], i, last)

    start = Running.start(q.shape, jnp.promote_types(q.dtype, jnp.float32), q, k, table, last)
    running = jax.lax.fori_loop(0, jnp.max(last) // k.shape[2] + 1, step, start)
    return averaged(running, last, v.dtype)
