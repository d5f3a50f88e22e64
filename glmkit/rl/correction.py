"""Importance corrections: a rollout's sampler and the scorer that trains differ, if only by rounding; these weigh that.

The ratio is `exp(lp_old - lp_rollout)`, of what the training program gave before the update to what was sampled with.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from glmkit.errors import ConfigError
from glmkit.rl.batch import Batch, Scored
from glmkit.rl.loss import Loss, PerToken, old_logprobs, per_token_loss

__all__ = ["Corrected"]


@dataclasses.dataclass(frozen=True)
class Corrected(Loss):
    """A loss weighed by importance: `Corrected(PPO(), "token", "truncate", high=2.0)`.

    Ratios are of tokens, or of whole sequences (the product over the learned tokens of a row). "truncate" brings them
    into `low` to `high` (`low=0` is TIS); "mask" drops what lies outside (IcePop; of sequences:
    rejection). Ratios carry no gradient. Demonstrations were drawn by no sampler: they count in full.
    """

    loss: Loss
    level: Literal["token", "sequence"] = "token"
    how: Literal["truncate", "mask"] = "truncate"
    low: float = 0.0
    high: float = 2.0

    needs_ratio = True

    def __post_init__(self):
        if self.level not in ("token", "sequence"):
            raise ConfigError(f"level is {self.level!r}; expected 'token' or 'sequence'")
        if self.how not in ("truncate", "mask"):
            raise ConfigError(f"how is {self.how!r}; expected 'truncate' or 'mask'")
        if not 0 <= self.low <= 1 <= self.high:
            raise ConfigError(f"low is {self.low!r} and high {self.high!r}; expected 0 <= low <= 1 <= high")

    @property
    def needs_reference(self) -> bool:
        return getattr(self.loss, "needs_reference", False)

    def __call__(self, scored: Scored, batch: Batch) -> PerToken:
        found = per_token_loss(self.loss, scored, batch)
        log_ratio = jax.lax.stop_gradient(old_logprobs(scored, batch)) - batch.behaviour
        log_ratio = jnp.where(batch.mask & ~jnp.isnan(batch.behaviour), log_ratio, 0)
        if self.level == "sequence":
            log_ratio = jnp.broadcast_to(log_ratio.sum(axis=1, keepdims=True), log_ratio.shape)
        ratio = jnp.exp(log_ratio)
        outside = (ratio < self.low) | (ratio > self.high)
        weight = jnp.where(outside, 0, ratio) if self.how == "mask" else jnp.clip(ratio, self.low, self.high)
        measured = {"importance": ratio, "importance_outside": outside.astype(ratio.dtype)}
        return PerToken(weight * found.loss, {**found.measured, **measured})
