"""One row times one matrix of a stack, at the speed of memory on CPU.

XLA's own product of one row runs on one core, copies a matrix picked by a traced index before it reads it, and is
slower still in bfloat16. Written as sums of slabs, the product is one elementwise pass over the matrix where it
lies, which XLA spreads over the cores.
"""

import functools
import math
import operator

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# Enough that what the pass leaves behind (1/8 of the matrix) is small, few enough that the slabs, which powers of
# two often put on the same cache lines, do not evict one another.
_SLABS = 8


@jax.jit
def row_product(row: Float[Array, " K"], w: Float[Array, "G K N"], group: Int[Array, ""] | int) -> Float[Array, "1 N"]:
    """`row @ w[group]`, accumulated and returned in float32 at least.

    Reads `w[group]` once and in place. Differentiating it works but is slow: callers with a gradient write their own.
    """
    _, length, width = w.shape
    slabs = math.gcd(length, _SLABS)
    height = length // slabs
    wide = jnp.promote_types(jnp.result_type(row, w), jnp.float32)

    def term(start: int) -> Float[Array, "k N"]:
        at = (jnp.int32(group), jnp.int32(start), jnp.int32(0))
        slab = jax.lax.dynamic_slice(w, at, (1, height, width), allow_negative_indices=False)[0]
        return row[start : start + height, None].astype(wide) * slab.astype(wide)

    partial = functools.reduce(operator.add, map(term, range(0, length, height)))
    # A product, not a sum, so that XLA does not fuse it with the pass above into strided reads.
    return jnp.ones((1, height), wide) @ partial
