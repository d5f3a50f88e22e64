"""A linear map of activations: their last axes against the first axes of a weight, both in stored order."""

import functools
import math

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, DTypeLike, Float

from glmkit.model.ops.row_product import row_product
from glmkit.sharding import handed_out, mesh_of, platform_of


def linear(
    x: Float[Array, "*Lead"], w: Float[Array, "*Weight"], contract: int = 1, dtype: DTypeLike | None = None
) -> Float[Array, "*Out"]:
    """`[*rows, *in]` and `[*in, *out]` to `[*rows, *out]`, where `in` is `contract` axes.

    The result has `dtype`, by default that of the operands, and the sharding of its operands' remaining axes, whether
    or not a contracted axis is split. A single row on CPU goes through `row_product`.
    """
    rows, out_shape = x.shape[: x.ndim - contract], w.shape[contract:]
    mesh = mesh_of(x)
    if math.prod(rows) == 1 and mesh.size <= 1 and platform_of(x) == "cpu":
        y = _one_row(handed_out(x).ravel(), handed_out(w).reshape(x.size, -1), jnp.dtype(dtype or w.dtype))
        y = y.reshape(*rows, *out_shape)
        return y if mesh.empty else jax.sharding.reshard(y, _out_sharding(x, w, contract))
    return _many_rows(x, w, contract, dtype)


def _out_sharding(x: Array, w: Array, contract: int) -> NamedSharding:
    rows, out = jax.typeof(x).sharding.spec[: x.ndim - contract], jax.typeof(w).sharding.spec[contract:]
    return NamedSharding(mesh_of(x), PartitionSpec(*rows, *out))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _many_rows(x: Array, w: Array, contract: int, dtype: DTypeLike | None) -> Array:
    # Not an einsum: that contracts in an order of its own, for which XLA copies the weight transposed.
    axes = tuple(range(x.ndim - contract, x.ndim)), tuple(range(contract))
    sharding = None if mesh_of(x).empty else _out_sharding(x, w, contract)
    return jax.lax.dot_general(x, w, (axes, ((), ())), preferred_element_type=dtype, out_sharding=sharding)


def _many_rows_forward(x, w, contract, dtype):
    return _many_rows(x, w, contract, dtype), (x, w)


def _many_rows_backward(contract, dtype, residuals, dy):
    x, w = residuals
    (dx,) = jax.vjp(lambda x: _many_rows.fun(x, w, contract, dtype), x)[1](dy)
    rows = x.ndim - contract
    across = x.astype(dy.dtype).transpose(*range(rows, x.ndim), *range(rows))
    if platform_of(x) == "cpu":
        # Left to itself, XLA transposes the larger operand, which is dy, and its product is slower by up to a half.
        across = jax.lax.optimization_barrier(across)
    axes = tuple(range(contract, x.ndim)), tuple(range(rows))
    sharding = None if mesh_of(x).empty else jax.typeof(w).sharding
    return dx, jax.lax.dot_general(across, dy, (axes, ((), ())), out_sharding=sharding).astype(w.dtype)


_many_rows.defvjp(_many_rows_forward, _many_rows_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _one_row(x: Float[Array, " K"], w: Float[Array, "K N"], dtype: jnp.dtype) -> Float[Array, "1 N"]:
    return row_product(x, w[None], 0).astype(dtype)


def _one_row_forward(x, w, dtype):
    return _one_row(x, w, dtype), (x, w)


def _one_row_backward(dtype, residuals, dy):
    return jax.vjp(lambda x, w: jnp.matmul(x[None], w, preferred_element_type=dtype), *residuals)[1](dy)


_one_row.defvjp(_one_row_forward, _one_row_backward)
