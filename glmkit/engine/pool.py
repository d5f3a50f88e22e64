"""The pages of an engine: their memory on the devices, which grows when it is needed, and who has them."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from glmkit.engine.prefix import Lease, OutOfPages, PrefixTree
from glmkit.model import GLM, LayerCache
from glmkit.model.cache import LAYER_AXES
from glmkit.model.ops.attention.blocked import PAGE
from glmkit.parallel.planner import cache_bytes_per_device, free_bytes
from glmkit.sharding import partition_spec

__all__ = ["Pool"]

_FEWEST = 32  # pages that the memory begins with, for each part of the mesh's data axis


class Pool:
    """Pages for every layer of a model, on its mesh. Where that splits rows, each part has pages and a tree of its own.

    When there is no page left, what requests left behind goes, the oldest first; where running requests have them all,
    the memory doubles, up to `most` pages for each part. Steps consume `layers` and put the new ones in their place.
    """

    def __init__(self, model: GLM, max_len: int, kv_memory: int | None = None):
        self._model, self._mesh = model, model.embed[...].sharding.mesh
        self._parts = self._mesh.shape["data"]
        self._max_len, self._kv_memory = max_len, kv_memory
        self.layers: tuple[LayerCache, ...] | None = None
        self.trees: tuple[PrefixTree, ...] = ()

    @functools.cached_property
    def most(self) -> int:
        """Pages that there may be, for each part: at least those of one request of the longest context."""
        memory = self._kv_memory
        if memory is None:
            memory = free_bytes(self._mesh.devices.flat[0]) // 2
        return max(memory // cache_bytes_per_device(self._model, PAGE), -(-self._max_len // PAGE))

    @property
    def count(self) -> int:
        """Pages that there are, for each part."""
        return self.trees[0].count if self.trees else 0

    @property
    def lost(self) -> bool:
        """Whether a step that was interrupted consumed the memory."""
        return self.layers is not None and any(leaf.is_deleted() for leaf in jax.tree.leaves(self.layers))

    def lease(self, row: int, rows: int, prompt: Sequence[int]) -> tuple[PrefixTree, Lease]:
        """The tree of a row of a batch of `rows`, and a lease on what it knows of the prompt."""
        tree = self.trees[row * self._parts // rows]
        return tree, tree.lease(prompt)

    def prepare(self, pages: int) -> None:
        """Have room for so many pages in each part at least, if there may be so many."""
        if self.lost:
            self.release()
        wanted = min(self.most, max(_FEWEST, 1 << max(0, pages - 1).bit_length()))
        if self.layers is None:
            self.layers = self._model.empty_cache(self._parts, wanted * PAGE).layers
            self.trees = tuple(PrefixTree(wanted, PAGE) for _ in range(self._parts))
        elif wanted > self.count:
            self._grow(wanted)

    def extend(self, tree: PrefixTree, lease: Lease) -> int:
        """One more page for a request. Raises `OutOfPages` when all that there may be are in use."""
        try:
            return tree.extend(lease)
        except OutOfPages:
            if self.count >= self.most:
                raise
        self._grow(min(self.most, 2 * self.count))
        return tree.extend(lease)

    def forget(self) -> None:
        """What pages hold is of another model."""
        for tree in self.trees:
            tree.clear()

    def release(self) -> None:
        """Give the memory back. Requests that are running cannot go on."""
        self.layers, self.trees = None, ()

    def _grow(self, count: int) -> None:
        longer = functools.partial(_longer, more=count - self.count, mesh=self._mesh)
        self.layers = jax.tree.map(longer, self.layers)
        for tree in self.trees:
            tree.grow(count)


@functools.partial(jax.jit, static_argnames=("more", "mesh"))
def _longer(pages: jax.Array, more: int, mesh: Mesh) -> jax.Array:
    """`[*layers, P, ...]` with `more` pages in each part of the mesh's data axis."""
    axis = pages.ndim - 4
    spec = partition_spec((None,) * axis + LAYER_AXES)

    def pad(local):
        return jnp.pad(local, [(0, more if place == axis else 0) for place in range(local.ndim)])

    return jax.shard_map(pad, mesh=mesh, in_specs=spec, out_specs=spec)(pages)
