"""The definition of grouped-query attention, with the scores in memory at once; differentiable."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

MASKED = -1e30  # finite, so that a query that sees no key (padding) gives a finite result nobody reads


def attention_reference(
    q: Float[Array, "B T KV G C"],
    k: Float[Array, "B S KV C"],
    v: Float[Array, "B S KV C"],
    visible: Bool[Array, "B T S"],
) -> Float[Array, "B T KV G C"]:
    """Softmax of scaled scores in float32 over the keys each query may see; `G` query heads share one key head."""
    return jnp.einsum("bkgts,bskc->btkgc", attention_weights(q, k, visible).astype(v.dtype), v)


def attention_weights(
    q: Float[Array, "B T KV G C"], k: Float[Array, "B S KV C"], visible: Bool[Array, "B T S"]
) -> Float[Array, "B KV G T S"]:
    """How much of each key a query takes, in float32 at least."""
    scores = jnp.einsum("btkgc,bskc->bkgts", q, k) * q.shape[-1] ** -0.5
    wide = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
    return jax.nn.softmax(jnp.where(visible[:, None, None], wide, MASKED), axis=-1)
