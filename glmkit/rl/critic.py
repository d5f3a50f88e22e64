"""A critic: a linear head on the policy's hidden states that learns what is still to be earned, and GAE from it."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from glmkit.errors import DataError
from glmkit.rl.batch import Batch
from glmkit.rl.batches import by_row, micro_batches
from glmkit.rl.description import described
from glmkit.rl.policy import Policy
from glmkit.rl.rollout import Rollout
from glmkit.rl.scoring import score

__all__ = ["Critic", "WithCritic", "gae", "token_rewards"]


def token_rewards(rollout: Rollout) -> Float[np.ndarray, "N T"]:
    """Each sample's reward at the last token that was drawn of it, 0 elsewhere. Raises `DataError` without rewards."""
    if rollout.rewards is None:
        raise DataError("this rollout has no rewards yet: rollout.rewarded(task.reward)")
    rewards = np.zeros(rollout.mask.shape)
    for row, mask in enumerate(rollout.mask):
        follows = (rollout.sample[row + 1 :] == rollout.sample[row]) & rollout.mask[row + 1 :].any(axis=1)
        if mask.any() and not follows.any():
            rewards[row, np.flatnonzero(mask)[-1]] = rollout.rewards[rollout.sample[row]]
    return rewards


def gae(
    rewards: Float[np.ndarray, "N T"],
    values: Float[np.ndarray, "N T"],
    mask: Bool[np.ndarray, "N T"],
    discount: float = 1.0,
    decay: float = 0.95,
    *,
    sample: Int[np.ndarray, " N"] | None = None,
) -> tuple[Float[np.ndarray, "N T"], Float[np.ndarray, "N T"]]:
    """Generalised advantage estimates and returns of the learned tokens (arXiv 1506.02438), 0 elsewhere.

    `values[t]` is what is expected before token t is drawn. Time counts drawn tokens alone: what stands between two
    turns is passed over. `sample` says which rows are one episode, in their order (`rollout.sample`); by default each
    is one of its own.
    """
    owners = range(len(mask)) if sample is None else sample.tolist()
    advantages, values = np.zeros(mask.shape), values.astype(np.float64)
    later: dict[int, tuple[float, float]] = {}  # by episode: the advantage and the value of what was drawn next
    for row, owner in reversed(list(enumerate(owners))):
        running, ahead = later.get(owner, (0.0, 0.0))
        for t in np.flatnonzero(mask[row])[::-1]:
            error = rewards[row, t] + discount * ahead - values[row, t]
            running, ahead = error + discount * decay * running, values[row, t]
            advantages[row, t] = running
        later[owner] = running, ahead
    return advantages, np.where(mask, advantages + values, 0)


@dataclasses.dataclass(frozen=True, eq=False)
class Critic:
    """A linear head: the value before each token, from the hidden state that it is predicted from.

    The policy's network gets no gradient from it.
    """

    weight: Float[Array, " D"]
    bias: Float[Array, ""]

    @classmethod
    def of(cls, policy: Policy) -> Self:
        """One that expects nothing yet."""
        return cls(jnp.zeros(policy.model.config.hidden_size), jnp.zeros(()))

    def values(self, policy: Policy, rollout: Rollout) -> Float[np.ndarray, "N T"]:
        """What is expected before each learned token; 0 elsewhere."""
        hidden = hidden_before(policy, rollout)
        return np.where(rollout.mask, np.asarray(_values(self.weight, self.bias, hidden)), 0)

    def fitted(
        self,
        policy: Policy,
        rollout: Rollout,
        returns: Float[np.ndarray, "N T"],
        *,
        rate: float = 1e-2,
        steps: int = 50,
    ) -> Self:
        """After so many steps of Adam on the mean squared error to the returns of learned tokens."""
        hidden, mask = hidden_before(policy, rollout), jnp.asarray(rollout.mask)
        return type(self)(*_fitted((self.weight, self.bias), hidden, jnp.asarray(returns), mask, rate, steps))

    def advantages(
        self, policy: Policy, rollout: Rollout, discount: float = 1.0, decay: float = 0.95
    ) -> tuple[Rollout, Float[np.ndarray, "N T"]]:
        """The rollout with `gae` of its rewards as the advantages of its tokens, and the returns to fit to."""
        values = self.values(policy, rollout)
        advantages, returns = gae(token_rewards(rollout), values, rollout.mask, discount, decay, sample=rollout.sample)
        return dataclasses.replace(rollout, token_advantages=advantages), returns


class WithCritic:
    """A critic in the loop, `shape=[WithCritic(policy)]`: advantages are `gae` by what it expects, and it then learns
    the rollout's returns, as `Critic.fitted` does. A run that goes on has it as it was."""

    def __init__(
        self, policy: Policy, discount: float = 1.0, decay: float = 0.95, *, rate: float = 1e-2, steps: int = 50
    ):
        self.critic, self._policy = Critic.of(policy), policy
        self._discount, self._decay, self._rate, self._steps = discount, decay, rate, steps

    def __call__(self, rollout: Rollout) -> Rollout:
        taught, returns = self.critic.advantages(self._policy, rollout, self._discount, self._decay)
        self.critic = self.critic.fitted(self._policy, rollout, returns, rate=self._rate, steps=self._steps)
        return taught

    @property
    def digest(self) -> str:
        return described((self._discount, self._decay, self._rate, self._steps))

    def state(self) -> dict[str, Any]:
        return {"weight": self.critic.weight.tolist(), "bias": self.critic.bias.tolist()}

    def restore(self, state: Mapping[str, Any], run: Any) -> None:
        self.critic = Critic(jnp.asarray(state["weight"]), jnp.asarray(state["bias"]))


def hidden_before(policy: Policy, rollout: Rollout) -> Float[np.ndarray, "N T D"]:
    """The state that each token is predicted from, after the final norm; that of the first is 0."""
    batch = micro_batches(rollout, policy.micro_rows, policy.model.embed[...].sharding.mesh)
    hidden = by_row(_hidden(policy.model, batch), len(rollout.tokens)).astype(np.float32)
    return np.pad(hidden[:, :-1], ((0, 0), (1, 0), (0, 0)))


@jax.jit
def _hidden(model, batch: Batch):
    return jax.lax.scan(lambda _, micro: (None, score(model, micro)[2]), None, batch)[1]


def _values(weight: Array, bias: Array, hidden: Array) -> Array:
    return hidden @ weight + bias


@functools.partial(jax.jit, static_argnames=("rate", "steps"))
def _fitted(params, hidden, returns, mask, rate: float, steps: int):
    optimizer = optax.adam(rate)

    def error(params):
        return jnp.where(mask, jnp.square(_values(*params, hidden) - returns), 0).sum() / jnp.maximum(mask.sum(), 1)

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(error)(params), state)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), None, steps)
    return params
