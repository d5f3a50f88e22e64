"""What a forward pass keeps of what goes on inside: named before it runs, returned beside its result.

Values that exist in every layer go into buffers `[slot, ...]` that the layers carry along, each writing what is its
own: naming another layer changes a value and compiles nothing. Captures show what was computed with, after any
intervention.
"""

import dataclasses
import math
from typing import TYPE_CHECKING, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from glmkit.config import GLMConfig
from glmkit.model.intervene import RESIDUAL_SITES, Interventions, RouteChanges
from glmkit.sharding import constrain

if TYPE_CHECKING:
    from glmkit.model.moe import Seen

ROUTER_SITES = ("router_logits", "router_scores", "expert_out")  # that only layers with experts have
LAYER_SITES = (*RESIDUAL_SITES, "attention", *ROUTER_SITES)  # kept by layer, in slots
ROUTE_SITES = ("ids", "weights", "margins")  # of all MoE layers at once
_STATIC = {"static": True}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Keep:
    """What to keep: for each site the numbers of its blocks, `[slot]` int32, counted as the model holds them.

    Which sites there are and how many slots they have is structure; which blocks is a value. `routes` names some of
    `ROUTE_SITES`; `logits` keeps the next-token logits; `effects` counts what interventions changed about the routes.
    """

    resid_pre: jax.Array | None = None
    resid_mid: jax.Array | None = None
    resid_post: jax.Array | None = None
    attention: jax.Array | None = None
    router_logits: jax.Array | None = None
    router_scores: jax.Array | None = None
    expert_out: jax.Array | None = None
    routes: tuple[str, ...] = dataclasses.field(default=(), metadata=_STATIC)
    logits: bool = dataclasses.field(default=False, metadata=_STATIC)
    effects: bool = dataclasses.field(default=False, metadata=_STATIC)

    def layers(self, site: str) -> jax.Array | None:
        """The blocks of a site; None where it is not kept."""
        return getattr(self, site)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Kept:
    """What was kept; None for what was not asked for. `slot` counts as `Keep` lists the blocks of a site.

    The residual stream has the model's dtype, the rest float32; ids are uint8, or uint16 beyond 256 experts. Attention
    is over the `S` tokens of the pass, or the `S` that a row of the cache can hold. `expert_out` is what each chosen
    expert puts out before it is weighted, in the order of `ids`.
    """

    resid_pre: jax.Array | None = None  # [slot, B, T, D], and so the other two
    resid_mid: jax.Array | None = None
    resid_post: jax.Array | None = None
    attention: jax.Array | None = None  # [slot, B, KV, G, T, S]
    router_logits: jax.Array | None = None  # [slot, B, T, E]
    router_scores: jax.Array | None = None  # [slot, B, T, E]
    expert_out: jax.Array | None = None  # [slot, B, T, k, D]
    ids: jax.Array | None = None  # [moe_layer, B, T, k]
    weights: jax.Array | None = None  # [moe_layer, B, T, k]
    margins: jax.Array | None = None  # [moe_layer, B, T]: the k-th selection score minus the next, before forcing
    effects: jax.Array | None = None  # [moe_layer, E], float32: tokens for which an expert came, went or was scaled
    logits: jax.Array | None = None  # [B, T, V]


class LayerRoutes(NamedTuple):
    """Of one MoE layer; None for what is not kept."""

    ids: Int[Array, "B T k"] | None = None
    weights: Float[Array, "B T k"] | None = None
    margins: Float[Array, "B T"] | None = None
    effects: Float[Array, " E"] | None = None


class RouterWants(NamedTuple):
    """What of a mixture of experts is kept; whether this layer is one of those whose experts' output is."""

    margins: bool
    effects: bool
    expert_out: Bool[Array, ""] | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Tap:
    """What a block is given to keep and to change, and where it stands among the blocks and the MoE layers.

    The buffers have a slot more than is kept, into which the layers write that are not.
    """

    layer: jax.Array
    moe_layer: jax.Array
    keep: Keep | None
    buffers: Kept | None
    changes: Interventions | None

    def residual(self, x: Float[Array, "B T D"], site: str) -> tuple[Float[Array, "B T D"], "Tap"]:
        """The residual stream at a site, changed and then kept."""
        if self.changes is not None:
            x = self.changes.applied(x, self.layer, site)
        return x, self.kept(site, x)

    def kept(self, site: str, value: Array | None) -> Self:
        """With a value in this layer's slot of a site; as it is where the site is not kept."""
        if self.keep is None or value is None or self.keep.layers(site) is None:
            return self
        buffer = getattr(self.buffers, site)
        value = value.astype(buffer.dtype)[None]
        buffer = jax.lax.dynamic_update_slice_in_dim(buffer, value, self._slot(site), axis=0)
        return dataclasses.replace(self, buffers=dataclasses.replace(self.buffers, **{site: buffer}))

    def wants(self, site: str) -> Bool[Array, ""] | None:
        """Whether this layer's value of a site is kept; None where the site is not kept at all."""
        if self.keep is None or self.keep.layers(site) is None:
            return None
        return self._slot(site) < self.keep.layers(site).shape[0]

    def saw(self, seen: "Seen | None") -> Self:
        """With what of the experts is kept by layer."""
        if seen is None:
            return self
        tap = self.kept("router_logits", seen.logits).kept("router_scores", seen.scores)
        return tap.kept("expert_out", seen.expert_out)

    def routes(self, seen: "Seen | None") -> LayerRoutes | None:
        """What of the experts is kept of every layer."""
        if seen is None or not (self.keep.routes or self.keep.effects):
            return None
        named = {name: getattr(seen, name) for name in self.keep.routes}
        return LayerRoutes(**named, effects=seen.effects)

    @property
    def router_wants(self) -> RouterWants | None:
        """What the mixture of experts is to hand back."""
        keep = self.keep
        if keep is None or not (keep.routes or keep.effects or any(keep.layers(s) is not None for s in ROUTER_SITES)):
            return None
        return RouterWants("margins" in keep.routes, keep.effects, self.wants("expert_out"))

    @property
    def route_changes(self) -> RouteChanges | None:
        """What changes in this layer's experts."""
        return None if self.changes is None else self.changes.in_layer(self.moe_layer)

    def _slot(self, site: str) -> Int[Array, ""]:
        layers = self.keep.layers(site)
        count = layers.shape[0]
        return jnp.where(layers == self.layer, jnp.arange(count), count).min(initial=count)


def empty_buffers(keep: Keep, config: GLMConfig, like: Float[Array, "B T D"], keys: int) -> Kept:
    """Buffers for what `keep` names by layer: for `[B, T]` tokens as in `like`, with attention over `keys` places."""
    batch, wide = like.shape[:2], jnp.promote_types(like.dtype, jnp.float32)
    kv, group, experts = config.num_key_value_heads, config.q_per_kv, config.n_routed_experts
    shapes = {
        **dict.fromkeys(RESIDUAL_SITES, (like.shape, like.dtype, ("batch", None, None))),
        "attention": ((batch[0], kv, group, batch[1], keys), wide, ("batch", "kv_heads", None, None, None)),
        "router_logits": ((*batch, experts), wide, ("batch", None, None)),
        "router_scores": ((*batch, experts), wide, ("batch", None, None)),
        "expert_out": ((*batch, config.num_experts_per_tok, like.shape[2]), like.dtype, ("batch", None, None, None)),
    }

    def empty(site: str) -> jax.Array:
        shape, dtype, axes = shapes[site]
        zeros = jnp.zeros((keep.layers(site).shape[0] + 1, *shape), dtype)
        return constrain(zeros, None, *axes, like=like)

    return Kept(**{site: empty(site) for site in LAYER_SITES if keep.layers(site) is not None})


def collected(buffers: Kept, routes: LayerRoutes | None = None, *, config: GLMConfig) -> Kept:
    """The buffers without their spare slot, beside the routes of all layers `[moe_layer, ...]`, ids made narrow."""
    kept = jax.tree.map(lambda buffer: buffer[:-1], buffers)
    if routes is None:
        return kept
    narrow = jnp.uint8 if config.n_routed_experts <= 256 else jnp.uint16
    ids = None if routes.ids is None else routes.ids.astype(narrow)
    return dataclasses.replace(kept, **routes._replace(ids=ids)._asdict())


def on_host(kept: Kept, rows: slice, size: int) -> dict[str, np.ndarray]:
    """What there is by name, as NumPy arrays: some rows, and of each the first `size` tokens. Heads become one axis,
    after the tokens."""
    return {name: _cut(name, np.asarray(value), rows, size) for name, value in vars(kept).items() if value is not None}


def _cut(name: str, value: np.ndarray, rows: slice, size: int) -> np.ndarray:
    if name == "effects":
        return value
    if name == "logits":
        return value[rows, :size]
    if name == "attention":  # [slot, B, KV, G, T, S] to [slot, B, T, H, S]
        value = value[:, rows, :, :, :size]
        heads = math.prod(value.shape[2:4])
        return value.reshape(*value.shape[:2], heads, *value.shape[4:]).swapaxes(2, 3)
    return value[:, rows, :size]
