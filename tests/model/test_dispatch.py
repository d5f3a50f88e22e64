"""Pairs sorted by expert: order, rows there and back, and derivatives against plain indexing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glmkit.model.dispatch import PairOrder, combine, dispatch

TOKENS, TOP_K, EXPERTS, WIDTH = 7, 3, 5, 4


def some(*shape):
    return jnp.asarray(np.random.default_rng(len(shape)).normal(size=shape), jnp.float32)


@pytest.fixture
def order():
    return PairOrder.by(jnp.asarray(np.random.default_rng(0).integers(0, EXPERTS, (TOKENS, TOP_K))), EXPERTS)


def test_pairs_are_sorted_and_those_of_an_expert_stay_as_they_come(order):
    keys = np.random.default_rng(0).integers(0, EXPERTS, (TOKENS, TOP_K)).ravel()
    np.testing.assert_array_equal(order.pairs, np.argsort(keys, kind="stable"))
    np.testing.assert_array_equal(order.pairs[order.places].ravel(), np.arange(TOKENS * TOP_K))


def test_more_pairs_than_integers_are_refused():
    keys = jax.ShapeDtypeStruct((2**20, 8), jnp.int32)
    with pytest.raises(ValueError, match="8388608 pairs"):
        jax.eval_shape(lambda keys: PairOrder.by(keys, 257), keys)


def test_a_row_comes_back_weighted_from_each_of_its_places(order):
    x, weights = some(TOKENS, WIDTH), some(TOKENS, TOP_K)
    there = dispatch(x, order)
    np.testing.assert_array_equal(there, x[np.asarray(order.pairs) // TOP_K])
    # Three float32 terms.
    np.testing.assert_allclose(combine(there, weights, order), x * weights.sum(-1, keepdims=True), rtol=1e-5, atol=1e-6)


def test_low_precision_rows_are_summed_in_that_of_the_weights(order):
    x = jnp.ones((TOKENS, WIDTH), jnp.bfloat16)
    assert combine(dispatch(x, order), jnp.full((TOKENS, TOP_K), 1 + 2**-12), order).tolist()[0][0] == 3 + 3 * 2**-12
    assert jax.grad(lambda x: dispatch(x, order).sum().astype(jnp.float32))(x).dtype == jnp.bfloat16


def test_derivatives_are_those_of_indexing(order):
    x, weights = some(TOKENS, WIDTH), some(TOKENS, TOP_K)

    def ours(x, weights):
        return (combine(jnp.sin(dispatch(x, order)), weights, order) ** 2).sum()

    def plain(x, weights):
        rows = jnp.sin(x[order.pairs // TOP_K])[order.places]
        return (jnp.einsum("nkd,nk->nd", rows, weights) ** 2).sum()

    for mine, theirs in zip(*(jax.grad(f, (0, 1))(x, weights) for f in (ours, plain)), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)  # float32 sums in another order
