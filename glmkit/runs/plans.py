"""What a run asks of a plan of interventions, whoever makes it: `glmkit.probe` does."""

from typing import Protocol, Self

from glmkit.engine.probing import BoundPlan
from glmkit.model import GLM

__all__ = ["BoundPlan", "Plan"]


class Plan(Protocol):
    """Interventions by name."""

    def __bool__(self) -> bool:
        """Whether it has any: one without is as none."""

    def __add__(self, other: Self) -> Self: ...

    def bind(self, model: GLM, steps: int | None) -> BoundPlan:
        """For a model and so many tokens, None where it is not known how many there will be.

        Raises RequestError naming a layer, expert, site or token that does not exist.
        """

    def check_given(self, what: str) -> None:
        """Raise RequestError if it depends on phases, which `what` does not keep when it is given to go on from."""
