"""The context cache as its users see it: how much it holds, and prefixes put on the disk and back."""

import hashlib
import json
import os
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from glmkit.engine.pool import Pool
from glmkit.engine.probing import Probe
from glmkit.engine.scheduler import Scheduler
from glmkit.engine.snapshot import CacheTree, snapshot
from glmkit.errors import CheckpointError, RequestError
from glmkit.model import GLM
from glmkit.model.adapter import adapted_places
from glmkit.model.ops.attention.blocked import PAGE
from glmkit.weights.arrays import write_arrays

__all__ = ["ContextCache", "fingerprint", "model_fingerprint"]

_FORMAT = "glmkit-context-3"


class ContextCache:
    """What an engine's pages hold of earlier prompts and answers: full pages of 256 tokens, whose keys and values a
    request that begins alike has for nothing."""

    def __init__(self, model: GLM, pool: Pool, scheduler: Scheduler, ask: Callable[[Callable[[], Any]], Any]):
        self._model, self._pool, self._scheduler, self._ask = model, pool, scheduler, ask

    @property
    def tokens(self) -> int:
        """How many tokens are known."""
        return PAGE * self._ask(lambda: sum(tree.cached for tree in self._pool.trees))

    def tree(self) -> CacheTree:
        """What is known, page by page, and which pages the requests that run have: as it is between two steps.

        Raises `RequestError` while requests run on weights that were changed since.
        """
        return self._ask(lambda: snapshot(self._pool, self._scheduler))

    @property
    def changes(self) -> int:
        """A number that differs once pages have changed hands: what to look at before `tree` is asked for again.

        It costs nothing, and waits for no step.
        """
        return sum(tree.changes for tree in self._pool.trees)

    def scope(self, probe: Probe | None) -> Hashable:
        """Whose pages a request that is probed so shares, as `KnownPage.scope` tells it."""
        if probe is None:
            return None
        return probe.exact_scope if self._scheduler.reproducible else probe.scope

    def clear(self) -> None:
        """Know nothing any more; requests that run are not disturbed."""
        self._ask(self._pool.forget)

    def save(self, path: str | os.PathLike[str]) -> int:
        """Write all that is known to one file, whole or not at all. Returns how many tokens it holds.

        Raises `CheckpointError` for a path that cannot be written to and for a full disk.
        """
        return self._ask(partial(self._save, path))

    def load(self, path: str | os.PathLike[str]) -> int:
        """Know what `save` wrote, beside what is known already. Returns how many tokens the file holds.

        Raises `CheckpointError` for a file that `save` did not write or that was damaged since, or of a model with
        another configuration, other weights or another dtype of the cache, or, for a reproducible engine, of one that
        is not; `RequestError` where the memory of keys and values has no room for it, saying how many tokens fit.
        """
        return self._ask(partial(self._load, path))

    def _save(self, path: str | os.PathLike[str]) -> int:
        tokens, parents, contents = [], [], []
        for part, tree in enumerate(self._pool.trees):
            nodes = list(tree.nodes(None))
            numbers = {id(node): len(tokens) + number for number, node in enumerate(nodes)}
            tokens += [node.tokens for node in nodes]
            parents += [numbers.get(id(node.parent), -1) for node in nodes]
            if nodes:
                contents.append(self._pool.read(part, [node.page for node in nodes]))
        arrays = {
            "tokens": np.asarray(tokens, np.int32).reshape(-1, PAGE),
            "parents": np.asarray(parents, np.int32),
        }
        for number, of_parts in enumerate(zip(*contents, strict=True)):
            arrays[f"pages.{number}"] = np.concatenate(of_parts, axis=of_parts[0].ndim - 4)
        arrays = {name: _as_bits(array) for name, array in arrays.items()}
        about = {"contents": _digest(arrays), "reproducible": str(self._scheduler.reproducible)}
        write_arrays(path, arrays, self._identity() | about)
        return len(tokens) * PAGE

    def _load(self, path: str | os.PathLike[str]) -> int:
        arrays = self._read(path)
        tokens, parents = arrays["tokens"].tolist(), arrays["parents"].tolist()
        if not tokens:
            return 0
        self._pool.prepare(len(tokens) + max((tree.cached for tree in self._pool.trees), default=0))
        tree = max(self._pool.trees, key=lambda tree: tree.free)
        if len(tokens) > tree.free:
            raise RequestError(
                f"{path} holds {len(tokens) * PAGE} tokens, and the memory of keys and values has room for "
                f"{tree.free * PAGE} more; clear the cache, or load the model with a larger kv_memory"
            )
        leaves = jax.tree.leaves(self._pool.layers)
        contents = [arrays[f"pages.{number}"].view(leaf.dtype) for number, leaf in enumerate(leaves)]
        lease, nodes = tree.lease(()), []
        try:
            pages = [tree.extend(lease) for _ in tokens]
            self._pool.write(self._pool.trees.index(tree), pages, contents)
            for piece, parent in zip(tokens, parents, strict=True):  # known once they are written
                nodes.append(tree.adopt(lease, lease.root if parent < 0 else nodes[parent], piece))
        except Exception as error:
            if self._pool.lost:  # with what runs in it
                self._scheduler.fail(error)
            raise
        finally:
            tree.end(lease)
        return len(tokens) * PAGE

    def _read(self, path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
        """What `_save` wrote, to the bit."""
        try:
            with safe_open(path, framework="numpy") as file:
                found = file.metadata() or {}
                self._check_identity(path, found)
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is no context that `save` wrote: {error}") from error
        if found.get("contents") != _digest(arrays):
            raise CheckpointError(f"{path} was damaged since `save` wrote it")
        return arrays

    def _identity(self) -> dict[str, str]:
        """What a file has to agree with to be of use to this model."""
        return {
            "format": _FORMAT,
            "configuration": json.dumps(self._model.config.to_hf(), sort_keys=True),
            "pages": json.dumps(self._pool.page_shapes),
            "weights": model_fingerprint(self._model),
        }

    def _check_identity(self, path: str | os.PathLike[str], found: dict[str, str]) -> None:
        if found.get("format") != _FORMAT:
            raise CheckpointError(f"{path} is no context that `save` wrote")
        for name, own in self._identity().items():
            if found.get(name) != own:
                what = "a cache of other shapes or another dtype" if name == "pages" else f"other {name}"
                raise CheckpointError(f"{path} was written by a model with {what}; its keys and values are of no use")
        if self._scheduler.reproducible and found.get("reproducible") != "True":
            raise CheckpointError(
                f"{path} was not written by a reproducible engine; its keys and values have other bits"
            )


def _as_bits(array: np.ndarray) -> np.ndarray:
    """The same bytes in a dtype of NumPy's own: bfloat16 is not."""
    own = array.dtype.kind in "iuf"
    return np.ascontiguousarray(array) if own else np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256, in hexadecimal, of the arrays with their names, dtypes and shapes."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def model_fingerprint(model: GLM) -> str:
    """`fingerprint`, and the scales of the adapters that there are, which no array holds."""
    return " ".join([fingerprint(model), *(str(place.parameter.scale) for place in adapted_places(model))])


def fingerprint(weights: Any) -> str:
    """SHA-256, in hexadecimal, of checksums of every array; exact, so that they are the same on every mesh."""
    sums = [(str(leaf.dtype), leaf.shape, np.asarray(_checksums(leaf)).tolist()) for leaf in jax.tree.leaves(weights)]
    return hashlib.sha256(repr(sums).encode()).hexdigest()


@jax.jit
def _checksums(x: jax.Array) -> jax.Array:
    """Two sums over all elements, modulo 2**32, of what MurmurHash3's finaliser makes of their bits and their place.

    Not of the bits times a number: what turns the sign of every element adds up to nothing in such a sum.
    """
    bits = jax.lax.bitcast_convert_type(x, f"uint{min(32, 8 * x.dtype.itemsize)}").astype(jnp.uint32)
    place = jnp.zeros((), jnp.uint32)
    for axis, size in enumerate(bits.shape):  # of eight bytes an element has two
        place = place * jnp.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis)
    seeds = (jnp.uint32(2654435761), jnp.uint32(2246822519))
    return jnp.stack([jnp.sum(_mixed(_mixed(place + seed) ^ bits), dtype=jnp.uint32) for seed in seeds])


def _mixed(x: jax.Array) -> jax.Array:
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ (x >> shift)) * jnp.uint32(factor)
    return x ^ (x >> 16)
