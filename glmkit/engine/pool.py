"""The pages of an engine: their memory on the devices, which grows when it is needed, and who has them."""

import functools
from collections.abc import Hashable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from glmkit.engine.prefix import Lease, OutOfPages, PrefixTree
from glmkit.errors import MemoryPlanError
from glmkit.model import GLM, LayerCache
from glmkit.model.cache import LAYER_AXES
from glmkit.model.ops.attention.blocked import PAGE
from glmkit.parallel.planner import cache_bytes_per_device, free_bytes, is_out_of_memory
from glmkit.sharding import partition_spec

__all__ = ["Pool", "pages_for"]

_FEWEST = 32  # pages that the memory begins with, for each part of the mesh's data axis
_SPARE = 2  # times what running requests need


def pages_for(tokens: int) -> int:
    """How many pages hold so many tokens."""
    return -(-tokens // PAGE)


class Pool:
    """Pages for every layer of a model, on its mesh. Where that splits rows, each part has pages and a tree of its own.

    The memory has room for twice what requests need that run together, as far as `most` pages allow: the rest is for
    what others left behind, of which the oldest goes first. Steps consume `layers` and put the new ones in their place.
    """

    def __init__(self, model: GLM, max_len: int, kv_memory: int | None = None, *, mtp: bool = False):
        self._model, self._mesh, self._mtp = model, model.embed[...].sharding.mesh, mtp
        self._max_len, self._kv_memory = max_len, kv_memory
        self._most: int | None = None
        self._page_bytes = cache_bytes_per_device(model, PAGE, mtp=mtp)
        self.parts = self._mesh.shape["data"]
        self.layers: tuple[LayerCache, ...] | None = None
        self.trees: tuple[PrefixTree, ...] = ()

    @property
    def most(self) -> int:
        """Pages that there may be, for each part: those of one request of the longest context, unless memory that was
        asked for was not there."""
        if self._most is None:
            memory = self._kv_memory or free_bytes(self._mesh.devices.flat[0]) // 2
            self._most = max(memory // self._page_bytes, pages_for(self._max_len))
        return self._most

    @property
    def count(self) -> int:
        """Pages that there are, for each part."""
        return self.trees[0].count if self.trees else 0

    @property
    def lost(self) -> bool:
        """Whether a step that was interrupted consumed the memory."""
        return self.layers is not None and any(leaf.is_deleted() for leaf in jax.tree.leaves(self.layers))

    @property
    def nbytes(self) -> int:
        """Of the memory on all devices."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(self.layers))

    def has_room(self, part: int, pages: int, prompt: Sequence[int], scope: Hashable) -> bool:
        """Whether a request may have so many pages now, with those that it would share."""
        tree = self.trees[part]
        return tree.room(prompt, scope) + self.most - tree.count >= pages

    def prepare(self, pages: int) -> None:
        """Have memory for requests that need `pages` more in each part, and for what will be left behind.

        It grows as far as the devices let it. Raises `MemoryPlanError` where there was none, and there is none to have.
        """
        if self.lost:
            self.release()
        in_use = max((tree.count - tree.available for tree in self.trees), default=0)
        wanted = min(self.most, max(_FEWEST, _SPARE << max(0, in_use + pages - 1).bit_length()))
        if self.layers is None:
            self.layers = self._allocated(wanted)
            self.trees = tuple(PrefixTree(wanted, PAGE) for _ in range(self.parts))
        elif wanted > self.count:
            self._grow(wanted)

    def extend(self, part: int, lease: Lease) -> int:
        """One more page for a request. Raises `OutOfPages` when all that there may be are in use."""
        tree = self.trees[part]
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
        self.layers, self.trees, self._most = None, (), None

    def read(self, part: int, pages: Sequence[int]) -> list[np.ndarray]:
        """What these pages hold, on the host: for each array of `layers` its pages, `[*layers, len(pages), ...]`."""
        read = functools.partial(_read, ids=self._ids(part, pages), mesh=self._mesh)
        start = part * self._ids(part, pages).shape[1]
        return [
            np.asarray(read(leaf)).take(range(start, start + len(pages)), axis=leaf.ndim - 4)
            for leaf in jax.tree.leaves(self.layers)
        ]

    def write(self, part: int, pages: Sequence[int], contents: Sequence[np.ndarray]) -> None:
        """Put into pages what `read` gave."""
        ids = self._ids(part, pages)
        leaves, structure = jax.tree.flatten(self.layers)
        written = []
        for leaf, content in zip(leaves, contents, strict=True):
            axis = leaf.ndim - 4
            room = [(0, ids.shape[1] - len(pages) if place == axis else 0) for place in range(leaf.ndim)]
            written.append(_write(leaf, jnp.asarray(np.pad(content, room), leaf.dtype), ids=ids, mesh=self._mesh))
        self.layers = jax.tree.unflatten(structure, written)

    def _allocated(self, pages: int) -> tuple[LayerCache, ...]:
        try:
            return jax.block_until_ready(self._empty(pages))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            fit = max(0, free_bytes(self._mesh.devices.flat[0])) // self._page_bytes * PAGE
            raise MemoryPlanError(
                f"the devices have no memory for the keys and values of {pages * PAGE} tokens, "
                f"{pages * self._page_bytes} bytes on each; about {fit} fit: free some, or lower kv_memory or max_len"
            ) from error

    def _empty(self, pages: int) -> tuple[LayerCache, ...]:
        return self._model.empty_cache(self.parts, pages * PAGE, mtp=self._mtp).layers

    @property
    def page_shapes(self) -> list[list[int | str]]:
        """For each array of `layers` the shape of its pages and its dtype."""
        leaves = jax.tree.leaves(self._empty(1) if self.layers is None else self.layers)
        return [[*leaf.shape[: leaf.ndim - 4], *leaf.shape[leaf.ndim - 3 :], str(leaf.dtype)] for leaf in leaves]

    def _ids(self, part: int, pages: Sequence[int]) -> np.ndarray:
        """`[parts, N]`: the pages of their part; elsewhere, and up to a power of two, a number beyond the last."""
        ids = np.full((self.parts, 1 << max(0, len(pages) - 1).bit_length()), self.count, np.int32)
        ids[part, : len(pages)] = pages
        return ids

    def _grow(self, count: int) -> None:
        """Where the devices have no memory for that beside what there is, this is the most until it is given back."""
        longer = functools.partial(_longer, more=count - self.count, mesh=self._mesh)
        try:
            self.layers = jax.block_until_ready(jax.tree.map(longer, self.layers))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._most = self.count
            return
        for tree in self.trees:
            tree.grow(count)


@functools.partial(jax.jit, static_argnames=("more", "mesh"))
def _longer(pages: jax.Array, more: int, mesh: Mesh) -> jax.Array:
    """`[*layers, P, ...]` with `more` pages in each part of the mesh's data axis."""
    axis, spec = _layout(pages)

    def pad(local):
        return jnp.pad(local, [(0, more if place == axis else 0) for place in range(local.ndim)])

    return jax.shard_map(pad, mesh=mesh, in_specs=spec, out_specs=spec)(pages)


@functools.partial(jax.jit, static_argnames="mesh")
def _read(pages: jax.Array, ids: jax.Array, mesh: Mesh) -> jax.Array:
    """`[*layers, parts * N, ...]`: the pages `ids` of each part."""
    axis, spec = _layout(pages)

    def take(local, ids):
        return jnp.take(local, ids[0], axis=axis, mode="clip")

    by_part = partition_spec(("batch", None))
    return jax.shard_map(take, mesh=mesh, in_specs=(spec, by_part), out_specs=spec)(pages, _placed(ids, mesh, by_part))


@functools.partial(jax.jit, static_argnames="mesh", donate_argnums=0)
def _write(pages: jax.Array, contents: jax.Array, ids: jax.Array, mesh: Mesh) -> jax.Array:
    """`pages` with `contents` in those of `ids` that there are."""
    axis, spec = _layout(pages)
    everywhere = partition_spec((None,) * axis + (None, *LAYER_AXES[1:]))

    def put(local, contents, ids):
        return local.at[(slice(None),) * axis + (ids[0],)].set(contents, mode="drop")

    by_part = partition_spec(("batch", None))
    given = pages, _placed(contents, mesh, everywhere), _placed(ids, mesh, by_part)
    return jax.shard_map(put, mesh=mesh, in_specs=(spec, everywhere, by_part), out_specs=spec)(*given)


def _layout(pages: jax.Array) -> tuple[int, PartitionSpec]:
    """Which axis of an array counts its pages, and how the array lies on the mesh."""
    axis = pages.ndim - 4
    return axis, partition_spec((None,) * axis + LAYER_AXES)


def _placed(x: jax.Array, mesh: Mesh, spec: PartitionSpec) -> jax.Array:
    return jax.sharding.reshard(x, NamedSharding(mesh, spec))
