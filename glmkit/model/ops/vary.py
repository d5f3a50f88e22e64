"""One helper for loop carries under `jax.shard_map`, whose types say over which mesh axes a value varies."""

import jax
import jax.numpy as jnp


def vary_like(x: jax.Array, *like: jax.Array) -> jax.Array:
    """The constant `x` with a type that varies over every mesh axis that any of `like` varies over.

    For constants only: no derivative goes through it. Written as a selection that XLA folds away, because the
    attribute that holds the type changes between releases.
    """
    for array in like:
        x = jnp.where(True, x, array[(0,) * array.ndim].astype(x.dtype))
    return x
