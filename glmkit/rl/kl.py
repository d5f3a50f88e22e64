"""The divergence of the policy from a reference, estimated at the sampled tokens."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from glmkit.errors import ConfigError
from glmkit.rl.batch import Batch, Scored
from glmkit.rl.loss import Loss, PerToken, of_drawn, old_logprobs

__all__ = ["KL", "estimate"]

Kind = Literal["k1", "k2", "k3"]


def estimate(kind: Kind, difference: Float[Array, "..."]) -> Float[Array, "..."]:
    """An estimate of KL(policy || reference) from `d = lp - lp_reference` of a token that the policy drew.

    k1 is d, k2 d**2 / 2, k3 exp(-d) + d - 1. In expectation k1 and k3 are the divergence; k2 is close to it where the
    two are close, and is the one whose gradient has the divergence's as its expectation.
    """
    match kind:
        case "k1":
            return difference
        case "k2":
            return difference**2 / 2
        case "k3":
            return jnp.expm1(-difference) + difference
    raise ConfigError(f"kind is {kind!r}; expected 'k1', 'k2' or 'k3'")


@dataclasses.dataclass(frozen=True)
class KL(Loss):
    """Each token's estimate of KL(policy || reference), as a penalty; 0 of demonstrations.

    Differentiated as they stand, k1 and k3 have the wrong gradient in expectation: that of k1 is 0, that of k3 the
    gradient of KL(reference || policy). With `right_gradient` the value is the kind's and the gradient k2's, which in
    expectation is that of the divergence at each state. With `corrected` the estimate is multiplied by the ratio
    `exp(lp - lp_old)` and then differentiated: k1 and k3 then have the right gradient, also off-policy (DeepSeek-V3.2).
    """

    kind: Kind = "k3"
    right_gradient: bool = True
    corrected: bool = False

    needs_reference = True

    @property
    def needs_ratio(self) -> bool:
        return self.corrected

    def __post_init__(self):
        estimate(self.kind, jnp.zeros(()))

    def __call__(self, scored: Scored, batch: Batch) -> PerToken:
        if batch.reference is None:
            raise ConfigError("KL needs the reference's log-probabilities: policy.with_reference(rollout)")
        lp = scored.logprobs
        difference = of_drawn(lp - batch.reference, batch)
        value = loss = estimate(self.kind, difference)
        if self.corrected:
            loss = value * jnp.exp(lp - old_logprobs(scored, batch))
        elif self.right_gradient:
            surrogate = estimate("k2", difference)
            loss = jax.lax.stop_gradient(value - surrogate) + surrogate
        return PerToken(loss, {"kl": value})
