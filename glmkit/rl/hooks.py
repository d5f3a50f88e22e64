"""What may stand in a run beside its stages: functions that shape or filter a rollout, and hooks that hear a step.

Each is a plain callable. One that remembers something of earlier steps has `state()`, which JSON can hold, and
`restore(state, run)`, by which a run saves it and has it go on where it was, and tells by its `digest` what it was made
with.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from glmkit.errors import ConfigError
from glmkit.rl.description import described
from glmkit.rl.rollout import Rollout
from glmkit.rl.task import Task

if TYPE_CHECKING:
    from glmkit.rl.step import Step

__all__ = ["Curriculum", "DynamicTemperature", "Shortened", "StopAt", "Within", "drop_equal_groups"]


def drop_equal_groups(rollout: Rollout) -> Rollout:
    """Without the groups whose rewards are all equal, which teach nothing; if that is all of them, as it is."""
    differs = np.array([np.ptp(rollout.rewards[rollout.group == group]) > 0 for group in rollout.group], bool)
    return rollout.where(differs) if differs.any() else rollout


@dataclasses.dataclass(frozen=True)
class Within:
    """Keeps the groups whose mean reward lies in `low` to `high`; if there are none, the rollout as it is."""

    low: float
    high: float

    def __call__(self, rollout: Rollout) -> Rollout:
        means = np.array([rollout.rewards[rollout.group == group].mean() for group in rollout.group])
        kept = (means >= self.low) & (means <= self.high)
        return rollout.where(kept) if kept.any() else rollout


@dataclasses.dataclass(frozen=True)
class Shortened:
    """Takes from the reward of what is right in proportion to its length: `weight` at the longest of its group's right
    samples, nothing at the shortest. What is wrong keeps its reward, so that it does not pay to be wrong shortly."""

    weight: float
    right: float = 1.0  # a reward of at least so much is right

    def __call__(self, rollout: Rollout) -> Rollout:
        rewards, lengths = rollout.rewards.copy(), rollout.lengths()
        for group in np.unique(rollout.group):
            (mine,) = np.nonzero((rollout.group == group) & (rollout.rewards >= self.right))
            if len(mine) > 1 and np.ptp(lengths[mine]):
                rewards[mine] -= self.weight * (lengths[mine] - lengths[mine].min()) / np.ptp(lengths[mine])
        return rollout.with_rewards(rewards, {**rollout.parts, "length": rewards - rollout.rewards})


class StopAt:
    """Stops the run when a metric reaches a value, or falls to it with `below=True`; started again, it stays there."""

    def __init__(self, metric: str, value: float, below: bool = False):
        self._metric, self._value, self._below = metric, value, below
        self._reached = False

    def __call__(self, step: "Step") -> None:
        now = step.metrics.get(self._metric)
        if now is not None and (now <= self._value if self._below else now >= self._value):
            self._reached = True
            step.stop()

    @property
    def digest(self) -> str:
        return described((self._metric, self._value, self._below))

    def state(self) -> dict[str, Any]:
        return {"reached": self._reached}

    def restore(self, state: dict[str, Any], run: Any) -> None:
        self._reached = bool(state["reached"])
        if self._reached:
            run.stop()


class Curriculum:
    """Goes to the next of several tasks when the mean reward of the last `patience` steps reaches `reward`.

    GLM-4.5's report trains in two stages so: on problems of moderate difficulty, then on those that it solves seldom
    (arXiv 2508.06471, 3.2). The run begins with a task of its own, whose held-out problems stay those that are asked;
    these come after it. Raises `DataError` for a task whose problems cannot be asked.
    """

    def __init__(self, tasks: Sequence[Task], reward: float, patience: int = 5):
        if not tasks:
            raise ConfigError("Curriculum takes the tasks that come after the run's own")
        for task in tasks:
            task.batch(1, "check")
        self._tasks, self._reward, self._patience = tuple(tasks), reward, patience
        self.stage, self._seen = 0, []

    def __call__(self, step: "Step") -> None:
        if step.number and self.stage < len(self._tasks):
            self._seen = [*self._seen, step.reward][-self._patience :]
            if len(self._seen) == self._patience and np.mean(self._seen) >= self._reward:
                self.stage, self._seen = self.stage + 1, []
                step.run.task = self._tasks[self.stage - 1]

    @property
    def digest(self) -> str:
        return described((self._tasks, self._reward, self._patience))

    def state(self) -> dict[str, Any]:
        return {"stage": self.stage, "seen": self._seen}

    def restore(self, state: dict[str, Any], run: Any) -> None:
        self.stage, self._seen = int(state["stage"]), list(state["seen"])
        if self.stage:
            run.task = self._tasks[self.stage - 1]


class DynamicTemperature:
    """Raises the temperature by `by` where the mean reward has not risen for `patience` steps, up to `most`.

    GLM-4.5's report does so when rewards stabilise, to keep what is sampled diverse, as far as a validation set shows
    no loss (arXiv 2508.06471, 3.2). `allows` is such a check: told the step, it says whether to go higher.
    """

    def __init__(
        self, by: float = 0.1, most: float = 1.2, patience: int = 10, allows: Callable[["Step"], bool] | None = None
    ):
        self._by, self._most, self._patience, self._allows = by, most, patience, allows
        self._best, self._waited = -np.inf, 0

    def __call__(self, step: "Step") -> None:
        if not step.number:
            return
        better = step.reward > self._best
        self._best, self._waited = max(self._best, step.reward), 0 if better else self._waited + 1
        if self._waited >= self._patience and (self._allows is None or self._allows(step)):
            now = step.run.temperature
            step.run.temperature, self._waited = max(now, min(self._most, now + self._by)), 0

    @property
    def digest(self) -> str:
        return described((self._by, self._most, self._patience, self._allows))

    def state(self) -> dict[str, Any]:
        return {"best": float(self._best) if np.isfinite(self._best) else None, "waited": self._waited}

    def restore(self, state: dict[str, Any], run: Any) -> None:
        self._best = -np.inf if state["best"] is None else state["best"]
        self._waited = int(state["waited"])
