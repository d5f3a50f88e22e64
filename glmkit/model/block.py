"""One decoder layer, declared once for a single layer; a model holds it in a list or stacked."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from glmkit.model.attention import Attention
from glmkit.model.cache import LayerCache
from glmkit.model.layers import MLP, RMSNorm, Rope
from glmkit.model.moe import Load, MoE
from glmkit.model.params import Init


class Context(NamedTuple):
    """What every layer needs to know about the tokens, computed once per forward pass."""

    rope: Rope
    slots: Int[Array, "B T"]  # where each token goes in its row of the cache; -1 for padding
    table: Int[Array, "B N"] | None  # the pages of each row of the cache, if there is one
    segment_ids: Int[Array, "B T"]  # negative for padding
    valid: Bool[Array, "B T"]
    starts: Int[Array, "B T"] | None  # where each token's segment begins, if the sequence loss is asked for


class Block(nnx.Module):
    """Pre-norm attention, then a dense SwiGLU (the first layers) or the mixture of experts."""

    def __init__(self, number: int, init: Init):
        c = init.config
        self.attention_norm = RMSNorm("input_layernorm.weight", c.hidden_size, "embed", init)
        self.attention = Attention(init)
        self.mlp_norm = RMSNorm("post_attention_layernorm.weight", c.hidden_size, "embed", init)
        self.mlp = MoE(init) if c.is_moe(number) else MLP("mlp", c.intermediate_size, init)

    @jax.jit  # so that layers of one structure are traced once
    def __call__(
        self, x: Float[Array, "B T D"], context: Context, cache: LayerCache | None
    ) -> tuple[Float[Array, "B T D"], LayerCache | None, Load | None]:
        """The residual stream after this layer, the layer's cache, and the load of its experts (None when dense)."""
        heads, cache = self.attention(
            self.attention_norm(x), context.rope, context.slots, context.segment_ids, cache, context.table
        )
        x = x + heads
        normed = self.mlp_norm(x)
        if isinstance(self.mlp, MLP):
            return x + self.mlp(normed), cache, None
        routed, load = self.mlp(normed, context.valid.astype(jnp.float32), context.starts)
        return x + routed, cache, load
