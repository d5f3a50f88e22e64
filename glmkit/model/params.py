"""How a parameter is declared, once: shape, dtype, logical axes, initialiser, and its place in the checkpoint.

Initialisation, sharding, conversion in both directions, freezing masks and memory planning all read this declaration
off the Variable; there is no second table.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn.initializers import Initializer
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import DTypeLike

from glmkit.config import GLMConfig
from glmkit.errors import ConfigError, MeshError
from glmkit.sharding import constrain, partition_spec

Shape = tuple[int, ...]
Axes = tuple[str, ...]
LAYERS = "layers"  # the axis that stacking blocks prepends to each of their parameters
_GATE_UP = ("gate_proj", "up_proj")


class Buffer(nnx.Variable):
    """An array that the forward pass reads and no optimiser touches, such as the router's correction bias."""


@dataclass(frozen=True)
class HFLayout:
    """Where a parameter lies in the released checkpoint.

    `name` is the tensor's name inside its block. A logical axis in braces, as in `experts.{expert}.{gate_up}.weight`,
    is spread over one tensor per index. `contract` says how the remaining axes are stored: the first `contract` of them
    are the inputs of a linear map, stored `[out, in]` with both sides flattened; 0 is a vector; None is stored as is.
    """

    name: str
    contract: int | None = 0

    def spreads(self, axis: str) -> bool:
        """Whether `axis` is enumerated in tensor names instead of being a dimension of one tensor."""
        return axis == LAYERS or f"{{{axis}}}" in self.name


@dataclass(frozen=True)
class HFTensor:
    """One tensor of the released checkpoint and the part of a parameter that it holds."""

    name: str
    shape: tuple[int, ...]
    index: tuple[int | slice, ...]  # into the parameter
    contract: int | None

    def row_blocks(self, rows: int) -> Iterator[tuple[slice, "HFTensor"]]:
        """The tensor in blocks of at most `rows` rows, where its rows are one axis of the parameter; else whole."""
        whole = [axis for axis, at in enumerate(self.index) if at == slice(None)]
        if len(self.shape) != 2 or len(whole) != 2:
            yield slice(None), self
            return
        axis = whole[-1] if self.contract else whole[0]
        for start in range(0, self.shape[0], rows):
            block = slice(start, min(start + rows, self.shape[0]))
            index = (*self.index[:axis], block, *self.index[axis + 1 :])
            yield block, replace(self, shape=(block.stop - block.start, self.shape[1]), index=index)

    def from_hf(self, tensor, part_shape: tuple[int, ...]):
        """The checkpoint's array, laid out as the part of the parameter at `index` (a view where possible)."""
        return tensor.T.reshape(part_shape) if self.contract else tensor.reshape(part_shape)

    def to_hf(self, part):
        """The part of the parameter at `index`, laid out as the checkpoint stores it."""
        return part.reshape(self.shape[::-1]).T if self.contract else part.reshape(self.shape)


@dataclass(frozen=True)
class Init:
    """Declares the parameters of a model: carries the random keys, the dtype, and the mesh they are born on.

    Without random keys it makes shapes, dtypes and shardings only (`jax.ShapeDtypeStruct`), and no memory. Every
    Variable it makes has its declaration attached as hashable metadata: `axes` and `hf`. Raises `MeshError` naming
    the parameter when the mesh does not divide one of its axes.
    """

    config: GLMConfig
    rngs: nnx.Rngs | None
    dtype: DTypeLike
    mesh: Mesh
    rules: Mapping[str, str]

    def matrix(self, name: str, shape: Shape, axes: Axes, contract: int | None = 1) -> nnx.Param:
        """A normally initialised weight with `contract` input axes (see `HFLayout`)."""
        normal = _normal(self.config.initializer_range)
        return self._declare(nnx.Param, HFLayout(name, contract), shape, axes, normal, self.dtype)

    def ones(self, name: str, shape: Shape, axes: Axes) -> nnx.Param:
        return self._declare(nnx.Param, HFLayout(name), shape, axes, jax.nn.initializers.ones, self.dtype)

    def zeros(self, name: str, shape: Shape, axes: Axes) -> nnx.Param:
        return self._declare(nnx.Param, HFLayout(name), shape, axes, jax.nn.initializers.zeros, self.dtype)

    def buffer(self, name: str, shape: Shape, axes: Axes) -> Buffer:
        """Zeros that are never trained, in float32 at least."""
        dtype = jnp.promote_types(self.dtype, jnp.float32)
        return self._declare(Buffer, HFLayout(name), shape, axes, jax.nn.initializers.zeros, dtype)

    def _declare(self, kind, hf: HFLayout, shape: Shape, axes: Axes, init, dtype: DTypeLike):
        spec = partition_spec(axes, self.rules)
        for size, axis, mesh_axis in zip(shape, axes, spec, strict=True):
            if mesh_axis and size % self.mesh.shape[mesh_axis]:
                raise MeshError(
                    f"{hf.name}: axis '{axis}' of size {size} does not split over mesh axis "
                    f"'{mesh_axis}' of size {self.mesh.shape[mesh_axis]}; choose a divisor of {size}"
                )
        sharding = NamedSharding(self.mesh, spec)
        if self.rngs is None:
            return kind(jax.ShapeDtypeStruct(shape, dtype, sharding=sharding), axes=axes, hf=hf)
        return kind(born(init, shape, jnp.dtype(dtype), sharding)(self.rngs.params()), axes=axes, hf=hf)


@functools.lru_cache
def _normal(stddev: float) -> Initializer:
    return jax.nn.initializers.normal(stddev)


@functools.lru_cache(maxsize=1024)
def born(
    init: Initializer, shape: Shape, dtype: jnp.dtype, sharding: NamedSharding
) -> Callable[[jax.Array], jax.Array]:
    """The compiled initialiser of all parameters of one shape, which never holds the array unsharded."""
    return jax.jit(lambda key: init(key, shape, dtype), out_shardings=sharding)


def weight(variable: nnx.Variable, like: jax.Array) -> jax.Array:
    """The value to compute with: on the mesh of the activation `like`, gathered if it is stored fully sharded."""
    value = variable[...]
    return constrain(value, *variable.axes[-value.ndim :], like=like)


def hf_tensors(variable: nnx.Variable, prefix: str, layer_numbers: Sequence[int] = ()) -> Iterator[HFTensor]:
    """The checkpoint tensors that make up one parameter, in the order of the parameter's axes.

    `prefix` is put before the layout's name and may hold `{layers}`; `layer_numbers` are those of the block or stack.
    """
    layout, axes, shape = variable.hf, variable.axes, variable.shape
    labels = {LAYERS: layer_numbers, "gate_up": _GATE_UP}
    spread = [axis for axis in axes if layout.spreads(axis)]
    kept = [size for axis, size in zip(axes, shape, strict=True) if axis not in spread]
    sizes = [range(shape[axes.index(axis)]) for axis in spread]
    for position in itertools.product(*sizes):
        at = dict(zip(spread, position, strict=True))
        names = {axis: labels[axis][i] if axis in labels else i for axis, i in at.items()}
        if LAYERS not in names and layer_numbers:
            names[LAYERS] = layer_numbers[0]
        yield HFTensor(
            name=(prefix + layout.name).format(**names),
            shape=_stored_shape(kept, layout.contract),
            index=tuple(at.get(axis, slice(None)) for axis in axes),
            contract=layout.contract,
        )


def _stored_shape(kept: list[int], contract: int | None) -> tuple[int, ...]:
    if contract is None:
        return tuple(kept)
    if contract == 0:
        return (math.prod(kept),)
    return math.prod(kept[contract:]), math.prod(kept[:contract])


def is_variable(leaf: object) -> bool:
    """For `jax.tree.map(..., is_leaf=is_variable)`: stop at Variables, so that their declarations can be read."""
    return isinstance(leaf, nnx.Variable)


def map_variables(function: Callable[..., nnx.Variable], *modules: nnx.Module) -> nnx.Module:
    """`jax.tree.map` over the Variables of modules of one structure."""
    return jax.tree.map(function, *modules, is_leaf=is_variable)


def stack(blocks: Sequence[nnx.Module]) -> nnx.Module:
    """One module whose every parameter has a leading `layers` axis over `blocks`.

    Raises `ConfigError` for blocks that differ: each has to have the same adapters, or none.
    """
    kinds = {(jax.tree.structure(b), tuple(leaf.shape for leaf in jax.tree.leaves(b))) for b in blocks}
    if len(kinds) > 1:
        raise ConfigError("these layers have adapters that differ, which a stack cannot hold; merge_lora(model) first")

    def stacked(*layers: nnx.Variable) -> nnx.Variable:
        values = [layer.get_value() for layer in layers]
        one = values[0]
        if isinstance(one, jax.ShapeDtypeStruct):
            sharding = NamedSharding(one.sharding.mesh, PartitionSpec(None, *one.sharding.spec))
            value = jax.ShapeDtypeStruct((len(values), *one.shape), one.dtype, sharding=sharding)
        else:
            value = jnp.stack(values)
        return layers[0].replace(value, axes=(LAYERS, *layers[0].axes))

    return map_variables(stacked, *blocks)


def unstack(stacked: nnx.Module) -> list[nnx.Module]:
    """The blocks of a stack, each parameter an array of its own."""
    depth = jax.tree.leaves(stacked)[0].shape[0]

    def layer(index: int) -> nnx.Module:
        return map_variables(lambda v: v.replace(v[...][index], axes=v.axes[1:]), stacked)

    return [layer(index) for index in range(depth)]
