"""Attention over a cache, and of whole packed sequences, against the definition."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu

from glmkit.model.ops.attention import (
    attention,
    attention_blocked,
    attention_cached,
    attention_reference,
    attention_tiled,
    flash_gpu,
    paged_cpu,
    paged_gpu,
    paged_tpu,
    splash_tpu,
)
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


cached = pytest.mark.parametrize("attend", [attention_blocked, paged_cpu.attend], ids=["blocked", "paged_cpu"])


@cached
@pytest.mark.parametrize("steps", [1, 5, 128, 300])
def test_a_query_sees_the_cache_up_to_its_slot_and_padding_gives_zeros(attend, steps):
    q, k, v, slots = case(steps, [0, 200, 400, -1])
    visible = jnp.arange(CAPACITY) <= slots[..., None]
    expected = attention_reference(q, k.swapaxes(1, 2), v.swapaxes(1, 2), visible)
    result = jax.jit(attend)(q, *paged(k, v), slots)
    np.testing.assert_allclose(result[:3], expected[:3], atol=TOLERANCE)
    assert not np.asarray(result[3]).any()


@cached
def test_what_lies_past_a_querys_slot_does_not_matter(attend):
    q, k, v, slots = case(300, [0, 10])
    stale = (x.at[:, :, 320:].set(1e6) for x in (k, v))
    right = attend(q, *paged(k, v), slots)
    np.testing.assert_array_equal(attend(q, *paged(*stale), slots), right)


def packed(steps, group=3):
    """Queries, keys, values and segments: one example, several with padding after them, ids that come again."""
    rng = np.random.default_rng(1)
    q = rng.standard_normal((3, steps, 2, group, 8))
    k, v = rng.standard_normal((2, 3, steps, 2, 8))
    segments = np.zeros((3, steps), np.int32)
    segments[1] = np.arange(steps) // 37
    segments[1, steps * 4 // 5 :] = -1
    segments[2] = (np.arange(steps) // 50) % 2
    steps_ = np.arange(steps)
    visible = (segments[:, :, None] == segments[:, None]) & (steps_[:, None] >= steps_)
    return [jnp.asarray(x, jnp.float32) for x in (q, k, v)], jnp.asarray(segments), jnp.asarray(visible)


@pytest.mark.parametrize(("steps", "group"), [(1, 3), (5, 3), (128, 3), (600, 3), (300, 6)])
def test_tiles_give_the_values_and_gradients_of_the_definition(steps, group):
    """Of several large tiles in a row too, and of several small ones, as many heads have."""
    arrays, segments, visible = packed(steps, group)
    weights = jnp.asarray(np.random.default_rng(2).standard_normal(arrays[0].shape), jnp.float32)

    def values_and_gradients(attend, mask):
        out, pull = jax.vjp(lambda *arrays: attend(*arrays, mask), *arrays)
        return out, *pull(weights)

    results = jax.jit(values_and_gradients, static_argnums=0)(attention_tiled, segments)
    expected = jax.jit(values_and_gradients, static_argnums=0)(attention_reference, visible)
    for result, right in zip(results, expected, strict=True):
        # Sums of up to 600 terms, of the size of the largest value, in another order.
        np.testing.assert_allclose(result, right, atol=TOLERANCE * max(1, float(jnp.abs(right).max())))


def widened(channels, *arrays):
    """With more channels, all different: kernels of accelerators take no fewer."""
    rng = np.random.default_rng(5)
    return [x @ jnp.asarray(rng.standard_normal((x.shape[-1], channels)) / 3, x.dtype) for x in arrays]


@pytest.mark.parametrize("steps", [1, 20])
def test_the_gpu_kernel_for_a_cache_is_the_definition(steps, monkeypatch):
    monkeypatch.setattr(paged_gpu, "_PROGRAMS", 8)  # a row's keys in two parts, or one; JAX interprets slowly
    q, k, v, slots = case(steps, [0, 400, -1])
    q, k, v = widened(16, q, k, v)
    *pools, table = paged(k, v)
    pools = [pool.at[table[0, 0], :, 64:].set(jnp.nan) for pool in pools]  # past what the first row holds
    kernel = jax.jit(lambda *args: paged_gpu.attend(*args, interpret=True))
    result = kernel(q, *pools, table, slots)
    np.testing.assert_allclose(result, attention_blocked(q, *pools, table, slots), atol=TOLERANCE)
    assert not np.asarray(result[2]).any()
    # Beside other rows a row has the same bits.
    beside = kernel(q.at[0].add(1), *pools, table, slots.at[2].set(jnp.arange(steps)))
    np.testing.assert_array_equal(beside[1], result[1])


def test_the_tpu_kernel_for_a_cache_is_the_definition():
    q, k, v, slots = case(3, [0, 400, -1])
    q, k, v = (x.astype(jnp.bfloat16) for x in widened(128, q, k, v))
    cache = paged(k, v)
    cache = *(x.astype(jnp.bfloat16) for x in cache[:2]), cache[2]
    with pltpu.force_tpu_interpret_mode():
        result = jax.jit(paged_tpu.attend)(q, *cache, slots)
    expected = attention_blocked(*(x.astype(jnp.float32) for x in (q, *cache[:2])), cache[2], slots)
    # Weights and result in bfloat16, of values around 1.
    np.testing.assert_allclose(result.astype(jnp.float32), expected, atol=3e-2)
    assert not np.asarray(result[2]).any()


@pytest.mark.parametrize("kernel", [flash_gpu, splash_tpu], ids=["flash_gpu", "splash_tpu"])
def test_kernels_for_whole_sequences_give_the_values_and_gradients_of_the_definition(kernel):
    (q, k, v), segments, visible = packed(150)
    arrays = widened(128 if kernel is splash_tpu else 32, *(x[1:] for x in (q, k, v)))
    weights = jnp.asarray(np.random.default_rng(2).standard_normal(arrays[0].shape), jnp.float32)

    def values_and_gradients(attend, mask, arrays):
        out, pull = jax.vjp(lambda *arrays: attend(*arrays, mask), *arrays)
        return out, *pull(weights)

    attend = functools.partial(kernel.attend, interpret=True)
    results = jax.jit(values_and_gradients, static_argnums=0)(attend, segments[1:], arrays)
    expected = jax.jit(values_and_gradients, static_argnums=0)(attention_reference, visible[1:], arrays)
    for result, right in zip(results, expected, strict=True):
        # Sums of up to 150 terms, of the size of the largest value, in another order.
        np.testing.assert_allclose(result, right, atol=TOLERANCE * max(1, float(jnp.abs(right).max())))


@pytest.mark.parametrize(
    ("platform", "dtype", "channels", "steps", "takes"),
    [
        ("gpu", "bfloat16", 128, 1, "both"),
        ("gpu", "bfloat16", 128, 1024, "both"),
        ("gpu", "float32", 128, 1, "neither"),
        ("gpu", "bfloat16", 96, 1, "neither"),
        ("tpu", "bfloat16", 128, 5, "both"),
        ("tpu", "bfloat16", 128, 1024, "whole"),
        ("tpu", "bfloat16", 64, 1, "neither"),
        ("cpu", "bfloat16", 128, 1, "neither"),
        (None, "bfloat16", 128, 1, "neither"),
    ],
)
def test_a_kernel_is_taken_where_it_takes_the_shapes(platform, dtype, channels, steps, takes):
    q = jax.ShapeDtypeStruct((2, steps, 8, 12, channels), dtype)
    k = jax.ShapeDtypeStruct((2, steps, 8, channels), dtype)
    pages = jax.ShapeDtypeStruct((64, 8, PAGE, channels), dtype)
    ids, table = (jax.ShapeDtypeStruct((2, n), "int32") for n in (steps, 32))
    whole = jax.make_jaxpr(functools.partial(attention, platform=platform))(q, k, k, ids)
    cached = jax.make_jaxpr(functools.partial(attention_cached, platform=platform))(q, pages, pages, table, ids)
    found = ["pallas_call" in str(jaxpr) for jaxpr in (whole, cached)]
    assert found == {"both": [True, True], "whole": [True, False], "neither": [False, False]}[takes]
