"""Every backend of the grouped product against NumPy, values and gradients, in one class."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jax.sharding import AbstractDevice, AbstractMesh, AxisType, NamedSharding, PartitionSpec

from glmkit.model.ops.grouped_matmul import grouped_matmul
from glmkit.model.ops.grouped_matmul.loop import grouped_matmul_loop
from glmkit.model.ops.grouped_matmul.pallas import grouped_matmul_pallas
from glmkit.model.ops.grouped_matmul.ragged import grouped_matmul_ragged
from glmkit.model.ops.grouped_matmul.reference import grouped_matmul_reference

BACKENDS = {
    "reference": grouped_matmul_reference,
    "loop": grouped_matmul_loop,
    "ragged": grouped_matmul_ragged,
    "pallas": functools.partial(grouped_matmul_pallas, interpret=True),
}
AXES = ("data", "expert", "tensor", "seq")


class Shape(NamedTuple):
    rows: int
    contracted: int
    columns: int
    groups: int


# From a row a group on average, over both sides of each backend's change of block size, to one group; no side is a
# multiple of a tile. Few, because each is compiled for every backend.
SHAPES = [Shape(1, 1, 1, 1), Shape(5, 24, 9, 7), Shape(36, 7, 70, 8), Shape(45, 40, 12, 2), Shape(150, 70, 5, 1)]


@st.composite
def cases(draw) -> tuple[Shape, np.ndarray]:
    """A shape, and group sizes that sum to at most its rows; many groups are empty."""
    shape = draw(st.sampled_from(SHAPES))
    cuts = draw(st.lists(st.integers(0, shape.rows), min_size=shape.groups, max_size=shape.groups))
    return shape, np.diff(sorted(cuts), prepend=0).astype(np.int32)


@functools.cache
def operands(shape: Shape, dtype: str) -> tuple[jax.Array, jax.Array, jax.Array]:
    """x, w and the cotangent dy, in the dtype exactly."""
    m, k, n, g = shape
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.standard_normal(size), dtype) for size in ((m, k), (g, k, n), (m, n)))


@functools.cache
def compiled(name: str):
    """The product and its gradients: one program for each shape, whatever the group sizes."""

    @jax.jit
    def product_and_gradients(x, w, dy, sizes):
        y, pullback = jax.vjp(lambda x, w: BACKENDS[name](x, w, sizes), x, w)
        return y, *pullback(dy)

    return product_and_gradients


def expected(x, w, dy, sizes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The product and its gradients in float64, group by group."""
    x, w, dy = (np.asarray(a, np.float64) for a in (x, w, dy))
    y, dx, dw = np.zeros_like(dy), np.zeros_like(x), np.zeros_like(w)
    for g, (start, end) in enumerate(zip(np.cumsum(sizes) - sizes, np.cumsum(sizes), strict=True)):
        rows = slice(start, end)
        y[rows], dx[rows], dw[g] = x[rows] @ w[g], dy[rows] @ w[g].T, x[rows].T @ dy[rows]
    return y, dx, dw


def assert_right(results, arguments) -> None:
    """Within the bound on rounding of a float32 sum of any order, and of two roundings to the result's own dtype.

    The bound is zero, and the result has to be, where nothing is summed: in rows past the last group and in the
    gradient of a matrix without rows.
    """
    x, w, dy, sizes = arguments
    magnitudes = expected(*(np.abs(np.asarray(a, np.float64)) for a in (x, w, dy)), sizes)
    terms = max(*x.shape, w.shape[-1])
    for result, value, magnitude in zip(results, expected(*arguments), magnitudes, strict=True):
        assert result.dtype == x.dtype
        bound = 2 * terms * np.finfo(np.float32).eps * magnitude + float(jnp.finfo(x.dtype).eps) * np.abs(value)
        assert (np.abs(np.asarray(result, np.float64) - value) <= bound).all()


@pytest.mark.parametrize("name", BACKENDS)
class TestBackends:
    @given(case=cases(), dtype=st.sampled_from(["float32", "bfloat16"]))
    @settings(max_examples=40)
    def test_product_and_gradients_for_any_group_sizes(self, name, case, dtype):
        shape, sizes = case
        arguments = (*operands(shape, dtype), sizes)
        assert_right(compiled(name)(*arguments), arguments)

    @pytest.mark.smoke
    def test_types_under_shard_map(self, name):
        """On one device, where `check_vma` checks the type of every value all the same; called as the network does."""
        arguments = (*operands(SHAPES[1], "float32"), np.array([1, 0, 2, 0, 0, 1, 0], np.int32))
        backend = grouped_matmul_pallas if name == "pallas" else BACKENDS[name]
        specs = (PartitionSpec("data"), PartitionSpec("expert"), PartitionSpec("data"), PartitionSpec())

        @functools.partial(jax.shard_map, in_specs=specs, out_specs=(specs[0], specs[0], specs[1]))
        def product_and_gradients(x, w, dy, sizes):
            def product(x, w):
                x = jax.lax.pcast(x, "expert", to="varying")
                w = jax.lax.pcast(w, "data", to="varying")
                return jax.lax.psum(backend(x, w, sizes), "expert")

            y, pullback = jax.vjp(product, x, w)
            return y, *pullback(dy)

        if name == "pallas":  # JAX interprets no kernel under check_vma; tracing for a GPU checks the same types
            assert kernels_for_h100(product_and_gradients, arguments, specs) == 3
        else:
            with jax.set_mesh(jax.make_mesh((1,) * len(AXES), AXES)):
                placed = [jax.device_put(a, s) for a, s in zip(arguments, specs, strict=True)]
                assert_right(jax.jit(product_and_gradients)(*placed), arguments)


@pytest.mark.parametrize("name", ["loop", "pallas"])
def test_matrix_of_a_group_without_rows_is_not_read(name):
    for shape in SHAPES[1:3]:
        x, w, dy = operands(shape, "float32")
        sizes = np.zeros(shape.groups, np.int32)
        sizes[1] = shape.rows - 1
        y, dx, _ = compiled(name)(x, w.at[2:].set(jnp.nan).at[0].set(jnp.nan), dy, sizes)
        assert np.isfinite(y).all()
        assert np.isfinite(dx).all()


def test_default_backend_is_right_on_this_platform():
    x, w, dy = operands(SHAPES[2], "float32")
    sizes = jnp.array([0, 7, 0, 20, 3, 0, 0, 1])
    y, pullback = jax.vjp(jax.jit(lambda x, w: grouped_matmul(x, w, sizes)), x, w)
    assert_right((y, *pullback(dy)), (x, w, dy, sizes))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("rows", [8, 4096, 65536])
def test_kernels_lower_for_gpu_at_the_size_of_glm_4_5_air(rows, dtype):
    def product_and_gradients(x, w, sizes):
        y, pullback = jax.vjp(lambda x, w: grouped_matmul_pallas(x, w, sizes), x, w)
        return y, *pullback(y)

    shapes = (((rows, 4096), dtype), ((128, 4096, 2 * 1408), dtype), ((128,), "int32"))
    arguments = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
    assert kernels_for_h100(product_and_gradients, arguments, [PartitionSpec()] * 3) == 3


def kernels_for_h100(function, arguments, specs) -> int:
    """How many Triton kernels the function becomes on one H100, which need not be there."""
    h100 = AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", num_cores=132, platform="gpu")
    explicit = (AxisType.Explicit,) * len(AXES)
    mesh = AbstractMesh((1,) * len(AXES), AXES, axis_types=explicit, abstract_device=h100)
    shapes = [
        jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=NamedSharding(mesh, s))
        for a, s in zip(arguments, specs, strict=True)
    ]
    with jax.sharding.use_abstract_mesh(mesh):
        lowered = jax.jit(function).trace(*shapes).lower(lowering_platforms=("cuda",))
    return lowered.as_text().count("xla.gpu.triton")
