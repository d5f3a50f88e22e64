"""One training step: gradients over micro-batches, the optimiser's update, and the routers' correction biases."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from glmkit.errors import ConfigError
from glmkit.model import GLM, Buffer, Interventions
from glmkit.model.transformer import Remat
from glmkit.train.balance import imbalance, move_biases
from glmkit.train.data import Batch
from glmkit.train.loss import Sums, loss_sums, targets_ahead
from glmkit.train.optimizer import apply_optimizer

__all__ = [
    "FINE_TUNING",
    "PRETRAINING",
    "Change",
    "Metrics",
    "Objective",
    "TrainState",
    "compiled_step",
    "started",
    "train_step",
]


class Change(NamedTuple):
    """A weight that is `before` in the first `steps` steps and `after` from then on: an `optax` schedule.

    `steps` may be the share of a run's steps, a float between 0 and 1, which `fit` knows the number of.
    """

    before: float
    steps: int | float
    after: float

    def __call__(self, step: Int[Array, ""] | int) -> Float[Array, ""]:
        """Raises `ConfigError` where `steps` is a share: `of_run` makes a number of it."""
        if isinstance(self.steps, float):
            raise ConfigError(f"{self} changes after a share of a run's steps; say of how many with .of_run(steps)")
        return jnp.where(step < self.steps, self.before, self.after)

    def of_run(self, steps: int) -> Self:
        """As it is in a run of so many steps. Raises `ConfigError` for a share that is none."""
        if not isinstance(self.steps, float):
            return self
        if not 0 <= self.steps <= 1:
            raise ConfigError(f"steps of {self} is a float, so a share of the run's; expected one from 0 to 1")
        return self._replace(steps=int(self.steps * steps))


@dataclasses.dataclass(frozen=True)
class Objective:
    """What is minimised, by the weights of GLM-4.5's report; `trainable` is an nnx filter of the parameters that move.

    `mtp_weight` weighs the loss of the token after the next; GLM-4.5's fell when two thirds of its tokens were read,
    `PRETRAINING`'s. `bias_rate` is the step of the correction biases, of those in the filter `biases`; 0
    leaves them as they are. `balance_weight` weighs the sequence-level balance loss, the mean over sequences of its sum
    over layers.
    """

    mtp_weight: float | Change = 0.3
    bias_rate: float = 1e-3
    balance_weight: float = 1e-4
    trainable: nnx.filterlib.Filter = nnx.Param
    biases: nnx.filterlib.Filter = Buffer

    def of_run(self, steps: int) -> Self:
        """As it is in a run of so many steps, where its weights change after a share of them."""
        weight = self.mtp_weight
        return dataclasses.replace(self, mtp_weight=weight.of_run(steps)) if isinstance(weight, Change) else self


PRETRAINING = Objective(mtp_weight=Change(0.3, 2 / 3, 0.1))
FINE_TUNING = Objective(mtp_weight=0.1, bias_rate=0.0, balance_weight=0.0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that a step changes."""

    model: GLM
    opt_state: optax.OptState
    step: jax.Array  # [], int32: updates that were applied

    @classmethod
    def start(
        cls, model: GLM, optimizer: optax.GradientTransformation, trainable: nnx.filterlib.Filter = nnx.Param
    ) -> Self:
        """The state before the first step, its optimiser state laid out as the parameters are.

        It shares its arrays with `model`, which `compiled_step` consumes: give it a copy to keep the model.
        """
        everywhere = NamedSharding(model.embed[...].sharding.mesh, PartitionSpec())
        opt_state = started(optimizer, nnx.state(model, trainable))
        return cls(model, opt_state, jnp.zeros((), jnp.int32, device=everywhere))


class Metrics(NamedTuple):
    """Of one step; losses are means in nats."""

    loss: Float[Array, ""]  # of the next token
    mtp_loss: Float[Array, ""]  # of the token after it; 0 without the layer
    gradient_norm: Float[Array, ""]  # before clipping
    imbalance: Float[Array, ""]  # the busiest expert's load over the mean, in the worst layer
    learned_tokens: Int[Array, ""]
    tokens: Int[Array, ""]  # without padding
    finite: Bool[Array, ""]  # whether the update was applied; it is not if loss or gradient is NaN or infinite
    load: Float[Array, "moe_layer E"]  # tokens that chose each expert; the prediction layer's row last, if it was run


def train_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    remat: Remat = "none",
    interventions: Interventions | None = None,
) -> tuple[TrainState, Metrics]:
    """One update from a batch of micro-batches, `[steps, B, T]`, whose number and split do not change the gradient.

    The loss is of the model changed by `interventions`, whose arrays have the axis of micro-batches first, too.

    To be jitted; see `compiled_step`.
    """
    graph, params, rest = nnx.split(state.model, objective.trainable, ...)
    counts = _counts(batch)

    mtp_weight = objective.mtp_weight
    second, balance = bool(mtp_weight), objective.balance_weight > 0
    if isinstance(mtp_weight, Change):
        mtp_weight = mtp_weight(state.step)

    def minimised(params: nnx.State, micro: Batch, changes: Interventions | None) -> tuple[Array, Sums]:
        model = nnx.merge(graph, params, rest)
        sums = loss_sums(model, micro, second=second, balance=balance, remat=remat, interventions=changes)
        value = sums.next_token / counts.next + mtp_weight * sums.second_token / counts.second
        return value + objective.balance_weight * sums.balance / counts.sequences, sums

    gradients, sums = _accumulated(jax.grad(minimised, has_aux=True), params, batch, interventions)
    norm = optax.tree.norm(jax.tree.map(lambda g: g.astype(jnp.promote_types(g.dtype, jnp.float32)), gradients))
    finite = jnp.isfinite(norm) & jnp.isfinite(sums.next_token) & jnp.isfinite(sums.second_token)

    update = functools.partial(apply_optimizer, optimizer, gradient_norm=norm)
    # A branch, not a selection: inside it XLA updates in place, each number read and written once.
    params, opt_state = jax.lax.cond(finite, update, lambda _, *unmoved: unmoved, gradients, params, state.opt_state)
    model = nnx.merge(graph, params, rest)
    if objective.bias_rate:
        move_biases(model, sums.load, jnp.where(finite, objective.bias_rate, 0), objective.biases)
    new = TrainState(model, opt_state, state.step + finite.astype(jnp.int32))
    metrics = Metrics(
        loss=sums.next_token / counts.next,
        mtp_loss=sums.second_token / counts.second,
        gradient_norm=norm,
        imbalance=imbalance(sums.load),
        learned_tokens=counts.next,
        tokens=(batch.segment_ids >= 0).sum(),
        finite=finite,
        load=sums.load,
    )
    return new, metrics


def compiled_step(
    objective: Objective, optimizer: optax.GradientTransformation, remat: Remat = "none"
) -> Callable[[TrainState, Batch, Interventions | None], tuple[TrainState, Metrics]]:
    """`train_step`, compiled when first used, and again where interventions are of another structure.

    It consumes of the state what training moves: trained parameters, correction biases and the optimiser's state.
    Frozen parameters may be shared with other models.
    """
    moving = nnx.Any(objective.trainable, Buffer)

    @functools.partial(jax.jit, static_argnums=0, donate_argnums=(1, 2))
    def step(graph, moved, counters, frozen, batch, interventions):
        model = nnx.merge(graph, moved, frozen)
        state, metrics = train_step(objective, optimizer, TrainState(model, *counters), batch, remat, interventions)
        return nnx.state(state.model, moving), (state.opt_state, state.step), metrics

    def call(state: TrainState, batch: Batch, interventions: Interventions | None = None) -> tuple[TrainState, Metrics]:
        graph, moved, frozen = nnx.split(state.model, moving, ...)
        moved, counters, metrics = step(graph, moved, (state.opt_state, state.step), frozen, batch, interventions)
        return TrainState(nnx.merge(graph, moved, frozen), *counters), metrics

    return call


def started(optimizer: optax.GradientTransformation, params: nnx.State) -> optax.OptState:
    """The optimiser's state before the first step, laid out as the parameters are."""
    opt_state = jax.jit(optimizer.init, keep_unused=True)(params)
    # Committed, and laid out word for word as the states after it are: else the second step compiles again.
    return jax.device_put(opt_state, jax.tree.map(_spelled_out, opt_state))


def _spelled_out(leaf: jax.Array) -> NamedSharding:
    """The sharding of an array with every dimension named."""
    spec = leaf.sharding.spec
    return NamedSharding(leaf.sharding.mesh, PartitionSpec(*spec, *[None] * (leaf.ndim - len(spec))))


class _Counts(NamedTuple):
    """How much each loss counts in all micro-batches; at least 1."""

    next: Int[Array, ""]
    second: Int[Array, ""]
    sequences: Int[Array, ""]


def _counts(batch: Batch) -> _Counts:
    def count(ahead: int) -> Array:
        return jax.vmap(lambda micro: targets_ahead(micro, ahead).counted.sum())(batch).sum()

    ids = batch.segment_ids
    before = jnp.pad(ids[..., :-1], ((0, 0), (0, 0), (1, 0)), constant_values=-1)
    sequences = ((ids != before) & (ids >= 0)).sum()
    return _Counts(*(jnp.maximum(n, 1) for n in (count(1), count(2), sequences)))


def _accumulated(
    gradient: Callable[[nnx.State, Batch, Interventions | None], tuple[nnx.State, Sums]],
    params: nnx.State,
    batch: Batch,
    interventions: Interventions | None,
) -> tuple[nnx.State, Sums]:
    """Gradients and sums added up over the micro-batches, several of them in float32.

    Empty micro-batches after the last with tokens cost nothing, so that a batch which grows does not compile again.
    """
    inputs = batch, interventions
    if batch.tokens.shape[0] == 1:
        return gradient(params, *jax.tree.map(lambda x: x[0], inputs))

    def add(index, total):
        micro = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, index, keepdims=False), inputs)
        return jax.tree.map(lambda t, x: t + x.astype(t.dtype), total, gradient(params, *micro))

    numbers = jnp.arange(1, batch.tokens.shape[0] + 1)
    filled = jnp.where((batch.segment_ids >= 0).any(axis=(1, 2)), numbers, 0).max()
    shapes = jax.eval_shape(gradient, params, *jax.tree.map(lambda x: x[0], inputs))
    zeros = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, jnp.promote_types(leaf.dtype, jnp.float32), device=leaf.sharding), shapes
    )
    return jax.lax.fori_loop(0, filled, add, zeros)
