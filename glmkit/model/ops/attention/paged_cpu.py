"""Attention over a cache of pages on CPU: a loop over what blocks of queries see, however unequal their rows are.

A step costs what its rows hold, each by itself; `blocked` goes through all rows together, as far as the longest holds.
The queries of a prompt take a page at a time. Those of several rows that decode or draft are too few to keep two cores
busy with it: they take several pieces of pages at once, of whichever rows, and put them together one by one, so that a
row's bits depend on that row alone.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glmkit.model.ops.attention.blocked import after_page, averaged, in_blocks, in_rows
from glmkit.model.ops.attention.running import Running

_FEW = 64  # lines of a block: queries times query heads
_AT_ONCE = 4  # pieces
_PIECE = 128  # keys: of a short row, of which much of a page would be read for nothing


def attend(
    q: Float[Array, "B T KV G C"],
    k: Float[Array, "P KV S C"],
    v: Float[Array, "P KV S C"],
    table: Int[Array, "B N"],
    slots: Int[Array, "B T"],
) -> Float[Array, "B T KV G C"]:
    """As `attention_blocked`."""
    queries, last = in_blocks(q, slots)
    (rows, count, lines), page = last.shape, k.shape[2]
    blocks = queries.reshape(-1, *queries.shape[2:]), k, v, jnp.repeat(table, count, axis=0), last.reshape(-1, lines)
    several = rows * count >= _AT_ONCE and lines <= _FEW
    out = _by_piece(*blocks, size=min(_PIECE, page)) if several else _by_page(*blocks)
    return in_rows(out.reshape(queries.shape), q.shape)


def _by_page(
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
        page = table[block, number]
        return of_all.put(block, after_page(of_all.of(block), q[block], k[page], v[page], number, last[block]))

    start = Running.start(q.shape, jnp.promote_types(q.dtype, jnp.float32), q, k, table, last)
    return averaged(jax.lax.fori_loop(0, ends[-1], step, start), last, v.dtype)


def _by_piece(
    q: Float[Array, "J KV Q C"],
    k: Float[Array, "P KV S C"],
    v: Float[Array, "P KV S C"],
    table: Int[Array, "J N"],
    last: Int[Array, "J Q"],
    size: int,
) -> Float[Array, "J KV Q C"]:
    """As `_by_page`, with several pieces at once, each of `size` keys, of which a page is a multiple."""
    pieces = last.max(-1) // size + 1  # that each block sees
    ends = jnp.cumsum(pieces)  # among those of all
    of_a_page = k.shape[2] // size

    def cut(pages: Array, page: Array, place: Array) -> Array:
        start = (page.astype(jnp.int32), jnp.int32(0), place.astype(jnp.int32), jnp.int32(0))
        shape = (1, pages.shape[1], size, pages.shape[3])
        return jax.lax.dynamic_slice(pages, start, shape, allow_negative_indices=False)

    def begin(q: Array) -> Running:
        return Running.start(q.shape, jnp.promote_types(q.dtype, jnp.float32), q, k, table, last)

    def step(n: Array, of_all: Running) -> Running:
        piece = n * _AT_ONCE + jnp.arange(_AT_ONCE)
        # Those past the last piece are of the last block, whatever its table has there, and are left out below.
        block = jnp.minimum(jnp.searchsorted(ends, piece, side="right", method="compare_all"), q.shape[0] - 1)
        number = piece - ends[block] + pieces[block]
        page, place = table[block, number // of_a_page], number % of_a_page * size
        # Cuts side by side: a gather of them all is slower.
        keys, values = (jnp.concatenate([cut(x, page[i], place[i]) for i in range(_AT_ONCE)]) for x in (k, v))
        alone = after_page(begin(q[block]), q[block], keys, values, number[:, None], last[block])
        count = jnp.minimum(ends[-1] - n * _AT_ONCE, _AT_ONCE)
        return jax.lax.fori_loop(0, count, lambda i, x: x.put(block[i], x.of(block[i]).merged(alone.of(i))), of_all)

    return averaged(jax.lax.fori_loop(0, -(-ends[-1] // _AT_ONCE), step, begin(q)), last, v.dtype)
