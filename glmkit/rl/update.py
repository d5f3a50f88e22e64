"""One update of a policy: gradients over micro-batches whose split does not matter, and the optimiser's step."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from glmkit.model import GLM, Buffer
from glmkit.model.transformer import Remat
from glmkit.rl.batch import Batch, Scored
from glmkit.rl.loss import LossFunction, per_token_loss
from glmkit.rl.scoring import Seen, score
from glmkit.train.balance import move_biases
from glmkit.train.data import Batch as Examples
from glmkit.train.loss import second_token_sum, targets_ahead
from glmkit.train.optimizer import apply_optimizer

__all__ = ["Found", "Plan", "compiled_score", "compiled_update", "gradient"]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What of an update is compiled in, besides its loss and optimiser.

    `bias_rate` moves the correction biases in the filter `biases` towards even load; 0 leaves them as they are.
    `mtp_weight` weighs the prediction layer's loss.
    """

    trainable: nnx.filterlib.Filter = nnx.Param
    replay: bool = True
    remat: Remat = "none"
    bias_rate: float = 0.0
    biases: nnx.filterlib.Filter = Buffer
    mtp_weight: float = 0.0


class Found(NamedTuple):
    """What came of an update, micro-batch by micro-batch where there is an axis `M`."""

    loss: Float[Array, ""]
    mtp_loss: Float[Array, ""]  # of the prediction layer; 0 where it is not trained
    gradient_norm: Float[Array, ""]  # before clipping
    finite: Bool[Array, ""]  # whether the update was applied; it is not if loss or gradient is NaN or infinite
    scored: Scored  # [M, R, T], by the weights before the update
    measured: Mapping[str, Float[Array, "M R T"]]
    load: Float[Array, "moe_layer E"]
    flips: Int[Array, "M R T"] | None
    unforced: Float[Array, "moe_layer E"] | None


def gradient(
    loss: LossFunction, plan: Plan, model: GLM, batch: Batch
) -> tuple[nnx.State, tuple[Float[Array, ""], Float[Array, ""]], Scored, Mapping[str, Array], Seen]:
    """The gradient of `sum(weight * loss)` over micro-batches `[M, R, T]`, added up in float32 at least, with that of
    the prediction layer's mean loss. Both losses are told."""
    graph, params, rest = nnx.split(model, plan.trainable, ...)
    count = jnp.maximum(jax.vmap(lambda micro: targets_ahead(_examples(micro), 2).counted.sum())(batch).sum(), 1)

    def minimised(params: nnx.State, micro: Batch):
        model = nnx.merge(graph, params, rest)
        scored, seen, hidden = score(model, micro, replay=plan.replay, remat=plan.remat)
        found = per_token_loss(loss, scored, micro)
        value = jnp.where(micro.weight != 0, micro.weight * found.loss, 0).sum()
        later = _second_loss(model, hidden, micro) / count if plan.mtp_weight else jnp.zeros_like(value)
        return value + plan.mtp_weight * later, ((value, later), (scored, dict(found.measured), seen))

    def add(total, micro):
        (_, found), one = jax.value_and_grad(minimised, has_aux=True)(params, micro)
        return jax.tree.map(lambda t, x: t + x.astype(t.dtype), total, one), found

    def nothing(leaf: Array) -> Array:
        return jnp.zeros(leaf.shape, jnp.promote_types(leaf.dtype, jnp.float32), device=jax.typeof(leaf).sharding)

    zeros = jax.tree.map(nothing, params)
    gradients, (values, (scored, measured, seen)) = jax.lax.scan(add, zeros, batch)
    seen = Seen(seen.load.sum(0), seen.flips, None if seen.unforced is None else seen.unforced.sum(0))
    return gradients, tuple(x.sum() for x in values), scored, measured, seen


def _second_loss(model: GLM, hidden: Float[Array, "R T D"], batch: Batch) -> Float[Array, ""]:
    """The prediction layer's, summed over learned tokens; with no gradient but the layer's own."""
    graph, own, others = nnx.split(model, nnx.PathContains("mtp"), ...)
    hidden, others = jax.lax.stop_gradient((hidden, others))
    return second_token_sum(nnx.merge(graph, own, others), hidden, _examples(batch))[0]


def _examples(batch: Batch) -> Examples:
    """As supervised training reads rows."""
    return Examples(batch.tokens, batch.mask, batch.segment_ids)


@functools.lru_cache(maxsize=8)
def compiled_update(
    loss: LossFunction, optimizer: optax.GradientTransformation, plan: Plan
) -> Callable[[GLM, optax.OptState, Batch], tuple[nnx.State, optax.OptState, Found]]:
    """An update, compiled when first used: from a model and its optimiser's state to what moves of both.

    Policies with the same loss, optimiser and plan share it.

    It consumes what moves of the model, and the optimiser's state. Frozen parameters may be shared with other models.
    """
    moving = nnx.Any(plan.trainable, Buffer)

    @functools.partial(jax.jit, static_argnums=0, donate_argnums=(1, 2))
    def step(graph, moved, opt_state, frozen, batch):
        model = nnx.merge(graph, moved, frozen)
        gradients, (value, later), scored, measured, seen = gradient(loss, plan, model, batch)
        norm = optax.tree.norm(gradients)
        finite = jnp.isfinite(norm) & jnp.isfinite(value) & jnp.isfinite(later)
        inner, params, rest = nnx.split(model, plan.trainable, ...)
        apply = functools.partial(apply_optimizer, optimizer, gradient_norm=norm)
        params, opt_state = jax.lax.cond(finite, apply, lambda _, *unmoved: unmoved, gradients, params, opt_state)
        model = nnx.merge(inner, params, rest)
        if plan.bias_rate:
            move_biases(model, seen.load, jnp.where(finite, plan.bias_rate, 0), plan.biases)
        found = Found(value, later, norm, finite, scored, measured, *seen)
        return nnx.state(model, moving), opt_state, found

    def call(model: GLM, opt_state: optax.OptState, batch: Batch) -> tuple[nnx.State, optax.OptState, Found]:
        graph, moved, frozen = nnx.split(model, moving, ...)
        return step(graph, moved, opt_state, frozen, batch)

    return call


@functools.partial(jax.jit, static_argnames="replay")
def compiled_score(model: GLM, batch: Batch, *, replay: bool) -> tuple[Scored, Seen]:
    """`score` of micro-batches `[M, R, T]` one after the other, without gradients."""

    def one(_: Any, micro: Batch):
        scored, seen, _ = score(model, micro, replay=replay)
        return None, (scored, seen)

    return jax.lax.scan(one, None, batch)[1]
