"""Grouped product as a loop over blocks of rows, each block one ordinary product: the fast form on CPU.

Only blocks that hold rows are visited (the trip count is dynamic), so the cost follows the rows, not the groups, and
an expert nobody chose is never read. The derivative is written out because a loop of dynamic length has none.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glmkit.model.ops.vary import vary_like


class _Blocks(NamedTuple):
    """Which rows each block covers. A block may run past its group's end; `rows` says how many rows are its own."""

    group: Int[Array, " B"]
    start: Int[Array, " B"]
    rows: Int[Array, " B"]
    count: Int[Array, ""]


def _block_size(rows: int, groups: int) -> int:
    """Rows per block: about half a fair group, so that padding stays small and products stay large."""
    fair = max(1, rows // groups)
    return min(128, 1 << (fair.bit_length() - 1))


def _blocks(group_sizes: Int[Array, " G"], rows: int, size: int) -> _Blocks:
    per_group = -(-group_sizes // size)
    last = jnp.cumsum(per_group)
    index = jnp.arange(rows // size + group_sizes.shape[0])
    group = jnp.minimum(jnp.searchsorted(last, index, side="right"), group_sizes.shape[0] - 1)
    within = (index - (last - per_group)[group]) * size
    start = (jnp.cumsum(group_sizes) - group_sizes)[group] + within
    return _Blocks(group, start, jnp.clip(group_sizes[group] - within, 0, size), last[-1])


def _slice_rows(x: Array, start: Array, size: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(x, start, size)


def _product(x: Array, w: Array, group_sizes: Array, transpose: bool) -> Array:
    """`x @ w[g]`, or `x @ w[g].T`, by group."""
    rows, size = x.shape[0], _block_size(x.shape[0], w.shape[0])
    blocks = _blocks(group_sizes, rows, size)
    padded = jnp.pad(x, ((0, size), (0, 0)))
    contracting = ((1,), (1 if transpose else 0,))

    def step(i, out):
        matrix = jax.lax.dynamic_index_in_dim(w, blocks.group[i], keepdims=False)
        block = jax.lax.dot_general(_slice_rows(padded, blocks.start[i], size), matrix, (contracting, ((), ())))
        # Blocks go up the rows, so what one writes past its group's end the next group overwrites.
        return jax.lax.dynamic_update_slice_in_dim(out, block, blocks.start[i], axis=0)

    width = w.shape[1] if transpose else w.shape[2]
    out = vary_like(jnp.zeros((rows + size, width), x.dtype), x, w)
    out = jax.lax.fori_loop(0, blocks.count, step, out)
    return jnp.where(jnp.arange(rows)[:, None] < group_sizes.sum(), out[:rows], 0)


@jax.custom_vjp
def grouped_matmul_loop(
    x: Float[Array, "M K"], w: Float[Array, "G K N"], group_sizes: Int[Array, " G"]
) -> Float[Array, "M N"]:
    """As `grouped_matmul_reference`, reading each group's matrix once per block of rows."""
    return _product(x, w, group_sizes, transpose=False)


def _forward(x, w, group_sizes):
    return grouped_matmul_loop(x, w, group_sizes), (x, w, group_sizes)


def _backward(residuals, dy):
    x, w, group_sizes = residuals
    return _product(dy, w, group_sizes, transpose=True), _weight_gradient(x, dy, w, group_sizes), None


def _weight_gradient(x: Array, dy: Array, w: Array, group_sizes: Array) -> Array:
    """`dw[g] = x_g.T @ dy_g`, accumulated block by block."""
    size = _block_size(x.shape[0], w.shape[0])
    blocks = _blocks(group_sizes, x.shape[0], size)
    x, dy = (jnp.pad(rows, ((0, size), (0, 0))) for rows in (x, dy))

    def step(i, dw):
        own = jnp.arange(size)[:, None] < blocks.rows[i]
        block = jnp.where(own, _slice_rows(x, blocks.start[i], size), 0)
        update = block.T @ _slice_rows(dy, blocks.start[i], size)
        group = blocks.group[i]
        return jax.lax.dynamic_update_index_in_dim(dw, dw[group] + update, group, axis=0)

    return jax.lax.fori_loop(0, blocks.count, step, vary_like(jnp.zeros_like(w), x, dy))


grouped_matmul_loop.defvjp(_forward, _backward)
