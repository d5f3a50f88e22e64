"""The cache's memory: every way to allocate it gives the same arrays."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

import glmkit as gk
from glmkit.model.cache import KVCache, LayerCache, _zeros, cleared
from glmkit.model.ops.attention.blocked import PAGE


def test_zeros_of_the_host_are_those_of_a_program():
    sharding = NamedSharding(gk.mesh(), PartitionSpec())
    one = jax.ShapeDtypeStruct((2, 1, 128, 4), jnp.bfloat16, sharding=sharding)
    table, length = (jax.ShapeDtypeStruct(shape, jnp.int32, sharding=sharding) for shape in ((2, 3), (2,)))
    abstract = KVCache((LayerCache(one, one),) * 2, table, length)

    by_host, by_program = _zeros(abstract, on_host=True), _zeros(abstract, on_host=False)

    for host, program, asked in zip(*map(jax.tree.leaves, (by_host, by_program, abstract)), strict=True):
        assert host.dtype == program.dtype == asked.dtype
        assert host.sharding == program.sharding == asked.sharding
        np.testing.assert_array_equal(host, program)
    assert len({leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(by_host)}) == 6  # steps consume each


def test_a_page_that_a_row_begins_is_cleared_and_no_other():
    cache = jnp.full((6, 1, PAGE, 2), jnp.nan)
    table = jnp.asarray([[3, 1], [4, 0], [5, 2]], jnp.int32)
    # It ends where it begins a page; it goes on in one; it is padding. Then: beyond the pages; over two pages.
    once = jnp.asarray([[PAGE, PAGE + 1], [7, 8], [-1, -1]], jnp.int32)
    twice = jnp.asarray([[2 * PAGE, -1], [PAGE - 1, PAGE], [-1, -1]], jnp.int32)

    for slots, expected in ((once, {1}), (twice, {0})):
        finite = np.isfinite(cleared(cache, table, slots)).all((1, 2, 3))
        assert set(np.flatnonzero(finite)) == expected
