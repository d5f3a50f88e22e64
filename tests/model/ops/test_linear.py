"""Linear maps of activations against NumPy: one row, which has a way of its own on CPU, and several."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glmkit.model.defaults import single_device_mesh
from glmkit.model.ops.linear import linear
from glmkit.sharding import partition_spec

# Sums of 24 products of numbers around 1, in float32 in another order; the operands are exact in float64.
TOLERANCE = 1e-5
# The result is rounded to 8 bits once; its largest values are below 32.
BFLOAT16_TOLERANCE = 32 * 2.0**-9

IN, OUT = (2, 3, 4), (5, 2)


def operands(rows, contract, dtype="float32"):
    rng = np.random.default_rng(0)
    inputs = IN[len(IN) - contract :]
    arrays = rng.standard_normal((*rows, *inputs)), rng.standard_normal((*inputs, *OUT))
    return tuple(jnp.asarray(array, dtype) for array in arrays)


def by_numpy(x, w, contract):
    return np.tensordot(np.asarray(x, np.float64), np.asarray(w, np.float64), axes=contract)


@pytest.mark.parametrize("rows", [(1, 1), (2, 3)])
@pytest.mark.parametrize("contract", [1, 3])
def test_the_last_axes_meet_the_first(rows, contract):
    x, w = operands(rows, contract)
    result = jax.jit(linear, static_argnums=2)(x, w, contract)
    assert result.shape == (*rows, *OUT)
    np.testing.assert_allclose(result, by_numpy(x, w, contract), atol=TOLERANCE)


@pytest.mark.parametrize("rows", [(1, 1), (2, 3)])
def test_bfloat16_is_summed_wide_and_given_in_the_dtype_asked_for(rows):
    x, w = operands(rows, 3, "bfloat16")
    narrow, wide = linear(x, w, 3), linear(x, w, 3, dtype=jnp.float32)
    assert narrow.dtype == jnp.bfloat16
    assert wide.dtype == jnp.float32
    np.testing.assert_allclose(wide, by_numpy(x, w, 3), atol=TOLERANCE)
    np.testing.assert_allclose(narrow.astype("float32"), by_numpy(x, w, 3), atol=BFLOAT16_TOLERANCE)


@pytest.mark.parametrize("rows", [(1, 1), (2, 3)])
def test_gradients(rows):
    x, w = operands(rows, 1)
    dy = np.random.default_rng(1).standard_normal((*rows, *OUT))
    dx, dw = jax.grad(lambda x, w: (linear(x, w) * dy).sum(), argnums=(0, 1))(x, w)
    np.testing.assert_allclose(dx, np.einsum("abde,cde->abc", dy, w), atol=TOLERANCE)
    np.testing.assert_allclose(dw, np.einsum("abc,abde->cde", x, dy), atol=TOLERANCE)


def test_a_result_is_laid_out_as_its_operands_are_also_on_a_mesh_of_one_device():
    x, w = operands((1, 1), 1)
    mesh = single_device_mesh()
    specs = partition_spec(("batch", None, None)), partition_spec(("embed", "kv_heads", "head_dim"))
    placed = (jax.device_put(a, jax.NamedSharding(mesh, spec)) for a, spec in zip((x, w), specs, strict=True))
    result = jax.jit(linear)(*placed)
    assert jax.typeof(result).sharding.spec == partition_spec(("batch", None, "kv_heads", "head_dim"))
    np.testing.assert_allclose(result, by_numpy(x, w, 1), atol=TOLERANCE)
