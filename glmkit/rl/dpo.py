"""Direct preference optimisation: of two samples of one problem, the better is made likelier than the worse."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from glmkit.errors import ConfigError, DataError
from glmkit.rl.batch import Batch, Scored
from glmkit.rl.loss import Loss, PerToken
from glmkit.rl.rollout import Rollout

__all__ = ["DPO", "NothingToPrefer", "preferred"]


class NothingToPrefer(DataError):
    """Rewards are equal within each group. `gk.rl.train` warns of it, and makes no update in that step."""


def preferred(rollout: Rollout) -> Rollout:
    """The best and the worst sample of each group by reward, side by side; groups without a difference are left out.

    What `DPO` takes. Raises `NothingToPrefer` if none is left, and `DataError` if a sample has more than one row.
    """
    if rollout.rewards is None:
        raise DataError("this rollout has no rewards to prefer by: rollout.rewarded(task.reward)")
    pairs = []
    for group in np.unique(rollout.group):
        (mine,) = np.nonzero(rollout.group == group)
        best, worst = (mine[pick(rollout.rewards[mine])] for pick in (np.argmax, np.argmin))
        if rollout.rewards[best] > rollout.rewards[worst]:
            pairs += [best, worst]
    if not pairs:
        raise NothingToPrefer("no group has samples of different rewards: there is nothing to prefer")
    chosen = rollout[np.array(pairs)]
    if len(chosen.tokens) != len(chosen):
        raise DataError("a preferred sample has several rows; DPO compares samples of one row")
    return dataclasses.replace(chosen, advantages=np.zeros(len(chosen)), token_advantages=None)


@dataclasses.dataclass(frozen=True)
class DPO(Loss):
    """`-log sigmoid(beta * d)` of each pair (arXiv 2305.18290), where d is how much more the policy than the reference
    prefers the better sample: a difference of sums of log-probabilities over learned tokens.

    Rows are those of `preferred`, better and worse in turn, in micro-batches of an even number of rows. Every token of
    a pair has the pair's loss, so that by `per_sequence` the batch's is the mean over pairs.
    """

    beta: float = 0.1

    needs_reference = True

    def __call__(self, scored: Scored, batch: Batch) -> PerToken:
        if scored.logprobs.shape[0] % 2:
            raise ConfigError(f"DPO takes pairs of rows; Policy(micro_rows=) is {scored.logprobs.shape[0]}, not even")
        if batch.reference is None:
            raise ConfigError("DPO needs the reference's log-probabilities: policy.with_reference(rollout)")
        gained = jnp.where(batch.mask, scored.logprobs - batch.reference, 0).sum(axis=1)
        margin = self.beta * (gained[0::2] - gained[1::2])
        loss = jnp.repeat(-jax.nn.log_sigmoid(margin), 2)[:, None]
        right = jnp.repeat(margin > 0, 2)[:, None]
        shape = scored.logprobs.shape
        return PerToken(jnp.broadcast_to(loss, shape), {"preferred": jnp.broadcast_to(right, shape).astype(loss.dtype)})
