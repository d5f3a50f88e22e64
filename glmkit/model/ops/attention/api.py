"""Chooses the backend of attention: by the platform that computes, and by whether its kernel takes the shapes.

What no kernel takes goes to plain JAX, which gives the same up to rounding: `tiled` or `reference` for whole sequences,
`blocked` for a cache.
"""

from importlib import import_module
from types import ModuleType

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glmkit.model.ops.attention import paged_cpu
from glmkit.model.ops.attention.blocked import attention_blocked
from glmkit.model.ops.attention.reference import attention_reference
from glmkit.model.ops.attention.tiled import attention_tiled

# For each platform the kernel of whole sequences and that of a cache.
_KERNELS = {"gpu": ("flash_gpu", "paged_gpu"), "tpu": ("splash_tpu", "paged_tpu")}


def attention(
    q: Float[Array, "B T KV G C"],
    k: Float[Array, "B T KV C"],
    v: Float[Array, "B T KV C"],
    segment_ids: Int[Array, "B T"],
    platform: str | None,
) -> Float[Array, "B T KV G C"]:
    """Each query sees the keys of its segment up to itself. `platform` as in JAX; None takes no kernel of any."""
    if platform == "cpu":
        return attention_tiled(q, k, v, segment_ids)
    for kernel in kernels(platform)[:1]:
        if kernel.supports(q):
            return kernel.attend(q, k, v, segment_ids)
    steps = jnp.arange(q.shape[1])
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    return attention_reference(q, k, v, same & (steps[:, None] >= steps))


def attention_cached(
    q: Float[Array, "B T KV G C"],
    k: Float[Array, "P KV S C"],
    v: Float[Array, "P KV S C"],
    table: Int[Array, "B N"],
    slots: Int[Array, "B T"],
    platform: str | None,
) -> Float[Array, "B T KV G C"]:
    """Each query sees the keys in slots `0 .. slots[b, t]` of its row, as `attention_blocked`, which defines it."""
    if platform == "cpu":
        return paged_cpu.attend(q, k, v, table, slots)
    for kernel in kernels(platform)[1:]:
        if kernel.supports(q, k, table):
            return kernel.attend(q, k, v, table, slots)
    return attention_blocked(q, k, v, table, slots)


def kernels(platform: str | None) -> tuple[ModuleType, ...]:
    """The modules of a platform's kernels, imported only now: those of other platforms stay unimported."""
    return tuple(import_module(f"glmkit.model.ops.attention.{name}") for name in _KERNELS.get(platform, ()))
