"""The definition of the grouped product, dense and readable: every row against every group, masked."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def grouped_matmul_reference(
    x: Float[Array, "M K"], w: Float[Array, "G K N"], group_sizes: Int[Array, " G"]
) -> Float[Array, "M N"]:
    """Rows `[offset_g, offset_g + group_sizes[g])` of `x` times `w[g]`; rows past the last group give zeros.

    Accumulates in float32 at least, as every backend does; the result has the dtype of `x`.
    """
    ends = jnp.cumsum(group_sizes)
    rows = jnp.arange(x.shape[0])[:, None]
    member = (rows >= ends - group_sizes) & (rows < ends)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    return jnp.einsum("mk,gkn,mg->mn", x.astype(wide), w.astype(wide), member.astype(wide)).astype(x.dtype)
