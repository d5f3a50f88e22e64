"""Attention over a cache of pages on CPU: one flat loop over every page that some block of queries sees.

A step costs what its rows hold, each by itself, however unequal they are. `blocked` goes through all rows together, as
far as the longest holds. Pages are read where they lie; gathering a page of every row costs more than its products.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glmkit.model.ops.attention.blocked import after_page, averaged, in_blocks, in_rows
from glmkit.model.ops.attention.running import Running


def attend(
    q: Float[Array, "B T KV G C"],
    k: Float[Array, "P KV S C"],
    v: Float[Array, "P KV S C"],
    table: Int[Array, "B N"],
    slots: Int[Array, "B T"],
) -> Float[Array, "B T KV G C"]:
    """As `attention_blocked`."""
    queries, last = in_blocks(q, slots)
    rows, count = last.shape[:2]
    out = _blocks(
        queries.reshape(-1, *queries.shape[2:]), k, v, jnp.repeat(table, count, axis=0), last.reshape(rows * count, -1)
    )
    return in_rows(out.reshape(queries.shape), q.shape)


def _blocks(
    q: Float[Array, "J KV Q C"],
    k: Float[Array, "P KV S C"],
    v: Float[Array, "P KV S C"],
    table: Int[Array, "J N"],
    last: Int[Array, "J Q"],
) -> Float[Array, "J KV Q C"]:
    pages = last.max(-1) // k.shape[2] + 1  # that each block sees
    ends = jnp.cumsum(pages)  # among those of all

    def step(n: Array, of_all: Running) -> Running:
        block = jnp.searchsorted(ends, n, side="right", method="compare_all")
        number = n - ends[block] + pages[block]
        page, before = table[block, number], Running(*(x[block] for x in of_all))
        after = after_page(before, q[block], k[page], v[page], number, last[block])
        return Running(*(x.at[block].set(each) for x, each in zip(of_all, after, strict=True)))

    start = Running.start(q.shape, jnp.promote_types(q.dtype, jnp.float32), q, k, table, last)
    return averaged(jax.lax.fori_loop(0, ends[-1], step, start), last, v.dtype)
