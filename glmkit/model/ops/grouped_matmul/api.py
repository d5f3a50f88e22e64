"""Chooses the backend of the grouped product."""

from collections.abc import Callable
from importlib import import_module
from typing import Literal

from jaxtyping import Array, Float, Int

from glmkit.sharding import platform_of

Implementation = Literal["reference", "loop", "ragged", "pallas"]

_FOR_PLATFORM: dict[str, Implementation] = {"cpu": "loop", "gpu": "pallas", "tpu": "ragged"}


def grouped_matmul(
    x: Float[Array, "M K"],
    w: Float[Array, "G K N"],
    group_sizes: Int[Array, " G"],
    implementation: Implementation | None = None,
) -> Float[Array, "M N"]:
    """Multiply rows sorted by group with their group's matrix; rows past the last group give zeros.

    `implementation=None` takes the one for the platform of the mesh of `x`: `loop` on CPU, `pallas` on GPU, `ragged` on
    TPU; to compile for another one ahead of time, name it. Under `jax.shard_map` both operands must vary over the same
    mesh axes.
    """
    return backend(platform_of(x), implementation)(x, w, group_sizes)


def backend(platform: str, implementation: Implementation | None = None) -> Callable[[Array, Array, Array], Array]:
    """The function that `grouped_matmul` calls, imported only now: kernels of other platforms stay unimported."""
    name = implementation or _FOR_PLATFORM.get(platform, "ragged")
    return getattr(import_module(f"glmkit.model.ops.grouped_matmul.{name}"), f"grouped_matmul_{name}")
