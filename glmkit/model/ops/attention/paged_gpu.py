"""Attention over a cache of pages as a Pallas kernel that Triton compiles for GPU (written for H100).

For decode, drafts and chunks of prompts: each program owns a tile of queries with the query heads of one key head, and
walks a part of the keys as far as the tile sees, with a running softmax (arXiv 2307.08691); the parts are put together
after it (flash-decoding: pytorch.org/blog/flash-decoding). A row's bits depend on that row alone. Not differentiable.

Why not JAX's own `gpu.paged_attention`: it wants `[KV, P, S, C]`, takes one query a row, cuts a row by what its table
could hold rather than by what it holds, and reads what stale places hold (0 times NaN is NaN).
"""

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float, Int

from glmkit.model.ops.attention.reference import MASKED

_PROGRAMS = 512  # that keep a large GPU reading: four for each of 132 processors
_MOST_PARTS = 64
_MOST_LINES = 128  # of a tile: queries times query heads
_KEYS = 64  # that a program takes at a time


def supports(q: Float[Array, "B T KV G C"], k: Float[Array, "P KV S C"], table: Int[Array, "B N"]) -> bool:
    """Whether the kernel takes these shapes and dtypes: powers of two, and no float32, which it would round to TF32."""
    group, channels = q.shape[3:]
    fits = channels in (16, 32, 64, 128) and group <= _MOST_LINES and k.shape[2] % _KEYS == 0
    return fits and q.dtype == k.dtype and q.dtype in (jnp.bfloat16, jnp.float16)


def attend(
    q: Float[Array, "B T KV G C"],
    k: Float[Array, "P KV S C"],
    v: Float[Array, "P KV S C"],
    table: Int[Array, "B N"],
    slots: Int[Array, "B T"],
    interpret: bool = False,
) -> Float[Array, "B T KV G C"]:
    """As `attention_blocked`. `interpret` runs the kernel in plain JAX, anywhere."""
    rows, steps, kv_heads, group, channels = q.shape
    heads = pl.next_power_of_2(group)
    size = max(min(_MOST_LINES // heads, pl.next_power_of_2(steps)), 16 // heads, 1)  # a tensor core takes 16 lines
    count, lines = pl.cdiv(steps, size), size * heads
    # Queries of a tile lie one after the other, each with its heads and the lines that only fill.
    missing = ((0, 0), (0, count * size - steps))
    tiles = jnp.pad(q, (*missing, (0, 0), (0, heads - group), (0, 0)))
    tiles = tiles.reshape(rows, count, size, kv_heads, heads, channels).transpose(0, 3, 1, 2, 4, 5)
    tiles = tiles.reshape(rows * kv_heads, count, lines, channels)
    last = jnp.pad(slots, missing, constant_values=-1).reshape(rows, count, size)
    furthest, last = last.max(-1), jnp.repeat(last, heads, axis=-1)

    parts = min(_MOST_PARTS, pl.next_power_of_2(max(1, _PROGRAMS // (rows * kv_heads * count))))
    out, log_totals = _partial(tiles, k, v, table, last, furthest, parts, interpret)
    if parts > 1:
        share = jax.nn.softmax(log_totals, axis=0)  # of a part in which a query sees nothing: exactly 0
        out = (share[..., None] * out).sum(0, keepdims=True)
    out = out[0].astype(v.dtype).reshape(rows, kv_heads, count, size, heads, channels).transpose(0, 2, 3, 1, 4, 5)
    return out.reshape(rows, count * size, kv_heads, heads, channels)[:, :steps, :, :group]


def _partial(
    q: Float[Array, "BKV I L C"],
    k: Float[Array, "P KV S C"],
    v: Float[Array, "P KV S C"],
    table: Int[Array, "B N"],
    last: Int[Array, "B I L"],
    furthest: Int[Array, "B I"],
    parts: int,
    interpret: bool,
) -> tuple[Float[Array, "R BKV I L C"], Float[Array, "R BKV I L"]]:
    """For each of `parts` the attention over its keys and the logarithm of what its softmax was divided by."""
    (_, kv_heads, page_size, channels), (_, count, lines, _) = k.shape, q.shape
    size, scale = _KEYS, channels**-0.5

    def kernel(q_ref, k_ref, v_ref, table_ref, last_ref, furthest_ref, out_ref, log_total_ref):
        tile, part, row_and_head = (pl.program_id(axis) for axis in range(3))
        row, head = jax.lax.div(row_and_head, kv_heads), jax.lax.rem(row_and_head, kv_heads)
        queries = q_ref[row_and_head, tile, :, :]
        last = last_ref[row, tile, :]
        furthest = furthest_ref[row, tile]
        blocks = jax.lax.div(furthest + size, size)
        share = pl.cdiv(blocks, parts)
        start = part * share

        def step(i, carry):
            highest, total, out = carry
            page = table_ref[row, jax.lax.div(i * size, page_size)]
            place = jax.lax.rem(i * size, page_size)
            # What a page holds beyond its row may be anything, and NaN is NaN with any weight.
            filled = (i * size + jnp.arange(size) <= furthest)[:, None]
            keys = triton.load(k_ref.at[page, head, pl.ds(place, size), :], mask=filled, other=0)
            values = triton.load(v_ref.at[page, head, pl.ds(place, size), :], mask=filled, other=0)
            scores = triton.dot(queries, keys, trans_b=True) * scale
            seen = (i * size + jnp.arange(size))[None, :] <= last[:, None]
            scores = jnp.where(seen, scores, MASKED)
            new_highest = jnp.maximum(highest, scores.max(-1))
            weights = jnp.exp(scores - new_highest[:, None])
            decay = jnp.exp(highest - new_highest)
            update = triton.dot(weights.astype(values.dtype), values)
            return new_highest, total * decay + weights.sum(-1), out * decay[:, None] + update

        column = jnp.zeros((lines,), jnp.float32)
        carry = column + MASKED, column, jnp.zeros((lines, channels), jnp.float32)
        highest, total, out = jax.lax.fori_loop(start, jnp.minimum(start + share, blocks), step, carry)
        # A query that saw nothing has summed what it must not see, or nothing: its highest is that of a masked score.
        seen = highest > MASKED / 2
        total = jnp.where(seen, total, column + 1)
        out_ref[part, row_and_head, tile, :, :] = jnp.where(seen[:, None], out / total[:, None], 0).astype(
            out_ref.dtype
        )
        log_total_ref[part, row_and_head, tile, :] = highest + jnp.log(total)

    dtype = v.dtype if parts == 1 else jnp.float32
    return pl.pallas_call(
        kernel,
        out_shape=(
            jax.ShapeDtypeStruct((parts, *q.shape), dtype),
            jax.ShapeDtypeStruct((parts, *q.shape[:-1]), jnp.float32),
        ),
        grid=(count, parts, q.shape[0]),
        compiler_params=triton.CompilerParams(num_warps=8, num_stages=2)
        if lines > 64
        else triton.CompilerParams(num_warps=4, num_stages=3),
        interpret=interpret,
        name="attention_paged",
    )(q, k, v, table, last, furthest)
