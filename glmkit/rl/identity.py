"""What two RL runs must have in common for one to go on with the other's state."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from glmkit.engine.context import fingerprint
from glmkit.model.adapter import adapted_places
from glmkit.rl.description import described
from glmkit.rl.policy import Policy
from glmkit.rl.settings import Settings
from glmkit.rl.task import Task
from glmkit.train.identity import Identity

__all__ = ["RLIdentity"]

_FREE = ("steps", "eval_every", "eval_count")  # settings that what a step learns does not depend on


@dataclasses.dataclass(frozen=True)
class RLIdentity(Identity):
    """The model that a run began from and its weights, the task, all functions that what is learned depends on, hooks
    with a state among them, and the settings but those of how long it goes on and when it is evaluated."""

    model: Mapping[str, Any]
    task: str
    loss: Mapping[str, str]
    settings: Mapping[str, Any]
    lora_scales: Sequence[float] = ()

    @classmethod
    def of(
        cls,
        policy: Policy,
        task: Task,
        settings: Settings,
        functions: Mapping[str, Callable],
        shape: Sequence[Callable],
        hooks: Sequence[Callable],
    ) -> Self:
        """Of a run that begins."""
        given = {**functions, **{f"shape[{index}]": function for index, function in enumerate(shape)}}
        given |= {f"hooks[{index}]": hook for index, hook in enumerate(hooks) if hasattr(hook, "state")}
        weights = fingerprint(policy.reference.model)
        plan = policy.plan
        trained = {"router": policy.router, "bias_rate": plan.bias_rate, "mtp_weight": plan.mtp_weight}
        return cls(
            model={"config": policy.reference.config.to_hf(), "weights": weights, **trained},
            task=f"{task.name} {task.digest}",
            loss={name: described(function) for name, function in given.items()},
            settings={name: value for name, value in dataclasses.asdict(settings).items() if name not in _FREE},
            lora_scales=sorted({place.parameter.scale for place in adapted_places(policy.reference.model)}),
        )
