"""The parts every block shares: linear weights, RMSNorm, the SwiGLU feed-forward, rotary position embedding."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from glmkit.model.params import Init, weight
from glmkit.sharding import named_sharding


class RMSNorm(nnx.Module):
    """Root-mean-square norm with the reference's cast order: normalise in float32, cast back, then scale."""

    def __init__(self, name: str, size: int, axis: str, init: Init):
        self.eps = init.config.rms_norm_eps
        self.scale = init.ones(name, (size,), (axis,))

    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        normed = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + self.eps)
        return normed.astype(x.dtype) * weight(self.scale, like=x)


class MLP(nnx.Module):
    """SwiGLU feed-forward, used by the dense layers and as the shared expert."""

    def __init__(self, prefix: str, width: int, init: Init):
        embed = init.config.hidden_size
        self.gate_up = init.matrix(f"{prefix}.{{gate_up}}.weight", (embed, 2, width), ("embed", "gate_up", "mlp"))
        self.down = init.matrix(f"{prefix}.down_proj.weight", (width, embed), ("mlp", "embed"))

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        gate_up = jnp.einsum("btd,dgf->btgf", x, weight(self.gate_up, like=x))
        hidden = jax.nn.silu(gate_up[..., 0, :]) * gate_up[..., 1, :]
        out = named_sharding(x, "batch", None, None)
        return jnp.einsum("btf,fd->btd", hidden, weight(self.down, like=x), out_sharding=out)


@functools.lru_cache
def rope_frequencies(rotary_dim: int, theta: float) -> np.ndarray:
    """Inverse frequencies `theta ** -(2i / rotary_dim)`, float32, rounded at the steps where the reference rounds."""
    exponents = np.arange(0, rotary_dim, 2, dtype=np.float32) / np.float32(rotary_dim)
    powers = np.power(np.float64(theta), exponents.astype(np.float64)).astype(np.float32)
    return np.float32(1.0) / powers


class Rope(NamedTuple):
    """Cosine and sine of each position's rotation, float32; `R` is half the rotary dimension."""

    cos: Float[Array, "B T R"]
    sin: Float[Array, "B T R"]


def rope_angles(positions: Int[Array, "B T"], rotary_dim: int, theta: float) -> Rope:
    """The rotation of each position.

    Integers up to 2**24 are exact in float32; the product with a frequency is rounded once, as in the reference.
    """
    angles = positions[..., None].astype(jnp.float32) * rope_frequencies(rotary_dim, theta)
    return Rope(jnp.cos(angles), jnp.sin(angles))


def rotate(x: Float[Array, "B T *H C"], rope: Rope) -> Float[Array, "B T *H C"]:
    """Rotate the first `2 R` channels of each head, pairing channel `i` with `i + R` (half-split); the rest pass."""
    heads = (1,) * (x.ndim - 3)
    cos, sin = (table.reshape(*table.shape[:2], *heads, -1).astype(x.dtype) for table in rope)
    half = cos.shape[-1]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)
