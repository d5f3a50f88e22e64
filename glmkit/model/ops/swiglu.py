"""The gate of a feed-forward, `silu(gate) * up`, with a derivative that keeps nothing but its arguments.

Left to itself, JAX keeps the sigmoid and both factors too: three more arrays of the size of the result.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_vjp
def swiglu(gate_up: Float[Array, "*rows 2 F"]) -> Float[Array, "*rows F"]:
    """`silu(gate) * up`."""
    return jax.nn.silu(gate_up[..., 0, :]) * gate_up[..., 1, :]


def _backward(gate_up, d_hidden):
    gate, up = gate_up[..., 0, :], gate_up[..., 1, :]
    open_ = jax.nn.sigmoid(gate)
    d_gate = d_hidden * up * open_ * (1 + gate * (1 - open_))
    return (jnp.stack([d_gate, d_hidden * gate * open_], axis=-2),)


swiglu.defvjp(lambda gate_up: (swiglu(gate_up), gate_up), _backward)
