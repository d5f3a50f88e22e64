"""The product of one row with one matrix of a stack, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glmkit.model.ops.row_product import row_product


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("length", [1, 7, 12, 64])
def test_row_times_the_chosen_matrix(length, dtype):
    rng = np.random.default_rng(0)
    row = jnp.asarray(rng.standard_normal(length), dtype)
    w = jnp.asarray(rng.standard_normal((3, length, 10)), dtype)
    wide_row, wide = np.asarray(row, np.float64), np.asarray(w, np.float64)
    for group in range(3):
        result = jax.jit(row_product)(row, w, jnp.asarray(group))
        assert result.shape == (1, 10)
        assert result.dtype == jnp.float32
        # The operands are exact in float64 and their products in float32 rounded once: what is left is the sum.
        bound = length * np.finfo(np.float32).eps * (np.abs(wide_row) @ np.abs(wide[group]))
        assert (np.abs(np.asarray(result[0]) - wide_row @ wide[group]) <= bound).all()
