"""The mixture of experts: sigmoid router with group-limited top-k, routed experts, shared expert."""

import functools
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from glmkit.model.adapter import Adapted, apply_product
from glmkit.model.capture import RouterWants
from glmkit.model.dispatch import PairOrder, combine, dispatch
from glmkit.model.intervene import RouteChanges
from glmkit.model.layers import MLP
from glmkit.model.ops.grouped_matmul import grouped_matmul
from glmkit.model.ops.swiglu import swiglu
from glmkit.model.ops.vary import vary_like
from glmkit.model.params import Init, is_variable, weight
from glmkit.sharding import mesh_of, partition_spec

_SUM_OVER = ("expert", "tensor")


class Routes(NamedTuple):
    """The experts of each token and their weights, which already carry normalisation and scaling; all its scores."""

    ids: Int[Array, "N k"]
    weights: Float[Array, "N k"]
    scores: Float[Array, "N E"]


class Decision(NamedTuple):
    """How routes came about."""

    logits: Float[Array, "N E"]
    margins: Float[Array, " N"] | None  # the k-th selection score minus the next
    changed: Bool[Array, "N E"] | None  # which experts an intervention made come, go or count otherwise
    unscaled: Float[Array, "N k"]  # the weights before an intervention


class Seen(NamedTuple):
    """What of the experts of one layer may be kept; None for what is not wanted."""

    ids: Int[Array, "B T k"]
    weights: Float[Array, "B T k"]
    margins: Float[Array, "B T"] | None
    logits: Float[Array, "B T E"]
    scores: Float[Array, "B T E"]
    expert_out: Float[Array, "B T k D"] | None
    effects: Float[Array, " E"] | None

    @classmethod
    def of(cls, routes: Routes, decision: Decision, expert_out: Array | None, valid: Float[Array, "B T"]) -> Self:
        """On one device, of its rows; the effects of all devices."""

        def by_token(x: Array | None) -> Array | None:
            return None if x is None else x.reshape(*valid.shape, *x.shape[1:])

        per_token = (routes.ids, routes.weights, decision.margins, decision.logits, routes.scores, expert_out)
        changed = decision.changed
        effects = None if changed is None else jax.lax.psum((changed * valid.reshape(-1, 1)).sum(0), "data")
        return cls(*map(by_token, per_token), effects)


class Load(NamedTuple):
    """How the tokens of a pass spread over a layer's experts, float32."""

    counts: Float[Array, " E"]  # the valid tokens that chose each
    sequence_loss: Float[Array, ""] | None  # see `sequence_loss`; None unless asked for


class Router(nnx.Module):
    """Scores in float32; the correction bias selects and never weighs (arXiv 2408.15664)."""

    def __init__(self, init: Init):
        c = init.config
        self.kernel = init.matrix("mlp.gate.weight", (c.hidden_size, c.n_routed_experts), ("embed", "router"))
        self.bias = init.buffer("mlp.gate.e_score_correction_bias", (c.n_routed_experts,), ("router",))
        self.top_k, self.groups, self.top_groups = c.num_experts_per_tok, c.n_group, c.topk_group
        self.normalise, self.scaling = c.norm_topk_prob, c.routed_scaling_factor

    def __call__(
        self,
        x: Float[Array, "N D"],
        kernel: Float[Array, "D E"] | Adapted,
        bias: Float[Array, " E"],
        changes: RouteChanges | None = None,
        wants: RouterWants | None = None,
    ) -> tuple[Routes, Decision]:
        """Route rows of activations; the parameters are passed in because the caller has laid them out."""
        wide = jnp.promote_types(x.dtype, jnp.float32)
        own = logits = apply_product(lambda x, w: x @ w.astype(wide), x.astype(wide), kernel)
        if changes is not None:
            logits = changes.logits(logits)
        scores = jax.nn.sigmoid(logits)
        choice = scores + bias
        if changes is not None:
            choice = changes.choice(choice)
        ids, margins = _chosen(self._selectable(choice), self.top_k, wants is not None and wants.margins)
        if changes is not None:
            ids = changes.obeyed(ids, choice)
        weights = unscaled = self._weights(scores, ids)
        if changes is not None:
            weights = changes.weights(weights, ids)
        changed = None
        if changes is not None and wants is not None and wants.effects:
            _, untouched = jax.lax.top_k(self._selectable(jax.nn.sigmoid(own) + bias), self.top_k)
            changed = changes.touched(ids, untouched, bias.shape[0])
        return Routes(ids, weights, scores), Decision(logits, margins, changed, unscaled)

    def _weights(self, scores: Float[Array, "N E"], ids: Int[Array, "N k"]) -> Float[Array, "N k"]:
        weights = jnp.take_along_axis(scores, ids, axis=-1)
        if self.normalise:
            weights = weights / (weights.sum(-1, keepdims=True) + 1e-20)
        return weights * self.scaling

    def _selectable(self, choice: Float[Array, "N E"]) -> Float[Array, "N E"]:
        """Keep the experts of the `top_groups` groups with the largest sum of their two best; rule out the others."""
        if self.groups == 1:
            return choice
        grouped = choice.reshape(choice.shape[0], self.groups, -1)
        best_two, _ = jax.lax.top_k(grouped, 2)
        _, kept = jax.lax.top_k(best_two.sum(-1), self.top_groups)
        allowed = jax.nn.one_hot(kept, self.groups, dtype=bool).any(axis=1)
        return jnp.where(allowed[..., None], grouped, -jnp.inf).reshape(choice.shape)


class MoE(nnx.Module):
    """Routed experts plus a shared expert that every token passes, neither gated nor scaled."""

    def __init__(self, init: Init):
        c = init.config
        experts, embed, width = c.n_routed_experts, c.hidden_size, c.moe_intermediate_size
        self.router = Router(init)
        self.gate_up = init.matrix(
            "mlp.experts.{expert}.{gate_up}.weight",
            (experts, embed, 2, width),
            ("expert", "embed", "gate_up", "mlp"),
        )
        self.down = init.matrix(
            "mlp.experts.{expert}.down_proj.weight", (experts, width, embed), ("expert", "mlp", "embed")
        )
        self.shared = MLP("mlp.shared_experts", c.shared_intermediate_size, init)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        valid: Float[Array, "B T"],
        starts: Int[Array, "B T"] | None = None,
        changes: RouteChanges | None = None,
        wants: RouterWants | None = None,
    ) -> tuple[Float[Array, "B T D"], Load, Seen | None]:
        """The layer's output, its load, and what it `wants` to be seen.

        `starts`, where each token's sequence begins, asks for the sequence loss.
        """
        router, params = self.router, (self.router.kernel, self.router.bias, self.gate_up, self.down)
        specs = jax.tree.map(lambda p: partition_spec(p.axes[-len(p.shape) :]), params, is_leaf=is_variable)
        batch, nowhere = partition_spec(("batch", None)), partition_spec(())
        seen_specs = None if wants is None else Seen(*(batch,) * 6, effects=nowhere)

        @functools.partial(
            jax.shard_map,
            mesh=mesh_of(x),
            in_specs=(batch, batch, batch, None if changes is None else changes.specs(), nowhere, *specs),
            out_specs=(batch, Load(partition_spec((None,)), nowhere), seen_specs),
        )
        def local(x, valid, starts, changes, wanted, kernel, bias, gate_up, down):
            rows = x.reshape(-1, x.shape[-1])
            changes = None if changes is None else changes.by_row()
            routes, decision = router(rows, kernel, bias, changes, wants)
            # Said explicitly: the implicit promotion of JAX 0.10 loses the sum over the axis in its derivative.
            per_expert = jax.lax.pcast((rows, routes.weights), _SUM_OVER, to="varying")
            gate_up, down = jax.tree.map(_varying, (gate_up, down), specs[2:])
            rows, weights = per_expert
            out, by_pair = apply_experts(rows, routes._replace(weights=weights), gate_up, down, wanted)
            out = jax.lax.psum(out, _SUM_OVER)
            if changes is not None and changes.substitutes is not None:
                out += changes.substituted(decision.unscaled, routes.ids)
            counts = jnp.zeros(bias.shape, jnp.float32).at[routes.ids].add(valid.reshape(-1, 1))
            load = Load(counts, None if starts is None else sequence_loss(routes, valid, starts))
            seen = None if wants is None else Seen.of(routes, decision, by_pair, valid)
            return out.reshape(x.shape).astype(x.dtype), jax.lax.psum(load, "data"), seen

        laid_out = jax.tree.map(lambda p: weight(p, like=x), params, is_leaf=is_variable)
        wanted = None if wants is None else wants.expert_out
        routed, load, seen = local(x, valid, starts, changes, wanted, *laid_out)
        shared = self.shared(x)
        return routed + (shared if changes is None else changes.shared(shared)), load, seen


def sequence_loss(routes: Routes, valid: Float[Array, "B T"], starts: Int[Array, "B T"]) -> Float[Array, ""]:
    """The sum over sequences of how unevenly each spreads over the experts: 1 if evenly (arXiv 2412.19437, eq. 17-20).

    Of every expert the share of the sequence's choices times the mean of its normalised scores, through which the
    gradient goes. `starts` tells tokens of a row's sequences apart: the place where their sequence begins.
    """
    (rows, length), (experts, top_k) = starts.shape, (routes.scores.shape[-1], routes.ids.shape[-1])
    scores = (routes.scores / routes.scores.sum(-1, keepdims=True)).reshape(rows, length, experts)
    row = jnp.arange(rows)[:, None]
    ids = routes.ids.reshape(rows, length, top_k)
    chosen = jnp.zeros_like(scores).at[row[..., None], starts[..., None], ids].add(valid[..., None])
    tokens = jnp.zeros_like(valid).at[row, starts].add(valid)
    shares = jax.lax.stop_gradient(chosen[row, starts]) * experts / top_k
    return ((scores * shares).sum(-1) * valid / jnp.maximum(tokens[row, starts], 1) ** 2).sum()


def apply_experts(
    x: Float[Array, "N D"],
    routes: Routes,
    gate_up: Float[Array, "E D 2 F"] | Adapted,
    down: Float[Array, "E F D"] | Adapted,
    wanted: Bool[Array, ""] | None = None,
) -> tuple[Float[Array, "N D"], Float[Array, "N k D"] | None]:
    """This device's part of the routed output: its experts, its slice of their width. Float32 at least.

    Sorts the (token, expert) pairs by expert with those of other devices last, takes grouped products, weighs and
    sums. No pair is dropped, whatever the load. If `wanted` is given, also what each chosen expert put out, of all
    devices, not weighted; zeros where it is False.
    """
    experts, _, _, width = gate_up.shape
    first = jax.lax.axis_index("expert") * experts
    local_ids = routes.ids - first
    mine = (local_ids >= 0) & (local_ids < experts)
    local_ids = jnp.where(mine, local_ids, experts)
    order = PairOrder.by(local_ids, experts + 1)
    sizes = jnp.zeros(experts, jnp.int32).at[local_ids.reshape(-1)].add(1, mode="drop")

    def product(x: Float[Array, "M K"], w: Float[Array, "E K *Out"]) -> Float[Array, "M N"]:
        return grouped_matmul(x, w.reshape(experts, x.shape[1], -1), sizes)

    gated = apply_product(product, dispatch(x, order), gate_up)
    hidden = swiglu(gated.reshape(-1, 2, width))
    out = apply_product(product, hidden, down)
    by_pair = None
    if wanted is not None:
        zeros = vary_like(jnp.zeros((*routes.ids.shape, out.shape[1]), out.dtype), out)
        by_pair = jax.lax.cond(wanted, lambda: jnp.where(mine[..., None], out[order.places], 0), lambda: zeros)
        by_pair = jax.lax.psum(by_pair, _SUM_OVER)
    return combine(out, jnp.where(mine, routes.weights, 0), order), by_pair


def _chosen(
    selectable: Float[Array, "N E"], top_k: int, with_margins: bool
) -> tuple[Int[Array, "N k"], Float[Array, " N"] | None]:
    """The `top_k` best experts; if asked for, the last one's score minus the next, infinite where none is left."""
    beyond = with_margins and top_k < selectable.shape[-1]
    best, ids = jax.lax.top_k(selectable, top_k + beyond)
    if not with_margins:
        return ids, None
    return ids[:, :top_k], best[:, -2] - best[:, -1] if beyond else jnp.full_like(best[:, 0], jnp.inf)


def _varying(x: Array, spec: PartitionSpec) -> Array:
    """A weight with the type of one that differs on every device, where its `spec` leaves it the same on some."""
    return jax.lax.pcast(x, tuple(axis for axis in ("data", *_SUM_OVER) if axis not in spec), to="varying")
