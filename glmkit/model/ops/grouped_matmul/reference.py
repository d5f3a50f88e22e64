"""The definition of the grouped product, dense and readable: every row against every group, masked."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def grouped_matmul_reference(
    x: Float[Array, "M K"], w: Float[Array, "G K N"], group_sizes: Int[Array, " G"]
) -> Float[Array, "M N"]:
    """Rows `[offset_g, offset_g + group_sizes[g])` of `x` times `w[g]`; rows past the last group give zeros."""
    ends = jnp.cumsum(group_sizes)
    rows = jnp.arange(x.shape[0])[:, None]
    member = (rows >= ends - group_sizes) & (rows < ends)
    return jnp.einsum("mk,gkn,mg->mn", x, w, member.astype(x.dtype))
