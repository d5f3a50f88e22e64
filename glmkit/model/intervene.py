"""What is changed inside a forward pass: one dense form, whose values never recompile, and how the layers apply it.

Holds arrays only. `glmkit.probe` builds them from layers, experts and phases by name.
"""

import dataclasses
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glmkit.sharding import constrain, partition_spec

RESIDUAL_SITES = ("resid_pre", "resid_mid", "resid_post")  # before attention, before the MLP, after it


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ExpertTables:
    """Changes to routing and shared experts, in `G` parts that each hold for tokens of their own.

    Parts add up: biases are summed, scales multiplied. A selection bias of -inf rules an expert out.
    """

    tokens: jax.Array  # [G, B, T], bool
    select_bias: jax.Array  # [G, moe_layer, E], float32: added to the scores that select
    logit_bias: jax.Array  # [G, moe_layer, E], float32: added to the router's logits, before the sigmoid
    weight_scale: jax.Array  # [G, moe_layer, E], float32: of the expert's weight, after normalisation and scaling
    shared_scale: jax.Array  # [G, moe_layer], float32: of what the shared experts put out


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Substitutes:
    """Vectors in the place of an expert's output, `S` of them, each for one expert and some tokens; of several for the
    same the last counts."""

    tokens: jax.Array  # [S, B, T], bool
    layer: jax.Array  # [S], int32: counted among the MoE layers; -1 for a slot that is free
    expert: jax.Array  # [S], int32
    vector: jax.Array  # [S, D], float32


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Steering:
    """Vectors added to the residual stream, `S` of them, each at one place and with a strength for each token."""

    layer: jax.Array  # [S], int32: counted among the model's blocks; -1 for a slot that is free
    site: jax.Array  # [S], int32: into `RESIDUAL_SITES`
    vector: jax.Array  # [S, D], float32
    scale: jax.Array  # [S, B, T], float32


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Patches:
    """Values in the place of the residual stream's own, `S` of them, each at one place and for some tokens."""

    layer: jax.Array  # [S], int32, as in `Steering`
    site: jax.Array  # [S], int32
    values: jax.Array  # [S, B, T, D]
    tokens: jax.Array  # [S, B, T], bool


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Interventions:
    """All that is changed in one pass over `[B, T]` tokens; what is None is left as it is.

    The parts that are there and their sizes are structure, and compiled in; everything else is values. Forced ids are
    obeyed before anything the router would choose, except for experts that a selection bias of -inf rules out; where
    fewer than k are forced (-1 says none), the router chooses the rest. Weights always come from the router's scores.
    """

    experts: ExpertTables | None = None
    forced: jax.Array | None = None  # [B, T, moe_layer, k], int32, -1 for none
    substitutes: Substitutes | None = None
    steering: Steering | None = None
    patches: Patches | None = None

    def placed(self, like: jax.Array) -> Self:
        """On the mesh of `like`: what belongs to tokens is split as a batch is, the rest is everywhere."""

        def place(path, leaf: jax.Array) -> jax.Array:
            lead = leading_axes(path)
            return constrain(jnp.asarray(leaf), *lead, *(None,) * (jnp.ndim(leaf) - len(lead)), like=like)

        return jax.tree_util.tree_map_with_path(place, self)

    def in_layer(self, moe_layer: Int[Array, ""]) -> "RouteChanges | None":
        """What changes in the experts of the MoE layer of this number, counted from 0; None if nothing ever does."""
        if self.experts is None and self.forced is None and self.substitutes is None:
            return None
        e, s = self.experts, self.substitutes
        return RouteChanges(
            None if e is None else TableRow(e.tokens, *(t[:, moe_layer] for t in _tables(e))),
            None if self.forced is None else self.forced[:, :, moe_layer],
            None if s is None else SubstituteRow(s.tokens & (s.layer == moe_layer)[:, None, None], s.expert, s.vector),
        )

    def applied(self, x: Float[Array, "B T D"], layer: Int[Array, ""], site: str) -> Float[Array, "B T D"]:
        """The residual stream at a site of a layer, counted among the blocks: patched, then steered."""
        here = RESIDUAL_SITES.index(site)
        if self.patches is not None:
            p = self.patches
            mine = p.tokens & ((p.layer == layer) & (p.site == here))[:, None, None]
            for slot in range(mine.shape[0]):
                x = jnp.where(mine[slot, ..., None], p.values[slot].astype(x.dtype), x)
        if self.steering is not None:
            s = self.steering
            scale = jnp.where(((s.layer == layer) & (s.site == here))[:, None, None], s.scale, 0)
            x = x + jnp.einsum("sbt,sd->btd", scale, s.vector).astype(x.dtype)
        return x


def leading_axes(path: tuple) -> tuple[str | None, ...]:
    """The logical axes that the array at a path of `Interventions` begins with, up to that of the batch if it has one;
    what follows is not split."""
    name = path[-1].name
    return ("batch",) if name == "forced" else (None, "batch") if name in ("tokens", "scale", "values") else ()


class TableRow(NamedTuple):
    """`ExpertTables` of one layer."""

    tokens: Bool[Array, "G ..."]
    select_bias: Float[Array, "G E"]
    logit_bias: Float[Array, "G E"]
    weight_scale: Float[Array, "G E"]
    shared_scale: Float[Array, " G"]


class SubstituteRow(NamedTuple):
    """`Substitutes` of one layer: a slot for another has no tokens."""

    tokens: Bool[Array, "S ..."]
    expert: Int[Array, " S"]
    vector: Float[Array, "S D"]


class RouteChanges(NamedTuple):
    """What changes in one layer's experts, for tokens `[B, T]` or for rows of them, `[N]`."""

    tables: TableRow | None
    forced: Int[Array, "*N k"] | None
    substitutes: SubstituteRow | None

    def specs(self) -> "RouteChanges":
        """How each array is split over the mesh."""
        batch, parts, everywhere = (partition_spec(axes) for axes in (("batch",), (None, "batch"), ()))
        return RouteChanges(
            None if self.tables is None else TableRow(parts, *(everywhere,) * 4),
            None if self.forced is None else batch,
            None if self.substitutes is None else SubstituteRow(parts, everywhere, everywhere),
        )

    def by_row(self) -> "RouteChanges":
        """Of `[B, T]` tokens as `B * T` rows."""
        t, s = self.tables, self.substitutes
        return RouteChanges(
            None if t is None else t._replace(tokens=t.tokens.reshape(t.tokens.shape[0], -1)),
            None if self.forced is None else self.forced.reshape(-1, self.forced.shape[-1]),
            None if s is None else s._replace(tokens=s.tokens.reshape(s.tokens.shape[0], -1)),
        )

    def logits(self, logits: Float[Array, "N E"]) -> Float[Array, "N E"]:
        """The router's logits with their biases."""
        return logits if self.tables is None else _biased(logits, self.tables.tokens, self.tables.logit_bias)

    def choice(self, choice: Float[Array, "N E"]) -> Float[Array, "N E"]:
        """The scores that select, with their biases."""
        return choice if self.tables is None else _biased(choice, self.tables.tokens, self.tables.select_bias)

    def obeyed(self, ids: Int[Array, "N k"], choice: Float[Array, "N E"]) -> Int[Array, "N k"]:
        """The ids with those that are forced before them, each in the order of their scores."""
        if self.forced is None:
            return ids
        top_k, experts = ids.shape[-1], choice.shape[-1]
        forced = jax.nn.one_hot(self.forced, experts, dtype=bool).any(1) & (choice > -jnp.inf)
        count = forced.sum(-1, keepdims=True)
        _, first = jax.lax.top_k(jnp.where(forced, choice, -jnp.inf), top_k)
        # Those which the router had chosen anyway come first among the others: `ids` already keeps to its groups.
        chosen = jnp.where(jnp.take_along_axis(forced, ids, axis=-1), top_k, jnp.arange(top_k))
        others = jnp.take_along_axis(ids, jnp.argsort(chosen, axis=-1), axis=-1)
        place = jnp.arange(top_k)
        rest = jnp.take_along_axis(others, jnp.maximum(place - count, 0), axis=-1)
        return jnp.where(place < count, first, rest)

    def weights(self, weights: Float[Array, "N k"], ids: Int[Array, "N k"]) -> Float[Array, "N k"]:
        """The weights of the chosen experts, scaled; 0 for those whose output is replaced."""
        if self.tables is not None:
            weights = weights * jnp.take_along_axis(self._scales(self.tables), ids, axis=-1)
        if self.substitutes is not None:
            weights = jnp.where(self._replaced(ids).any(0), 0, weights)
        return weights

    def substituted(self, weights: Float[Array, "N k"], ids: Int[Array, "N k"]) -> Float[Array, "N D"] | None:
        """What stands in for the experts that are replaced, by the weights that these would have had."""
        if self.substitutes is None:
            return None
        if self.tables is not None:
            weights = weights * jnp.take_along_axis(self._scales(self.tables), ids, axis=-1)
        replaced = self._replaced(ids)
        last = jax.lax.cumsum(replaced.astype(jnp.int32), axis=0, reverse=True) == 1
        shares = jnp.where(replaced & last, weights, 0).sum(-1)
        return jnp.einsum("sn,sd->nd", shares, self.substitutes.vector)

    def shared(self, out: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """The output of the shared experts, scaled."""
        if self.tables is None:
            return out
        t = self.tables
        scales = jnp.where(t.tokens, t.shared_scale[:, None, None], 1).prod(0)
        return (out * scales[..., None]).astype(out.dtype)

    def touched(self, ids: Int[Array, "N k"], untouched: Int[Array, "N k"], experts: int) -> Bool[Array, "N E"]:
        """Whether of a token an expert came or went, or was chosen and did not count as it would have."""
        now, before = (jax.nn.one_hot(x, experts, dtype=bool).any(1) for x in (ids, untouched))
        touched = now ^ before
        if self.tables is not None:
            touched |= now & (self._scales(self.tables) != 1)
        if self.substitutes is not None:
            replaced = jax.nn.one_hot(self.substitutes.expert, experts, dtype=bool)
            touched |= now & (self.substitutes.tokens[..., None] & replaced[:, None]).any(0)
        return touched

    @staticmethod
    def _scales(tables: TableRow) -> Float[Array, "N E"]:
        return jnp.where(tables.tokens[..., None], tables.weight_scale[:, None], 1).prod(0)

    def _replaced(self, ids: Int[Array, "N k"]) -> Bool[Array, "S N k"]:
        s = self.substitutes
        return (ids == s.expert[:, None, None]) & s.tokens[..., None]


def _tables(e: ExpertTables) -> tuple[jax.Array, ...]:
    return e.select_bias, e.logit_bias, e.weight_scale, e.shared_scale


def _biased(x: Float[Array, "N E"], tokens: Bool[Array, "G N"], bias: Float[Array, "G E"]) -> Float[Array, "N E"]:
    for part in range(tokens.shape[0]):
        x = jnp.where(tokens[part, :, None], x + bias[part], x)
    return x
