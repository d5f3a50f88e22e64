"""Grouped product as Pallas kernels that Triton compiles for GPU (written for H100): forward, dx and dw.

Each program owns one tile of the result and walks the contracted dimension. Block sizes follow the rows a group has
on average: with few rows (decode) tiles are narrow, so that enough programs read the weights at once.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float, Int

from glmkit.model.ops.grouped_matmul.schedule import cut_blocks
from glmkit.model.ops.vary import vary_like

# Float32 stays float32; without it Triton would round operands to TF32.
_EXACT = jax.lax.Precision.HIGHEST


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def grouped_matmul_pallas(
    x: Float[Array, "M K"], w: Float[Array, "G K N"], group_sizes: Int[Array, " G"], interpret: bool = False
) -> Float[Array, "M N"]:
    """As `grouped_matmul_reference`, accumulated in float32. `interpret` runs the kernels in plain JAX, anywhere."""
    return _product(x, w, group_sizes, transpose=False, interpret=interpret)


def _forward(x, w, group_sizes, interpret):
    return grouped_matmul_pallas(x, w, group_sizes, interpret), (x, w, group_sizes)


def _backward(interpret, residuals, dy):
    x, w, group_sizes = residuals
    dx = _product(dy, w, group_sizes, transpose=True, interpret=interpret)
    return dx, _weight_gradient(x, dy, w, group_sizes, interpret), None


grouped_matmul_pallas.defvjp(_forward, _backward)


class _Tiles(NamedTuple):
    """Rows, columns and contracted elements that one program handles at a time, and Triton's settings for them."""

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int

    @property
    def params(self) -> triton.CompilerParams:
        return triton.CompilerParams(num_warps=self.warps, num_stages=self.stages)


def _tiles(rows: int, groups: int, dtype: jnp.dtype) -> _Tiles:
    depth = 128 // jnp.dtype(dtype).itemsize  # one full line of memory
    match rows / groups:
        case fair if fair <= 16:  # limited by reading weights: deep, narrow tiles; 16 is the least a tensor core takes
            return _Tiles(16, 64, 2 * depth, warps=4, stages=4)
        case fair if fair <= 64:
            return _Tiles(64, 128, depth, warps=4, stages=4)
        case _:
            return _Tiles(128, 128, depth, warps=8, stages=3)


def _product(x: Array, w: Array, group_sizes: Array, transpose: bool, interpret: bool) -> Array:
    """`x @ w[g]`, or `x @ w[g].T`, by group. Neighbouring programs share rows, and groups of many rows their matrix."""
    groups, (rows, depth) = w.shape[0], x.shape
    width = w.shape[1 if transpose else 2]
    tiles = _tiles(rows, groups, x.dtype)
    # The rows past the last group are one more, which has no matrix: its blocks write zeros.
    rest = rows - group_sizes.sum(keepdims=True, dtype=group_sizes.dtype)
    blocks = cut_blocks(jnp.concatenate([group_sizes, rest]), rows, tiles.rows)

    def kernel(group_ref, start_ref, end_ref, x_ref, w_ref, out_ref):
        block = pl.program_id(1)
        group = group_ref[block]
        row, own_row = _window(start_ref[block], tiles.rows, end_ref[block])
        column, own_column = _window(pl.program_id(0) * tiles.columns, tiles.columns, width)

        def accumulate(step, total):
            inner, own_inner = _window(step * tiles.depth, tiles.depth, depth)
            left = _load(x_ref.at[row, inner], own_row, own_inner)
            if transpose:
                right = _load(w_ref.at[group, column, inner], own_column, own_inner)
            else:
                right = _load(w_ref.at[group, inner, column], own_inner, own_column)
            return total + triton.dot(left, right, trans_b=transpose, precision=_EXACT)

        @pl.when(start_ref[block] < end_ref[block])
        def _():
            # Not jnp.where, of whose constant branches JAX 0.10 makes booleans when it lowers to Triton.
            steps = (group < groups) * pl.cdiv(depth, tiles.depth)
            total = jax.lax.fori_loop(0, steps, accumulate, jnp.zeros((tiles.rows, tiles.columns), jnp.float32))
            _store(out_ref.at[row, column], total, own_row, own_column)

    return pl.pallas_call(
        kernel,
        out_shape=_shape((rows, width), x.dtype, x, w),
        grid=(pl.cdiv(width, tiles.columns), blocks.group.shape[0]),
        compiler_params=tiles.params,
        interpret=interpret,
        name="grouped_matmul",
    )(*blocks, x, w)


def _weight_gradient(x: Array, dy: Array, w: Array, group_sizes: Array, interpret: bool) -> Array:
    """`dw[g] = x_g.T @ dy_g`: each program walks all rows of its group."""
    groups, height, width = w.shape
    tiles = _tiles(x.shape[0], groups, x.dtype)
    ends = jnp.cumsum(group_sizes)

    def kernel(start_ref, end_ref, x_ref, dy_ref, out_ref):
        column, own_column = _window(pl.program_id(0) * tiles.columns, tiles.columns, width)
        line, own_line = _window(pl.program_id(1) * tiles.rows, tiles.rows, height)
        group = pl.program_id(2)
        start, end = start_ref[group], end_ref[group]

        def accumulate(step, total):
            row, own_row = _window(start + step * tiles.depth, tiles.depth, end)
            left = _load(x_ref.at[row, line], own_row, own_line)
            right = _load(dy_ref.at[row, column], own_row, own_column)
            return total + triton.dot(left, right, trans_a=True, precision=_EXACT)

        zeros = jnp.zeros((tiles.rows, tiles.columns), jnp.float32)
        total = jax.lax.fori_loop(0, pl.cdiv(end - start, tiles.depth), accumulate, zeros)
        _store(out_ref.at[group, line, column], total, own_line, own_column)

    return pl.pallas_call(
        kernel,
        out_shape=_shape(w.shape, w.dtype, x, dy),
        grid=(pl.cdiv(width, tiles.columns), pl.cdiv(height, tiles.rows), groups),
        compiler_params=tiles.params,
        interpret=interpret,
        name="grouped_matmul_dw",
    )(ends - group_sizes, ends, x, dy)


def _window(start: Array | int, size: int, end: Array | int) -> tuple[pl.Slice, Array]:
    """`size` indices from `start`, and which of them lie before `end`."""
    return pl.ds(start, size), start + jnp.arange(size) < end


def _load(ref, own_row: Array, own_column: Array) -> Array:
    return triton.load(ref, mask=own_row[:, None] & own_column[None, :], other=0)


def _store(ref, tile: Array, own_row: Array, own_column: Array) -> None:
    triton.store(ref, tile.astype(ref.dtype), mask=own_row[:, None] & own_column[None, :])


def _shape(shape: tuple[int, ...], dtype: jnp.dtype, *like: Array) -> jax.ShapeDtypeStruct:
    """A result of this shape that varies over the mesh axes its operands vary over."""
    return jax.eval_shape(lambda *like: vary_like(jnp.zeros(shape, dtype), *like), *like)
