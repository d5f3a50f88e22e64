"""The parts every block shares: linear weights, RMSNorm, the SwiGLU feed-forward, rotary position embedding."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from glmkit.model.adapter import project
from glmkit.model.ops.swiglu import swiglu
from glmkit.model.params import Init, weight


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
        return project(swiglu(project(x, self.gate_up)), self.down)


@functools.lru_cache
def rope_frequencies(rotary_dim: int, theta: float) -> np.ndarray:
    """Inverse frequencies `theta ** -(2i / rotary_dim)`, float32, rounded at the steps where the reference rounds."""
    exponents = np.arange(0, rotary_dim, 2, dtype=np.float32) / np.float32(rotary_dim)
    powers = np.power(np.float64(theta), exponents.astype(np.float64)).astype(np.float32)
    return np.float32(1.0) / powers


class Rope(NamedTuple):
    """Each position's rotation, float32: `cos` of a channel itself and `sin` of the one it is paired with."""

    cos: Float[Array, "B T C"]  # 1 for channels that pass
    sin: Float[Array, "B T C"]  # negative for the first of a pair, 0 for channels that pass


def rope_angles(positions: Int[Array, "B T"], rotary_dim: int, head_dim: int, theta: float) -> Rope:
    """The rotation of each position in the first `rotary_dim` of `head_dim` channels.

    Integers up to 2**24 are exact in float32; the product with a frequency is rounded once, as in the reference.
    """
    angles = positions[..., None].astype(jnp.float32) * rope_frequencies(rotary_dim, theta)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    passed = jnp.zeros((*positions.shape, head_dim - rotary_dim), jnp.float32)
    return Rope(jnp.concatenate([cos, cos, passed + 1], -1), jnp.concatenate([-sin, sin, passed], -1))


def rotate(x: Float[Array, "B T *H C"], rope: Rope, rotary_dim: int) -> Float[Array, "B T *H C"]:
    """Rotate the first `rotary_dim` channels of each head, pairing the first half of them with the second."""
    heads = (1,) * (x.ndim - 3)
    cos, sin = (table.reshape(*table.shape[:2], *heads, -1).astype(x.dtype) for table in rope)
    half = rotary_dim // 2
    partner = jnp.concatenate([x[..., half:rotary_dim], x[..., :half], x[..., rotary_dim:]], axis=-1)
    return x * cos + partner * sin
