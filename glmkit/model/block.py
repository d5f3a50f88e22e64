"""One decoder layer, declared once for a single layer; a model holds it in a list or stacked."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from glmkit.model.attention import Attention
from glmkit.model.cache import LayerCache
from glmkit.model.capture import Kept, LayerRoutes, Tap
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


class BlockOutput(NamedTuple):
    """The residual stream after a layer and the layer's cache.

    `load` of its experts is None when it is dense; `buffers` and `routes` hold what was kept, None without a tap.
    """

    x: Float[Array, "B T D"]
    cache: LayerCache | None
    load: Load | None
    buffers: Kept | None
    routes: LayerRoutes | None


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
        self, x: Float[Array, "B T D"], context: Context, cache: LayerCache | None, tap: Tap | None = None
    ) -> BlockOutput:
        """One layer; `tap` is what to keep and to change on the way."""
        x, tap = _at("resid_pre", x, tap)
        heads, cache, pattern = self.attention(
            self.attention_norm(x),
            context.rope,
            context.slots,
            context.segment_ids,
            cache,
            context.table,
            None if tap is None else tap.wants("attention"),
        )
        x = x + heads
        x, tap = _at("resid_mid", x, tap if tap is None else tap.kept("attention", pattern))
        normed = self.mlp_norm(x)
        if isinstance(self.mlp, MLP):
            x, tap = _at("resid_post", x + self.mlp(normed), tap)
            return BlockOutput(x, cache, None, _buffers(tap), None)
        valid = context.valid.astype(jnp.float32)
        asked = () if tap is None else (tap.route_changes, tap.router_wants)
        routed, load, seen = self.mlp(normed, valid, context.starts, *asked)
        x, tap = _at("resid_post", x + routed, tap if tap is None else tap.saw(seen))
        return BlockOutput(x, cache, load, _buffers(tap), None if tap is None else tap.routes(seen))


def _at(site: str, x: Array, tap: Tap | None) -> tuple[Array, Tap | None]:
    return (x, None) if tap is None else tap.residual(x, site)


def _buffers(tap: Tap | None) -> Kept | None:
    return None if tap is None else tap.buffers
