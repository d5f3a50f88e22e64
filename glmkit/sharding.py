"""Logical axes of parameters and activations, and the rules that map them to mesh axes.

Holds names and rules only, no devices: `glmkit.parallel` builds meshes. The mesh is never passed around or looked up
in a context; it travels in the type of every array (`jax.typeof(x).sharding`), as JAX's explicit sharding mode does.
"""

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec
from jaxtyping import DTypeLike

MESH_AXES = ("data", "expert", "tensor", "seq")

# How a value is laid out while it is computed with. An axis that is not named here is not split.
COMPUTE_RULES = {
    "batch": "data",
    "heads": "tensor",
    "kv_heads": "tensor",
    "mlp": "tensor",
    "vocab": "tensor",
    "expert": "expert",
}
# Fully sharded parameters are additionally split over `data` where they are stored, and gathered where they are used.
FSDP_RULES = {**COMPUTE_RULES, "embed": "data"}


def partition_spec(axes: tuple[str | None, ...], rules: dict[str, str] = COMPUTE_RULES) -> PartitionSpec:
    """The PartitionSpec of an array whose dimensions carry the logical names `axes`."""
    return PartitionSpec(*(rules.get(axis) if axis else None for axis in axes))


def mesh_of(x: jax.Array) -> AbstractMesh:
    """The mesh in the type of `x`; empty when `x` was never placed on one."""
    return jax.typeof(x).sharding.mesh


def platform_of(x: jax.Array | Mesh | AbstractMesh) -> str:
    """The platform ("cpu", "gpu", "tpu") of a mesh, or of that in the type of `x`; JAX's default without devices."""
    mesh = x if isinstance(x, Mesh | AbstractMesh) else mesh_of(x)
    device = (mesh.abstract_mesh if isinstance(mesh, Mesh) else mesh).abstract_device
    return jax.default_backend() if device is None else device.platform


def named_sharding(like: jax.Array, *axes: str | None) -> NamedSharding | None:
    """The sharding of an array with logical `axes` on the mesh of `like`; None when `like` is on no mesh."""
    mesh = mesh_of(like)
    return None if mesh.empty else NamedSharding(mesh, partition_spec(axes))


def constrain(x: jax.Array, *axes: str | None, like: jax.Array | None = None) -> jax.Array:
    """Lay `x` out by its logical axes on its own mesh, or on the mesh of `like`; free when it already is."""
    sharding = named_sharding(x if like is None else like, *axes)
    return x if sharding is None else jax.sharding.reshard(x, sharding)


def zeros_like(x: jax.Array, dtype: DTypeLike | None = None) -> jax.Array:
    """`jnp.zeros_like`, laid out as `x` by its type too: which JAX 0.11 and 0.12 forget where no mesh is set."""
    sharding = jax.typeof(x).sharding
    zeros = jnp.zeros_like(x, dtype)
    return zeros if sharding.mesh.empty else jax.sharding.reshard(zeros, sharding)


def handed_out(x: jax.Array) -> jax.Array:
    """`x` without the mesh axes of size one in its type.

    What leaves the network goes through here, so that on one device it can be indexed and gathered as any array.
    """
    sharding = jax.typeof(x).sharding
    if sharding.mesh.empty:
        return x
    spec = PartitionSpec(*(axis if axis and sharding.mesh.shape[axis] > 1 else None for axis in sharding.spec))
    return jax.sharding.reshard(x, NamedSharding(sharding.mesh, spec))
