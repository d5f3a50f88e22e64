"""Cuts rows sorted by group into blocks that each belong to one group."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int


class Blocks(NamedTuple):
    """Block `b` covers rows `[start[b], end[b])`, all of `group[b]`. The first `count` blocks hold rows; the rest none."""

    group: Int[Array, " B"]
    start: Int[Array, " B"]
    end: Int[Array, " B"]
    count: Int[Array, ""]


def cut_blocks(group_sizes: Int[Array, " G"], rows: int, size: int) -> Blocks:
    """Blocks of at most `size` rows, in the order of the rows, enough for any `group_sizes` that sum to at most `rows`."""
    groups = group_sizes.shape[0]
    ends = jnp.cumsum(group_sizes)
    per_group = -(-group_sizes // size)
    last = jnp.cumsum(per_group)
    index = jnp.arange(rows // size + min(groups, rows))
    group = jnp.minimum(jnp.searchsorted(last, index, side="right", method="compare_all"), groups - 1)
    start = (ends - group_sizes)[group] + (index - (last - per_group)[group]) * size
    # Past `count` the last group's start lies at or beyond its end; those blocks become empty.
    end = jnp.maximum(start, jnp.minimum(start + size, ends[group]))
    return Blocks(group, start, end, last[-1])
