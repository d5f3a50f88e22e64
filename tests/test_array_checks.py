"""The array annotations are really enforced: a wrong shape or dtype that reaches the model fails the test run."""

import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

from glmkit.model.ops.grouped_matmul import grouped_matmul


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [
        (jnp.ones((4, 3)), jnp.array([2, 2])),  # rows are 3 wide, the matrices take 5
        (jnp.ones((4, 5)), jnp.array([4])),  # one size for two matrices
        (jnp.ones((4, 5)), jnp.array([2.0, 2.0])),  # sizes that are no integers
    ],
)
def test_a_wrong_array_argument_is_refused(rows, sizes):
    with pytest.raises(TypeCheckError, match="grouped_matmul"):
        grouped_matmul(rows, jnp.ones((2, 5, 7)), sizes)
