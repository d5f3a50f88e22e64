"""The multi-token-prediction layer: from a position's hidden state and the next token, the token after that.

Source: arXiv 2508.06471 and the layer's forward pass in vLLM's glm4_moe_mtp.
"""

from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from glmkit.model.block import Block, Context
from glmkit.model.cache import LayerCache
from glmkit.model.layers import RMSNorm
from glmkit.model.moe import Load
from glmkit.model.ops.linear import linear
from glmkit.model.params import Init, weight

MTPTables = Literal["own", "shared"]


class MTP(nnx.Module):
    """One full decoder block over the projected pair (embedding of the next token, hidden state).

    GLM-4.5 stores its own copies of embedding and head in this layer (`tables="own"`), GLM-4.6 shares the model's.
    """

    def __init__(self, tables: MTPTables, init: Init):
        c = init.config
        embed = c.hidden_size
        self.embedding_norm = RMSNorm("enorm.weight", embed, "embed", init)
        self.hidden_norm = RMSNorm("hnorm.weight", embed, "embed", init)
        self.project = init.matrix("eh_proj.weight", (2 * embed, embed), ("embedding_and_hidden", "embed"))
        self.block = Block(c.num_hidden_layers, init)
        self.norm = RMSNorm("shared_head.norm.weight", embed, "embed", init)
        table, shape, own = ("vocab", "embed"), (c.vocab_size, embed), tables == "own"
        self.embed = init.matrix("embed_tokens.weight", shape, table, contract=None) if own else None
        self.head = init.matrix("shared_head.head.weight", shape[::-1], table[::-1]) if own else None

    def __call__(
        self,
        embedded: Float[Array, "B T D"],
        hidden: Float[Array, "B T D"],
        context: Context,
        cache: LayerCache | None,
    ) -> tuple[Float[Array, "B T D"], LayerCache | None, Load]:
        """The normed state that the head turns into logits of the token after next, and the block's cache and load."""
        pair = jnp.concatenate([self.embedding_norm(embedded), self.hidden_norm(hidden)], axis=-1)
        out = self.block(linear(pair, weight(self.project, like=pair)), context, cache)
        return self.norm(out.x), out.cache, out.load
