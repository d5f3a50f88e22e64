"""Does a model fit its devices? Told from shapes and shardings, before a byte is read.

Counts parameters and the KV cache; activations, small beside them, are not counted.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from glmkit import host
from glmkit.errors import MemoryPlanError
from glmkit.model import GLM, Buffer, KVCache
from glmkit.model.adapter import LoRAParam
from glmkit.model.cache import LAYER_AXES
from glmkit.model.ops.attention.blocked import PAGE
from glmkit.model.params import map_variables
from glmkit.sharding import partition_spec


def bytes_per_device(model: GLM, mesh: Mesh | AbstractMesh | None = None) -> int:
    """Bytes of parameters that each device holds, on the model's mesh or, split by the same rules, on `mesh`.

    The model may be abstract (`rngs=None`).
    """
    mesh = mesh or _mesh_of(model)
    return sum(_shard_bytes(leaf, mesh, leaf.sharding.spec) for leaf in jax.tree.leaves(model))


def cache_bytes_per_device(
    model: GLM,
    max_len: int,
    rows: int | None = None,
    mesh: Mesh | AbstractMesh | None = None,
    mtp: bool = False,
) -> int:
    """Bytes of keys and values on each device, for `rows` sequences of up to `max_len` tokens.

    With `mtp` those of the multi-token-prediction layer are among them. `rows` defaults to the fewest the mesh can
    hold, one for each index of its data axis.
    """
    mesh = mesh or _mesh_of(model)
    rows = mesh.shape["data"] if rows is None else rows
    dtype = model.embed.get_value().dtype
    one_layer = KVCache.abstract(model.config, (None,), rows, max_len, dtype, mesh).layers
    spec = partition_spec(LAYER_AXES)
    return (len(model.layer_numbers) + mtp) * sum(
        _shard_bytes(array, mesh, spec) for array in jax.tree.leaves(one_layer)
    )


def _mesh_of(model: GLM) -> Mesh | AbstractMesh:
    """The mesh that the model's parameters are, or are to be, placed on."""
    return model.embed.get_value().sharding.mesh


def free_bytes(device: jax.Device) -> int:
    """Free memory of an accelerator; on CPU that of the host, which all CPU devices share."""
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return host.memory().free


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that the devices, or the host, had too little memory."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


@dataclass(frozen=True)
class Plan:
    """A model and a cache of `max_len` tokens (0: none) on a mesh, and the bytes each device holds of them."""

    model: GLM
    max_len: int
    mesh: Mesh | AbstractMesh

    @cached_property
    def weights(self) -> int:
        """Bytes of parameters on each device."""
        return bytes_per_device(self.model, self.mesh)

    @cached_property
    def cache(self) -> int:
        """Bytes of the KV cache on each device."""
        return cache_bytes_per_device(self.model, self.max_len, mesh=self.mesh) if self.max_len else 0

    @property
    def needed(self) -> int:
        """Bytes of both."""
        return self.weights + self.cache

    def in_bfloat16(self) -> "Plan":
        """The plan with trained parameters in bfloat16; buffers and adapters keep their dtype."""

        def narrowed(variable: nnx.Variable) -> nnx.Variable:
            if isinstance(variable, Buffer | LoRAParam):
                return variable
            return variable.replace(variable.get_value().update(dtype=jnp.bfloat16))

        return replace(self, model=map_variables(narrowed, self.model))

    def over_experts(self, size: int) -> "Plan":
        """The plan on a mesh whose expert axis has `size` devices."""
        sizes = {**self.mesh.shape, "expert": size}
        return replace(self, mesh=AbstractMesh(tuple(sizes.values()), tuple(sizes), axis_types=self.mesh.axis_types))


def require_fit(model: GLM, max_len: int) -> None:
    """Raise `MemoryPlanError` unless parameters and a cache of `max_len` tokens (0: none) fit every device.

    `model` is abstract, on the mesh it is to be placed on. The error says what is needed and what is free, and which
    other dtype, `max_len` or mesh would fit.
    """
    mesh = _mesh_of(model)
    plan = Plan(model, max_len, mesh)
    free = _free_per_device(mesh)
    if plan.needed <= free:
        return
    # Another CPU device is a share of the same memory, and no help.
    fits = _nearest_fits(plan, free, more_devices=mesh.devices.flat[0].platform != "cpu")
    advice = "; ".join(fits) or "no other dtype, max_len or expert axis"
    raise MemoryPlanError(
        f"{_gib(plan.needed)} are needed on each device ({_gib(plan.weights)} of weights in "
        f"{model.embed.get_value().dtype}, {_gib(plan.cache)} of KV cache for max_len={plan.max_len}), "
        f"{_gib(free)} are free. What would fit: {advice}"
    )


def _nearest_fits(plan: Plan, free: int, *, more_devices: bool) -> Iterator[str]:
    """Changes that make the plan fit: bfloat16, a shorter cache, a longer expert axis, or one of these in bfloat16."""
    yield from _fits(plan, free, "", more_devices)
    narrow = plan.in_bfloat16()
    if narrow.needed <= free:
        yield f"dtype=bfloat16 ({_gib(narrow.needed)})"
    elif narrow.needed < plan.needed:
        yield from _fits(narrow, free, "dtype=bfloat16 with ", more_devices)


def _fits(plan: Plan, free: int, prefix: str, more_devices: bool) -> Iterator[str]:
    if length := _longest(plan, free):
        yield f"{prefix}max_len={length}"
    if more_devices and (wider := _wider(plan, free)):
        yield (
            f"{prefix}a mesh with expert={wider.mesh.shape['expert']}, {wider.mesh.size} devices like these "
            f"({_gib(wider.needed)} on each)"
        )


def _longest(plan: Plan, free: int) -> int:
    """The largest `max_len` up to the plan's that fits, in whole blocks of the cache; 0 if not even one block does."""
    per_page = cache_bytes_per_device(plan.model, PAGE, mesh=plan.mesh)
    return min(max(free - plan.weights, 0) // per_page * PAGE, plan.max_len)


def _wider(plan: Plan, free: int) -> Plan | None:
    """The plan on the smallest larger expert axis that fits, among those that divide the experts."""
    experts = plan.model.config.n_routed_experts
    sizes = (size for size in range(plan.mesh.shape["expert"] + 1, experts + 1) if experts % size == 0)
    return next((wider for wider in map(plan.over_experts, sizes) if wider.needed <= free), None)


def _free_per_device(mesh: Mesh) -> int:
    """The least that a local device of the mesh has free; devices that are the host's share its memory."""
    local = mesh.local_devices
    least = min(free_bytes(device) for device in local)
    return least // len(local) if local[0].platform == "cpu" else least


def _shard_bytes(array: jax.Array | jax.ShapeDtypeStruct, mesh: Mesh | AbstractMesh, spec: PartitionSpec) -> int:
    return math.prod(NamedSharding(mesh, spec).shard_shape(array.shape)) * array.dtype.itemsize


def _gib(nbytes: int) -> str:
    return f"{nbytes / 2**30:.3g} GiB"
