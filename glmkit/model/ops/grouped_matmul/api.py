"""Chooses the backend of the grouped product for the platform being compiled for."""

from collections.abc import Callable
from typing import Literal

import jax
from jaxtyping import Array, Float, Int

from glmkit.model.ops.grouped_matmul.loop import grouped_matmul_loop
from glmkit.model.ops.grouped_matmul.ragged import grouped_matmul_ragged
from glmkit.model.ops.grouped_matmul.reference import grouped_matmul_reference

Implementation = Literal["reference", "loop", "ragged", "pallas"]

_IMPLEMENTATIONS: dict[str, Callable[..., Array]] = {
    "reference": grouped_matmul_reference,
    "loop": grouped_matmul_loop,
    "ragged": grouped_matmul_ragged,
}


def grouped_matmul(
    x: Float[Array, "M K"],
    w: Float[Array, "G K N"],
    group_sizes: Int[Array, " G"],
    implementation: Implementation | None = None,
) -> Float[Array, "M N"]:
    """Multiply rows sorted by group with their group's matrix; rows past the last group give zeros.

    `implementation=None` lets XLA take the one for the platform it compiles for: `loop` on CPU, `pallas` on GPU,
    `ragged` on TPU.
    """
    if implementation is not None:
        return _IMPLEMENTATIONS[implementation](x, w, group_sizes)
    return jax.lax.platform_dependent(x, w, group_sizes, cpu=grouped_matmul_loop, default=grouped_matmul_ragged)
