"""Held-out accuracy of a policy: greedy, and drawn."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from glmkit.checks import check_integer
from glmkit.rl.policy import Policy
from glmkit.rl.rollout import Rollout
from glmkit.rl.task import Task, modes_of

__all__ = ["Accuracy", "accuracy", "held_out"]


@dataclasses.dataclass(frozen=True, eq=False)
class Accuracy:
    """The shares of held-out problems that are solved, how many there were, and the tokens of an answer, as means."""

    greedy: float
    sampled: float
    count: int
    greedy_tokens: float
    sampled_tokens: float
    rollouts: tuple[Rollout, Rollout] = dataclasses.field(repr=False)  # greedy and sampled, with rewards

    @property
    def metrics(self) -> dict[str, float]:
        """By the names they are logged under."""
        fields = dataclasses.asdict(dataclasses.replace(self, rollouts=()))
        return {f"held_out/{name}": float(value) for name, value in fields.items() if name != "rollouts"}


def accuracy(policy: Policy, task: Task, count: int = 512, *, seed: int = 0, **sampling: Any) -> Accuracy:
    """Ask the first `count` held-out problems once greedily and once with temperature 1, unless `sampling` says other.

    `sampling` takes `max_tokens`, `budget`, `thinking`, `temperature` and what else `Policy.sample` does. The problems
    and the draws are the seed's alone, so that before and after are compared on the same.
    """
    problems = task.batch(check_integer("count", count, 1), seed, "held_out")
    settings = {"thinking": task.thinking, "episode": task.episode, **sampling}
    shares, lengths, rollouts = [], [], []
    for temperature in (0.0, settings.pop("temperature", 1.0)):
        rollout = policy.sample(problems, 1, temperature=temperature, seed=seed, routes=False, **settings)
        rollout = rollout.rewarded(task.reward)
        solved = [task.is_solved(s, r) for s, r in zip(rollout.samples, rollout.rewards.tolist(), strict=True)]
        shares.append(float(np.mean(solved)))
        lengths.append(float(rollout.lengths().mean()))
        rollouts.append(rollout)
    return Accuracy(*shares, len(problems), *lengths, (rollouts[0], rollouts[1]))


def held_out(
    policy: Policy, task: Task, count: int, thinking: str | Sequence[str], **sampling: Any
) -> dict[str, float]:
    """`accuracy` in each mode of thinking, by the names it is logged under: `held_out/<mode>/greedy` of several."""
    modes = list(dict.fromkeys(modes_of(thinking)))
    found = {}
    for mode in modes:
        metrics = accuracy(policy, task, count, thinking=mode, **sampling).metrics
        prefix = "held_out/" if len(modes) == 1 else f"held_out/{mode}/"
        found |= {prefix + name.removeprefix("held_out/"): value for name, value in metrics.items()}
    return found
