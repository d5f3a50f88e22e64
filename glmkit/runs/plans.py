"""What a run asks of a plan of interventions, whoever makes it: `glmkit.probe` does."""

from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np
from jaxtyping import Float, Int

from glmkit.model import GLM, Interventions

__all__ = ["BoundPlan", "Plan"]


class BoundPlan(Protocol):
    """A plan for one model and one sequence of tokens, or a batch that begins alike."""

    @property
    def watches_effects(self) -> bool:
        """Whether it wants to be told what it changed about the routes."""

    def at(self, positions: Int[np.ndarray, "B T"], phases: Int[np.ndarray, "B T"]) -> Interventions:
        """What changes for tokens at these positions; phases are numbers into `PHASES`, -1 for padding."""

    def idle(self, effects: Float[np.ndarray, "moe_layer E"] | None) -> Sequence[str]:
        """After all tokens, in words, what of the plan never did anything."""


class Plan(Protocol):
    """Interventions by name."""

    def __add__(self, other: Self) -> Self: ...

    def bind(self, model: GLM, steps: int | None) -> BoundPlan:
        """For a model and so many tokens, None where it is not known how many there will be.

        Raises RequestError naming a layer, expert, site or token that does not exist.
        """
