"""Attention over a cache, and of whole packed sequences, against the definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glmkit.model.ops.attention import attention_blocked, attention_reference, attention_tiled
from glmkit.model.ops.attention.blocked import PAGE

# A running softmax sums up to 700 weighted values around 1 in another order, in float32.
TOLERANCE = 1e-5
CAPACITY = 768


def case(steps, starts):
    """Random queries, keys and values; a row that starts below zero is padding."""
    rng = np.random.default_rng(0)
    rows = len(starts)
    q = rng.standard_normal((rows, steps, 2, 3, 8))
    k, v = rng.standard_normal((2, rows, 2, CAPACITY, 8))
    slots = np.asarray(starts)[:, None] + np.arange(steps)
    slots[np.asarray(starts) < 0] = -1
    return (*(jnp.asarray(x, jnp.float32) for x in (q, k, v)), jnp.asarray(slots, jnp.int32))


def paged(*caches):
    """Rows of a cache as pages in an order of their own, others between, and the table that tells which is where."""
    rows, per_row = caches[0].shape[0], CAPACITY // PAGE
    places = np.random.default_rng(4).permutation(rows * per_row + 3)[: rows * per_row]
    pools = []
    for cache in caches:
        pages = cache.reshape(rows, cache.shape[1], per_row, PAGE, -1).swapaxes(1, 2)
        pool = jnp.full((rows * per_row + 3, *pages.shape[2:]), 7.0)
        pools.append(pool.at[places].set(pages.reshape(-1, *pages.shape[2:])))
    return *pools, jnp.asarray(places.reshape(rows, per_row), jnp.int32)


@pytest.mark.parametrize("steps", [1, 5, 128, 300])
def test_a_query_sees_the_cache_up_to_its_slot_and_padding_gives_zeros(steps):
    q, k, v, slots = case(steps, [0, 200, 400, -1])
    visible = jnp.arange(CAPACITY) <= slots[..., None]
    expected = attention_reference(q, k.swapaxes(1, 2), v.swapaxes(1, 2), visible)
    result = jax.jit(attention_blocked)(q, *paged(k, v), slots)
    np.testing.assert_allclose(result[:3], expected[:3], atol=TOLERANCE)
    assert not np.asarray(result[3]).any()


def test_what_lies_past_a_querys_slot_does_not_matter():
    q, k, v, slots = case(300, [0, 10])
    stale = (x.at[:, :, 320:].set(1e6) for x in (k, v))
    right = attention_blocked(q, *paged(k, v), slots)
    np.testing.assert_array_equal(attention_blocked(q, *paged(*stale), slots), right)


def packed(steps):
    """Queries, keys, values and segments: one example, several with padding after them, ids that come again."""
    rng = np.random.default_rng(1)
    q = rng.standard_normal((3, steps, 2, 3, 8))
    k, v = rng.standard_normal((2, 3, steps, 2, 8))
    segments = np.zeros((3, steps), np.int32)
    segments[1] = np.arange(steps) // 37
    segments[1, steps * 4 // 5 :] = -1
    segments[2] = (np.arange(steps) // 50) % 2
    steps_ = np.arange(steps)
    visible = (segments[:, :, None] == segments[:, None]) & (steps_[:, None] >= steps_)
    return [jnp.asarray(x, jnp.float32) for x in (q, k, v)], jnp.asarray(segments), jnp.asarray(visible)


@pytest.mark.parametrize("steps", [1, 5, 128, 300])
def test_tiles_give_the_values_and_gradients_of_the_definition(steps):
    arrays, segments, visible = packed(steps)
    weights = jnp.asarray(np.random.default_rng(2).standard_normal(arrays[0].shape), jnp.float32)

    def values_and_gradients(attend, mask):
        out, pull = jax.vjp(lambda *arrays: attend(*arrays, mask), *arrays)
        return out, *pull(weights)

    results = jax.jit(values_and_gradients, static_argnums=0)(attention_tiled, segments)
    expected = jax.jit(values_and_gradients, static_argnums=0)(attention_reference, visible)
    for result, right in zip(results, expected, strict=True):
        # Sums of up to 300 terms, of the size of the largest value, in another order.
        np.testing.assert_allclose(result, right, atol=TOLERANCE * max(1, float(jnp.abs(right).max())))
