"""Cuts rows sorted by group into blocks that each belong to one group."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int


class Blocks(NamedTuple):
    """Block `b` is rows `[start[b], end[b])`, all of `group[b]`; those not needed come last, with `end <= start`."""

    group: Int[Array, " B"]
    start: Int[Array, " B"]
    end: Int[Array, " B"]


def cut_blocks(group_sizes: Int[Array, " G"], rows: int, size: int) -> Blocks:
    """Blocks of at most `size` rows, in the order of the rows: enough for any sizes that sum to at most `rows`."""
    groups = group_sizes.shape[0]
    ends = jnp.cumsum(group_sizes)
    per_group = -(-group_sizes // size)
    last = jnp.cumsum(per_group)
    index = jnp.arange(rows // size + min(groups, rows))
    group = jnp.minimum(jnp.searchsorted(last, index, side="right", method="compare_all"), groups - 1)
    start = (ends - group_sizes)[group] + (index - (last - per_group)[group]) * size
    # A block that is not needed counts on in the last group and starts at its end or beyond: it is empty.
    return Blocks(group, start, jnp.minimum(start + size, ends[group]))
