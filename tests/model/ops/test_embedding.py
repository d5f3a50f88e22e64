"""Rows of a table: the same as indexing, and a gradient that loses nothing of frequent tokens."""

import jax
import jax.numpy as jnp
import numpy as np

from glmkit.model.ops.embedding import embedding

ONES = 4096  # in bfloat16, adding 1 to 256 leaves 256


def test_rows_by_their_numbers():
    table = jnp.arange(12.0).reshape(4, 3)
    ids = jnp.array([[3, 0], [1, 1]])
    assert np.array_equal(embedding(table, ids, None), table[ids])


def test_the_gradient_of_a_frequent_token_is_summed_in_float32():
    table, ids = jnp.zeros((8, 4), jnp.bfloat16), jnp.full((1, ONES), 5)
    gradient = jax.grad(lambda table: embedding(table, ids, None).astype(jnp.float32).sum())(table)
    assert gradient.dtype == jnp.bfloat16
    assert gradient[5].tolist() == [ONES] * 4
    assert not gradient[jnp.arange(8) != 5].any()
