"""Advantages: from the rewards of groups of samples to how much better each was than what was to be expected.

Each is a plain function of rewards `[G, n]`, a row for the `n` samples of one problem, that returns as many advantages.
Anything with that signature may take their place. By all but `plain`, a group whose rewards are all equal has
advantages of exactly 0.
"""

import numpy as np
from jaxtyping import Float

from glmkit.errors import ConfigError

__all__ = ["dr_grpo", "grpo", "maxrl", "plain", "rloo", "whitened"]

Rewards = Float[np.ndarray, "G n"]


def plain(rewards: Rewards) -> Rewards:
    """The rewards themselves: REINFORCE without a baseline (Williams 1992). Unbiased, and of high variance."""
    return rewards.copy()


def grpo(rewards: Rewards, eps: float = 1e-6) -> Rewards:
    """`(r - mean) / (std + eps)` within the group, std with n - 1 in its denominator (GRPO, arXiv 2402.03300).

    Biased: groups with little spread count more. A group of one sample has advantage 0.
    """
    centred = dr_grpo(rewards)
    if rewards.shape[1] == 1:
        return centred
    return np.where(_equal(rewards), 0.0, centred / (rewards.std(axis=1, ddof=1, keepdims=True) + eps))


def dr_grpo(rewards: Rewards) -> Rewards:
    """`r - mean` within the group (Dr. GRPO, arXiv 2503.20783).

    Its expected gradient is `(n - 1) / n` of the exact one, since a sample is part of its own baseline.
    """
    return np.where(_equal(rewards), 0.0, rewards - rewards.mean(axis=1, keepdims=True))


def rloo(rewards: Rewards) -> Rewards:
    """`r - mean of the others` (REINFORCE leave-one-out, arXiv 2402.14740). Unbiased.

    Raises `ConfigError` for groups of one, which have no others.
    """
    n = rewards.shape[1]
    if n < 2:
        raise ConfigError("rloo compares a sample with the others of its group; sample n of at least 2")
    return dr_grpo(rewards) * (n / (n - 1))


def maxrl(rewards: Rewards) -> Rewards:
    """`(r - mean) / mean` within the group, for rewards of at least 0; 0 where all are 0 (MaxRL).

    For rewards of 0 and 1 with success probability p its expected gradient is that of `-sum((1 - p)**k / k)` for k
    from 1 to n - 1: the first terms of `log p`, so that hard problems count more. Raises `ConfigError` for a negative
    reward.
    """
    if (rewards < 0).any():
        raise ConfigError(f"maxrl takes rewards of at least 0, got {rewards.min()}; shift them, or use rloo")
    mean = rewards.mean(axis=1, keepdims=True)
    return dr_grpo(rewards) / np.where(mean > 0, mean, 1.0)


def whitened(rewards: Rewards, eps: float = 1e-6) -> Rewards:
    """`r - mean` within the group, divided by the spread of all that is left (REINFORCE++ with baseline).

    The divisor is the root mean square over the batch, so that groups keep their weight relative to one another.
    """
    centred = dr_grpo(rewards)
    return centred / (np.sqrt(np.square(centred).mean()) + eps)


def _equal(rewards: Rewards) -> np.ndarray:
    """Groups without any difference: the mean of equal numbers may differ from them by rounding."""
    return rewards.max(axis=1, keepdims=True) == rewards.min(axis=1, keepdims=True)
