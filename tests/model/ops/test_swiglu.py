"""The feed-forward's gate: its derivative against JAX's own, and what it keeps for that."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glmkit.model.ops.swiglu import swiglu


@pytest.mark.parametrize("shape", [(7, 2, 5), (2, 3, 2, 4)])
def test_the_derivative_is_jaxs_own(shape):
    gate_up = 4 * jax.random.normal(jax.random.key(0), shape)
    value, derivative = jax.vjp(lambda x: jax.nn.silu(x[..., 0, :]) * x[..., 1, :], gate_up)
    ours, our_derivative = jax.vjp(swiglu, gate_up)
    np.testing.assert_array_equal(ours, value)
    d_hidden = jax.random.normal(jax.random.key(1), value.shape)
    # The same few float32 products in another order.
    np.testing.assert_allclose(our_derivative(d_hidden)[0], derivative(d_hidden)[0], rtol=1e-5, atol=1e-6)


def test_large_gates_have_finite_derivatives():
    gate_up = jnp.array([[-200.0, 200.0, 0.0], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(jax.grad(lambda x: swiglu(x).sum())(gate_up)[0], [0, 1, 0.5], atol=1e-6)


def test_nothing_is_kept_but_the_arguments():
    gate_up = jax.random.normal(jax.random.key(0), (7, 2, 5))
    kept = jax.tree.leaves(jax.vjp(swiglu, gate_up)[1])
    assert [leaf.shape for leaf in kept] == [gate_up.shape]
