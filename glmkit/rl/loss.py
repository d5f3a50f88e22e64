"""Policy losses as functions from log-probabilities to the loss of each token. Sums and weights are the caller's.

A loss is any `f(scored, batch) -> PerToken`, or an array `[R, T]`; those here also add up and scale: `PPO(0.2, 0.28) +
0.001 * KL("k3")`. `A` is the advantage, `r = exp(lp - lp_old)` the ratio of a token's probability to what it was before
the update. In the first update on a rollout `lp_old` is the gradient-free `lp`, so that r is exactly 1.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from glmkit.errors import ConfigError
from glmkit.rl.batch import Batch, Scored

__all__ = ["CISPO", "GSPO", "PPO", "Entropy", "Loss", "LossFunction", "PerToken", "Reinforce", "per_token_loss"]

MOST_LOG_RATIO = 10.0  # of a sequence, as in GSPO's published code


class PerToken(NamedTuple):
    """The loss of each token, and what was measured of each beside it, by name; means over learned tokens are shown."""

    loss: Float[Array, "R T"]
    measured: Mapping[str, Float[Array, "R T"]] = {}


LossFunction = Callable[[Scored, Batch], PerToken | Float[Array, "R T"]]


class Loss:
    """What the losses of glmkit have in common: they add up, scale, and say what they need."""

    needs_reference = False  # log-probabilities of a reference model in the batch
    needs_ratio = False  # to the policy that sampled: on a rollout of other weights, `old` in the batch

    def __call__(self, scored: Scored, batch: Batch) -> PerToken:
        raise NotImplementedError

    def __add__(self, other: "Loss") -> "Loss":
        return _Sum(self, other) if isinstance(other, Loss) else NotImplemented

    def __mul__(self, weight: float) -> "Loss":
        return _Scaled(self, float(weight))

    __rmul__ = __mul__


def per_token_loss(loss: LossFunction, scored: Scored, batch: Batch) -> PerToken:
    """What a loss function gives, a bare array included. Raises ConfigError for one of another shape."""
    found = loss(scored, batch)
    found = found if isinstance(found, PerToken) else PerToken(found)
    if jnp.shape(found.loss) != scored.logprobs.shape:
        raise ConfigError(
            f"the loss gave shape {list(jnp.shape(found.loss))}; expected one number for each token, "
            f"{list(scored.logprobs.shape)}: how they are summed is said by norm="
        )
    return found


def old_logprobs(scored: Scored, batch: Batch) -> Float[Array, "R T"]:
    """Those from before the update; in the first on a rollout, the ones at hand without their gradient."""
    return jax.lax.stop_gradient(scored.logprobs) if batch.old is None else batch.old


def of_drawn(x: Float[Array, "R T"], batch: Batch) -> Float[Array, "R T"]:
    """0 of demonstrations, which the policy did not draw."""
    return jnp.where(jnp.isnan(batch.behaviour), 0, x)


def sequence_mean(x: Float[Array, "R T"], batch: Batch) -> Float[Array, "R 1"]:
    """Over the learned tokens of each row; 0 where there are none."""
    count = jnp.maximum(batch.mask.sum(axis=1, keepdims=True), 1)
    return jnp.where(batch.mask, x, 0).sum(axis=1, keepdims=True) / count


def _at_least_zero(name: str, value: float) -> None:
    if not value >= 0:
        raise ConfigError(f"{name} is {value!r}; expected a number of at least 0")


@dataclasses.dataclass(frozen=True)
class Reinforce(Loss):
    """`-A r`, without clipping: on the policy that was sampled from, the gradient of `-A lp` (Williams 1992).

    With `ratio=False` it is `-A lp`, whatever the policy was. Off-policy, ratios of tokens leave out how the sequence
    before came about; `glmkit.rl.correction` has whole sequences'.
    """

    ratio: bool = True

    @property
    def needs_ratio(self) -> bool:
        return self.ratio

    def __call__(self, scored: Scored, batch: Batch) -> PerToken:
        if not self.ratio:
            return PerToken(-batch.advantages * scored.logprobs)
        r = jnp.exp(scored.logprobs - old_logprobs(scored, batch))
        return PerToken(-batch.advantages * r)


@dataclasses.dataclass(frozen=True)
class PPO(Loss):
    """`max(-A r, -A clip(r, 1 - low, 1 + high))` (arXiv 1707.06347), by default with DAPO's higher upper bound.

    With `dual` the loss of a negative advantage is at most `-A dual` (dual clip, arXiv 1912.09729; 3 is common).
    """

    low: float = 0.2
    high: float = 0.28
    dual: float | None = None

    needs_ratio = True

    def __post_init__(self):
        _at_least_zero("low", self.low)
        _at_least_zero("high", self.high)
        if self.dual is not None and not self.dual > 1:
            raise ConfigError(f"dual is {self.dual!r}; expected a number above 1, or None")

    def __call__(self, scored: Scored, batch: Batch) -> PerToken:
        a, r = batch.advantages, jnp.exp(scored.logprobs - old_logprobs(scored, batch))
        free, clipped = -a * r, -a * jnp.clip(r, 1 - self.low, 1 + self.high)
        loss, measured = jnp.maximum(free, clipped), _clipped(r, a, self.low, self.high)
        if self.dual is not None:
            bound = -a * self.dual
            measured["clip_dual"] = ((a < 0) & (loss > bound)).astype(r.dtype)
            loss = jnp.where(a < 0, jnp.minimum(loss, bound), loss)
        return PerToken(loss, measured)


@dataclasses.dataclass(frozen=True)
class GSPO(Loss):
    """PPO's loss with one ratio for a sequence: the geometric mean of its tokens' (arXiv 2507.18071).

    The value is the sequence's, the gradient each token's (`lp - sg(lp) + sg(mean of lp - lp_old)`), as the published
    code does it. A sequence is a row; meant for `per_sequence`.
    """

    low: float = 3e-4
    high: float = 4e-4

    needs_ratio = True

    def __post_init__(self):
        _at_least_zero("low", self.low)
        _at_least_zero("high", self.high)

    def __call__(self, scored: Scored, batch: Batch) -> PerToken:
        stop, lp = jax.lax.stop_gradient, scored.logprobs
        of_sequence = sequence_mean(stop(lp) - old_logprobs(scored, batch), batch)
        r, a = jnp.exp(jnp.minimum(lp - stop(lp) + of_sequence, MOST_LOG_RATIO)), batch.advantages
        loss = jnp.maximum(-a * r, -a * jnp.clip(r, 1 - self.low, 1 + self.high))
        return PerToken(loss, _clipped(r, a, self.low, self.high))


@dataclasses.dataclass(frozen=True)
class CISPO(Loss):
    """`-sg(clip(r, 1 - low, 1 + high)) A lp`: every token keeps its gradient (MiniMax-M1, arXiv 2506.13585).

    Both bounds are distances from 1; the published form has no lower one, `low=1`.
    """

    low: float = 1.0
    high: float = 0.28

    needs_ratio = True

    def __post_init__(self):
        _at_least_zero("low", self.low)
        _at_least_zero("high", self.high)

    def __call__(self, scored: Scored, batch: Batch) -> PerToken:
        r = jnp.exp(jax.lax.stop_gradient(scored.logprobs) - old_logprobs(scored, batch))
        weight = jnp.clip(r, 1 - self.low, 1 + self.high)
        measured = {
            "clip_low": (r < 1 - self.low).astype(r.dtype),
            "clip_high": (r > 1 + self.high).astype(r.dtype),
        }
        return PerToken(-jax.lax.stop_gradient(weight) * batch.advantages * scored.logprobs, measured)


@dataclasses.dataclass(frozen=True)
class Entropy(Loss):
    """The negative entropy of the sampling distribution at each token, in nats: `0.01 * Entropy()` keeps it up.

    0 of demonstrations, as of a `KL`.
    """

    def __call__(self, scored: Scored, batch: Batch) -> PerToken:
        return PerToken(of_drawn(-scored.entropy, batch))


@dataclasses.dataclass(frozen=True)
class _Sum(Loss):
    one: Loss
    other: Loss

    @property
    def needs_reference(self) -> bool:
        return self.one.needs_reference or self.other.needs_reference

    @property
    def needs_ratio(self) -> bool:
        return self.one.needs_ratio or self.other.needs_ratio

    def __call__(self, scored: Scored, batch: Batch) -> PerToken:
        one, other = (per_token_loss(part, scored, batch) for part in (self.one, self.other))
        return PerToken(one.loss + other.loss, {**one.measured, **other.measured})

    def __repr__(self) -> str:
        return f"{self.one!r} + {self.other!r}"


@dataclasses.dataclass(frozen=True)
class _Scaled(Loss):
    part: Loss
    weight: float

    @property
    def needs_reference(self) -> bool:
        return self.part.needs_reference

    @property
    def needs_ratio(self) -> bool:
        return self.part.needs_ratio

    def __call__(self, scored: Scored, batch: Batch) -> PerToken:
        found = per_token_loss(self.part, scored, batch)
        return PerToken(self.weight * found.loss, found.measured)

    def __repr__(self) -> str:
        return f"{self.weight} * ({self.part!r})"


def _clipped(r: Array, a: Array, low: float, high: float) -> dict[str, Array]:
    """Which tokens a bound takes the gradient of: the lower where A < 0, the upper where A > 0."""
    below, above = (a < 0) & (r < 1 - low), (a > 0) & (r > 1 + high)
    return {"clip_low": below.astype(r.dtype), "clip_high": above.astype(r.dtype)}
