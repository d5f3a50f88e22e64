"""Attention of whole packed sequences in tiles with a running softmax, forward and backward: the fast form on CPU.

The scores of a tile stay in a core's cache, and tiles of keys that no query of a tile sees, because they lie in the
future or in other segments, are not visited. Memory is proportional to the tokens (the method of arXiv 2307.08691).
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glmkit.model.ops.attention.reference import MASKED
from glmkit.model.ops.attention.running import Running
from glmkit.model.ops.vary import vary_like

# Queries of a tile, and keys. Products of large tiles run on all cores, but their scores are to stay in a cache, and
# more of them are masked: long rows are packed with short examples.
_LARGE, _SMALL = 256, 64
_MOST_STEPS, _MOST_SCORES = 1024, 2**19  # of a row, and of a tile's heads together, for the large ones

# In tiles: N of them in a row, of S tokens each; the G query heads of a key head lie one after the other.
Queries = Float[Array, "B N KV GS C"]
Keys = Float[Array, "B N KV S C"]
Segments = Int[Array, "B N S"]


def attention_tiled(
    q: Float[Array, "B T KV G C"],
    k: Float[Array, "B T KV C"],
    v: Float[Array, "B T KV C"],
    segment_ids: Int[Array, "B T"],
) -> Float[Array, "B T KV G C"]:
    """Each query sees the keys of its segment up to itself; as `attention_reference` with that mask."""
    rows, steps, kv_heads, group, channels = q.shape
    large = steps <= _MOST_STEPS and kv_heads * group * _LARGE**2 <= _MOST_SCORES
    size = min(_LARGE if large else _SMALL, steps)
    count = -(-steps // size)

    def tiles(x: Array, fill: int = 0) -> Array:
        """`[B, T, ...]` to `[B, tile, size, ...]`."""
        x = jnp.pad(x, ((0, 0), (0, count * size - steps), *((0, 0),) * (x.ndim - 2)), constant_values=fill)
        return x.reshape(rows, count, size, *x.shape[2:])

    queries = tiles(q * channels**-0.5).transpose(0, 1, 3, 4, 2, 5)
    queries = queries.reshape(rows, count, kv_heads, group * size, channels)
    out = _attend(queries, tiles(k).swapaxes(2, 3), tiles(v).swapaxes(2, 3), tiles(segment_ids, fill=-1))
    out = out.reshape(rows, count, kv_heads, group, size, channels).transpose(0, 1, 4, 2, 3, 5)
    return out.reshape(rows, count * size, kv_heads, group, channels)[:, :steps]


@jax.custom_vjp
def _attend(q: Queries, k: Keys, v: Keys, segments: Segments) -> Queries:
    return _forward(q, k, v, segments)[0]


def _forward(q: Queries, k: Keys, v: Keys, segments: Segments):
    wide = jnp.promote_types(q.dtype, jnp.float32)
    zeros, first = functools.partial(_zeros, q, k, v, segments), _first_seen(segments)

    def tile(n, results):
        at = b, i = jnp.divmod(n, q.shape[1])

        def step(j, running):
            # A tile may hold no key for a query: what is summed then decays to 0 at the first it sees, itself at last.
            return running.after(_scores(q, k, segments, b, i, j), v[b, j])

        start = Running.start(q.shape[2:], wide, q, k, v, segments)
        highest, total, out = jax.lax.fori_loop(first[at], i + 1, step, start)
        out, log_total = (out / total).astype(v.dtype), highest + jnp.log(total)
        return results[0].at[at].set(out), results[1].at[at].set(log_total)

    start = zeros(q.shape, v.dtype), zeros((*q.shape[:4], 1), wide)
    out, log_totals = jax.lax.fori_loop(0, q.shape[0] * q.shape[1], tile, start)
    return out, (q, k, v, segments, out, log_totals)


def _backward(residuals, d_out):
    q, k, v, segments, out, log_totals = residuals
    wide = log_totals.dtype
    zeros, first = functools.partial(_zeros, q, k, v, segments), _first_seen(segments)
    # What every weight's derivative loses to the softmax's normalisation.
    means = (d_out.astype(wide) * out).sum(-1, keepdims=True)
    product = functools.partial(jnp.einsum, preferred_element_type=wide)
    # Summed over the rows of both sides, XLA's products take twice as long as over columns and rows.
    q_columns, d_out_columns = q.swapaxes(-1, -2), d_out.swapaxes(-1, -2)

    def tile(n, gradients):
        at = b, i = jnp.divmod(n, q.shape[1])

        def step(j, carry):
            dq, dk, dv = carry
            weights = jnp.exp(_scores(q, k, segments, b, i, j) - log_totals[at])
            d_scores = weights * (product("kqc,ksc->kqs", d_out[at], v[b, j]) - means[at])
            d_scores, weights = d_scores.astype(q.dtype), weights.astype(v.dtype)
            dk = dk.at[b, j].add(product("kcq,kqs->kcs", q_columns[at], d_scores))
            dv = dv.at[b, j].add(product("kcq,kqs->kcs", d_out_columns[at], weights))
            return dq + product("kqs,ksc->kqc", d_scores, k[b, j]), dk, dv

        dq, dk, dv = gradients
        dq_tile, dk, dv = jax.lax.fori_loop(first[at], i + 1, step, (zeros(q.shape[2:], wide), dk, dv))
        return dq.at[at].set(dq_tile.astype(q.dtype)), dk, dv

    columns = k.swapaxes(-1, -2).shape
    start = zeros(q.shape, q.dtype), zeros(columns, wide), zeros(columns, wide)
    dq, dk, dv = jax.lax.fori_loop(0, q.shape[0] * q.shape[1], tile, start)
    return dq, dk.swapaxes(-1, -2).astype(k.dtype), dv.swapaxes(-1, -2).astype(v.dtype), None


_attend.defvjp(_forward, _backward)


def _scores(q: Queries, k: Keys, segments: Segments, b: Array, i: Array, j: Array) -> Float[Array, "KV GS S"]:
    """Of row `b`, the queries of tile `i` against the keys of tile `j`."""
    steps = jnp.arange(k.shape[3])
    visible = (segments[b, i][:, None] == segments[b, j]) & ((i > j) | (steps[:, None] >= steps))
    wide = jnp.promote_types(q.dtype, jnp.float32)
    scores = jnp.einsum("kqc,ksc->kqs", q[b, i], k[b, j], preferred_element_type=wide)
    return jnp.where(jnp.tile(visible, (q.shape[3] // k.shape[3], 1)), scores, MASKED)


def _first_seen(segments: Segments) -> Int[Array, "B N"]:
    """For each tile of queries, the first tile of keys that may hold one of their segments.

    Told by the range of ids in a tile, with padding beyond all others: it follows the examples of a row.
    """
    ids = jnp.where(segments < 0, jnp.iinfo(segments.dtype).max, segments)
    low, high = ids.min(-1), ids.max(-1)
    may = (low[:, :, None] <= high[:, None]) & (low[:, None] <= high[:, :, None])
    return jnp.argmax(may, axis=-1)


def _zeros(*args) -> Array:
    *like, shape, dtype = args
    return vary_like(jnp.zeros(shape, dtype), *like)
