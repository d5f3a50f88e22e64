"""A step of a run: what hooks hear, and what iterating a run gives."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from glmkit.lm import LM
from glmkit.rl.policy import Policy, Update
from glmkit.rl.rollout import Rollout

if TYPE_CHECKING:
    from glmkit.rl.steps import Run

__all__ = ["Step"]


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """What came of one step. Step 0 is the policy as it was given: it has held-out accuracy and no rollout.

    `rollout` is what `updates` learned from. Metrics of rewards, lengths and groups are of all that was sampled; what
    `shape` made of it has its own, `shaped/...`. Of several updates the last one is told, but of mismatch, routes, KL
    and entropy the first one, which began from the sampler's weights: the last one's are then `last/...`.
    """

    number: int
    metrics: Mapping[str, float]
    rollout: Rollout | None
    updates: tuple[Update, ...]
    run: "Run" = dataclasses.field(repr=False)

    @property
    def reward(self) -> float:
        """The mean of the rewards of all that was sampled."""
        return self.metrics["reward"]

    @property
    def policy(self) -> Policy:
        return self.run.policy

    @property
    def load(self) -> np.ndarray | None:
        """How many tokens chose each expert in the last update, `[moe_layer, E]`; None where there was none."""
        return self.updates[-1].load if self.updates else None

    @property
    def lm(self) -> LM:
        """An LM of a copy of the weights as they are now."""
        return self.run.lm

    def stop(self) -> None:
        """Let this be the last step."""
        self.run.stop()
