"""Attention of whole packed sequences by JAX's splash attention, Pallas kernels for TPU, forward and backward."""

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu import splash_attention as splash
from jaxtyping import Array, Float, Int

_TILE = 512  # tokens that a kernel takes at a time, or all of a shorter row


def supports(q: Float[Array, "B T KV G C"]) -> bool:
    """Whether the kernels take these shapes and dtypes."""
    return q.shape[4] % 128 == 0 and q.dtype == jnp.bfloat16


def attend(
    q: Float[Array, "B T KV G C"],
    k: Float[Array, "B T KV C"],
    v: Float[Array, "B T KV C"],
    segment_ids: Int[Array, "B T"],
    interpret: bool = False,
) -> Float[Array, "B T KV G C"]:
    """Each query sees the keys of its segment up to itself. `interpret` runs the kernels in plain JAX, anywhere."""
    rows, steps, kv_heads, group, channels = q.shape
    size = min(_TILE, -(-steps // 128) * 128)  # a tile is of whole lanes

    def filled(x: Array, value: int = 0) -> Array:  # after all tokens, so that none of them sees it
        return jnp.pad(x, ((0, 0), (0, -steps % size), *((0, 0),) * (x.ndim - 2)), constant_values=value)

    queries = filled(q * channels**-0.5)
    queries = queries.reshape(rows, -1, kv_heads * group, channels).swapaxes(1, 2)
    segments = filled(segment_ids, -1)
    kernel = _kernel(kv_heads * group, queries.shape[2], size, interpret)
    out = jax.vmap(kernel)(
        queries, filled(k).swapaxes(1, 2), filled(v).swapaxes(1, 2), splash.SegmentIds(segments, segments)
    )
    return out.swapaxes(1, 2)[:, :steps].reshape(q.shape).astype(v.dtype)


def _kernel(heads: int, steps: int, size: int, interpret: bool):
    tiles = dict.fromkeys(
        ("block_q", "block_kv", "block_kv_compute", "block_q_dkv", "block_kv_dkv", "block_kv_dkv_compute"), size
    )
    return splash.make_splash_mha(
        splash.MultiHeadMask([splash.CausalMask((steps, steps))] * heads),
        block_sizes=splash.BlockSizes(**tiles, block_q_dq=size, block_kv_dq=size),
        head_shards=1,
        q_seq_shards=1,
        interpret=interpret,
    )
