"""Attention of whole packed sequences by JAX's Pallas kernels that Triton compiles for GPU, forward and backward."""

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.gpu.attention import mha
from jaxtyping import Array, Float, Int

_TILE = 128  # tokens that a program takes at a time: rows are filled up to a multiple


def supports(q: Float[Array, "B T KV G C"]) -> bool:
    """Whether the kernels take these shapes and dtypes: float32 they would round to TF32."""
    return q.shape[4] in (32, 64, 128) and q.dtype in (jnp.bfloat16, jnp.float16)


def attend(
    q: Float[Array, "B T KV G C"],
    k: Float[Array, "B T KV C"],
    v: Float[Array, "B T KV C"],
    segment_ids: Int[Array, "B T"],
    interpret: bool = False,
) -> Float[Array, "B T KV G C"]:
    """Each query sees the keys of its segment up to itself. `interpret` runs the kernels in plain JAX, anywhere.

    The query heads of a key head are mapped over, so that the forward pass copies no key.
    """
    steps = q.shape[1]

    def filled(x: Array, value: int = 0) -> Array:  # after all tokens, so that none of them sees it
        return jnp.pad(x, ((0, 0), (0, -steps % _TILE), *((0, 0),) * (x.ndim - 2)), constant_values=value)

    keys, values, segments = filled(k), filled(v), filled(segment_ids, -1)

    def one_of_each(queries: Float[Array, "B T KV C"]) -> Float[Array, "B T KV C"]:
        return mha(queries, keys, values, segments, sm_scale=q.shape[-1] ** -0.5, causal=True, interpret=interpret)

    return jax.vmap(one_of_each, in_axes=3, out_axes=3)(filled(q))[:, :steps]
