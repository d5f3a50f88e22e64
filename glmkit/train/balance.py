"""Loss-free load balance: the correction biases move by the sign of the load error (arXiv 2408.15664)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from glmkit.model import GLM, Buffer
from glmkit.model.moe import MoE, Router

__all__ = ["imbalance", "move_biases"]


def move_biases(
    model: GLM, load: Float[Array, "moe_layer E"], rate: float, which: nnx.filterlib.Filter = Buffer
) -> None:
    """Raise the bias of experts with less than their share of tokens and lower that of the others, in place.

    `load` has a row for each MoE layer, the multi-token-prediction layer's last if it was run. Outside the gradient.
    Biases that are not in the filter `which` stay.
    """
    held = jax.tree.map(lambda bias: bias, nnx.state(model, nnx.All(Buffer, nnx.Not(which))))
    row = 0
    for block in [*model.blocks, *([] if model.mtp is None else [model.mtp.block])]:
        if not isinstance(block.mlp, MoE):
            continue
        router: Router = block.mlp.router
        depth = router.bias.shape[0] if router.bias[...].ndim == 2 else 1
        rows = load[row : row + depth]
        row += depth
        if rows.shape[0] == depth:
            step = rate * jnp.sign(rows.mean(axis=1, keepdims=True) - rows)
            router.bias[...] += step.reshape(router.bias.shape)
    nnx.update(model, held)


def imbalance(load: Float[Array, "moe_layer E"]) -> Float[Array, ""]:
    """The busiest expert's load over the mean load, in the worst layer; 1 is perfect balance."""
    return (load.max(axis=1) / jnp.maximum(load.mean(axis=1), 1)).max(initial=1.0)
