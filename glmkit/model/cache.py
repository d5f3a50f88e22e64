"""The KV cache: pages of keys and values for every layer, a plain pytree that is passed in and returned.

Holds where tokens go and how far each row is filled; `attention.py` writes and reads it. Who owns which page is decided
elsewhere: rows may share pages that neither writes to any more.
"""

import dataclasses
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding
from jaxtyping import Array, DTypeLike, Float, Int

from glmkit.config import GLMConfig
from glmkit.model.ops.attention.blocked import PAGE
from glmkit.sharding import partition_spec, platform_of

LAYER_AXES = ("batch", "kv_heads", None, None)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LayerCache:
    """Keys and values of one layer, or of a stack of layers with one more leading axis."""

    k: jax.Array  # [*layers, P, KV, PAGE, C]
    v: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVCache:
    """One `LayerCache` per block of the model, and for each row its pages and how many tokens it holds.

    `table` numbers the pages of a row in the order of its tokens. Where the mesh splits rows, each part has its own
    pages, numbered from 0.
    """

    layers: tuple[LayerCache, ...]
    table: jax.Array  # [B, N], int32
    length: jax.Array  # [B], int32

    @classmethod
    def abstract(
        cls,
        config: GLMConfig,
        layer_counts: tuple[int | None, ...],
        rows: int,
        capacity: int,
        dtype: DTypeLike,
        mesh: Mesh | AbstractMesh,
    ) -> Self:
        """The shapes and shardings of a cache for `rows` sequences of up to `capacity` tokens, laid out on `mesh`.

        `layer_counts` is `GLM.layer_counts`: the depth of each stack, None for a block held by itself.
        """
        per_row = -(-capacity // PAGE)
        shape = (rows * per_row, config.num_key_value_heads, PAGE, config.head_dim)

        def layer(count: int | None) -> LayerCache:
            lead = () if count is None else (count,)
            spec = partition_spec((*(None for _ in lead), *LAYER_AXES))
            one = jax.ShapeDtypeStruct((*lead, *shape), dtype, sharding=NamedSharding(mesh, spec))
            return LayerCache(one, one)

        by_row = NamedSharding(mesh, partition_spec(("batch",)))
        table = jax.ShapeDtypeStruct((rows, per_row), jnp.int32, sharding=by_row)
        length = jax.ShapeDtypeStruct((rows,), jnp.int32, sharding=by_row)
        return cls(tuple(layer(count) for count in layer_counts), table, length)

    def allocated(self) -> Self:
        """An empty cache of these shapes and shardings, in which each row has its own pages."""
        empty = _zeros(self, on_host=platform_of(self.length.sharding.mesh) == "cpu")
        rows, per_row = self.table.shape
        local = np.arange(rows) % (rows // self.table.sharding.mesh.shape["data"])
        table = (local[:, None] * per_row + np.arange(per_row)).astype(np.int32)
        return dataclasses.replace(empty, table=jax.device_put(table, self.table.sharding, may_alias=False))

    @property
    def capacity(self) -> int:
        """Tokens a row can hold."""
        return self.table.shape[1] * PAGE

    def slots(self, valid: Array) -> Int[Array, "B T"]:
        """Where each new token goes, counting only the valid ones of its row; -1 for padding."""
        return jnp.where(valid, self.length[:, None] + jnp.cumsum(valid, axis=1, dtype=jnp.int32) - 1, -1)

    def emptied(self) -> Self:
        """The same memory with every row empty."""
        return dataclasses.replace(self, length=jnp.zeros_like(self.length))


def cleared(
    cache: Float[Array, "P KV S C"], table: Int[Array, "B N"], slots: Int[Array, "B T"]
) -> Float[Array, "P KV S C"]:
    """With zeros in the page that the tokens about to be written at `slots` of a row end in, if they begin it.

    Whoever had the page before may have left NaN there, which is NaN with any weight: for kernels that read whole pages
    and weigh by 0 what a row does not hold.
    """
    size = cache.shape[2]
    first = jnp.where(slots < 0, jnp.iinfo(slots.dtype).max, slots).min(1)
    last = slots.max(1) // size
    begun = (first <= last * size) & (last < table.shape[1])
    page = jnp.take_along_axis(table, jnp.where(begun, last, 0)[:, None], axis=1)[:, 0]
    zeros = jnp.zeros((table.shape[0], *cache.shape[1:]), cache.dtype)
    return cache.at[jnp.where(begun, page, cache.shape[0])].set(zeros, mode="drop")


def _zeros(abstract: KVCache, on_host: bool) -> KVCache:
    """The arrays of these shapes and shardings: the host's, where a program would take longer to make than to run, or
    made by one program on the devices, where there is memory to fill that the host need not have."""
    if on_host:
        return jax.tree.map(
            lambda leaf: jax.device_put(np.zeros(leaf.shape, leaf.dtype), leaf.sharding, may_alias=False), abstract
        )
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    return jax.jit(
        lambda: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), abstract), out_shardings=shardings
    )()
