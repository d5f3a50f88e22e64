"""Grouped product as loops over blocks of rows, each block one ordinary product: the fast form on CPU.

Only blocks that hold rows are visited (trip counts are dynamic), so the cost follows the rows, not the groups, and an
expert nobody chose is never read. The derivative is written out because a loop of dynamic length has none.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glmkit.model.ops.grouped_matmul.schedule import cut_blocks
from glmkit.model.ops.row_product import row_product
from glmkit.model.ops.vary import vary_like

# Up to this many rows a group on average, reading a matrix once for each of its rows is the fastest.
_FEW_ROWS = 4
# Windows, in eighths of the rows of a fair group; where one holds many rows, padding costs more than compiling a loop.
_FEW_SIZES, _MANY_SIZES = (4, 8, 12), (1, 3, 6, 8, 9, 12)
_MANY_ROWS = 64
# Rows of a fair group beyond which larger blocks are no faster.
_LARGEST_FAIR = 512

Carry = TypeVar("Carry")


@jax.custom_vjp
def grouped_matmul_loop(
    x: Float[Array, "M K"], w: Float[Array, "G K N"], group_sizes: Int[Array, " G"]
) -> Float[Array, "M N"]:
    """As `grouped_matmul_reference`, reading only the matrices of groups that hold rows."""
    few = x.shape[0] <= _FEW_ROWS * w.shape[0]
    return _by_row(x, w, group_sizes) if few else _by_block(x, w, group_sizes, contract=1)


def _forward(x, w, group_sizes):
    return grouped_matmul_loop(x, w, group_sizes), (x, w, group_sizes)


def _backward(residuals, dy):
    x, w, group_sizes = residuals
    return _by_block(dy, w, group_sizes, contract=2), _weight_gradient(x, dy, w, group_sizes), None


grouped_matmul_loop.defvjp(_forward, _backward)


def _by_row(x: Array, w: Array, group_sizes: Array) -> Array:
    ends = jnp.cumsum(group_sizes)
    group = jnp.searchsorted(ends, jnp.arange(x.shape[0]), side="right", method="compare_all")

    def step(i, out):
        y = row_product(jax.lax.dynamic_index_in_dim(x, i, keepdims=False), w, group[i])
        return jax.lax.dynamic_update_slice_in_dim(out, y.astype(out.dtype), i, axis=0)

    out = vary_like(jnp.zeros((x.shape[0], w.shape[2]), x.dtype), x, w)
    return jax.lax.fori_loop(0, ends[-1], step, out)


def _by_block(x: Array, w: Array, group_sizes: Array, contract: int) -> Array:
    """Rows of `x` times their group's matrix, contracted over axis `contract` of `w`."""

    def step(block, out):
        matrix = jax.lax.dynamic_index_in_dim(w, block.group, keepdims=False)
        y = jax.lax.dot_general(block.rows_of(x), matrix, (((1,), (contract - 1,)), ((), ())))
        y = jnp.where(block.own, y, block.rows_of(out))
        return jax.lax.dynamic_update_slice_in_dim(out, y, block.start, axis=0)

    out = vary_like(jnp.zeros((x.shape[0], w.shape[3 - contract]), x.dtype), x, w)
    return _fold_blocks(group_sizes, x.shape[0], step, out)


def _weight_gradient(x: Array, dy: Array, w: Array, group_sizes: Array) -> Array:
    """`dw[g] = x_g.T @ dy_g`, accumulated block by block in float32 at least."""
    wide = jnp.promote_types(w.dtype, jnp.float32)

    def step(block, dw):
        own = jnp.where(block.own, block.rows_of(x), 0)
        update = jax.lax.dot(own.T, block.rows_of(dy), preferred_element_type=wide)
        return jax.lax.dynamic_update_index_in_dim(dw, dw[block.group] + update, block.group, axis=0)

    dw = vary_like(jnp.zeros(w.shape, wide), x, dy)
    return _fold_blocks(group_sizes, x.shape[0], step, dw).astype(w.dtype)


class _Block(NamedTuple):
    """A window of `size` rows that holds a block; `own` marks the block's rows in it."""

    group: Int[Array, ""]
    start: Int[Array, ""]
    size: int
    own: Bool[Array, "S 1"]

    def rows_of(self, x: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(x, self.start, self.size)


def _block_sizes(rows: int, groups: int) -> tuple[int, ...]:
    """Sizes of windows around the rows of a fair group.

    A product costs as much as 25 rows before its rows count (the matrix is copied and packed), so most groups should
    be one block. The sizes are the compromise with padding, and with compiling one loop for each.
    """
    fair = min(max(2, rows // groups), _LARGEST_FAIR)
    eighths = _MANY_SIZES if fair >= _MANY_ROWS else _FEW_SIZES
    return tuple(sorted({min(rows, fair * n // 8) for n in eighths}))


def _fold_blocks(group_sizes: Array, rows: int, step: Callable[[_Block, Carry], Carry], carry: Carry) -> Carry:
    """Fold `step` over all blocks that hold rows, in one loop for each size of window, the smallest that holds them."""
    sizes = _block_sizes(rows, group_sizes.shape[0])
    blocks = cut_blocks(group_sizes, rows, sizes[-1])
    kind = jnp.searchsorted(jnp.array((0, *sizes)), blocks.end - blocks.start, method="compare_all")
    order = jnp.argsort(kind)
    bounds = jnp.searchsorted(kind[order], jnp.arange(len(sizes) + 1), side="right", method="compare_all")
    for i, size in enumerate(sizes):

        def body(b, carry, size=size):
            start, end = blocks.start[order[b]], blocks.end[order[b]]
            # A window that would run past the last row begins earlier; the mask keeps what other groups have there.
            window = jnp.minimum(start, rows - size)
            row = window + jnp.arange(size)[:, None]
            return step(_Block(blocks.group[order[b]], window, size, (row >= start) & (row < end)), carry)

        carry = jax.lax.fori_loop(bounds[i], bounds[i + 1], body, carry)
    return carry
