"""What a run trains: adapters if the model has any, else its parameters, without those that are frozen."""

import dataclasses
from fnmatch import fnmatchcase
from typing import Any

from flax import nnx

from glmkit.errors import ConfigError
from glmkit.model import GLM
from glmkit.model.adapter import LoRAParam, adapted_places
from glmkit.train.step import Objective

__all__ = ["trained_objective"]


@dataclasses.dataclass(frozen=True)
class _Free:
    """A filter of the parameters whose path, such as `blocks.0.attention.q`, no pattern names."""

    patterns: tuple[str, ...]

    def __call__(self, path: tuple[Any, ...], _: Any) -> bool:
        return not any(self.names(pattern, path) for pattern in self.patterns)

    @staticmethod
    def names(pattern: str, path: tuple[Any, ...]) -> bool:
        """Whether a pattern names the parameter, or what it is part of."""
        path = ".".join(map(str, path))
        return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}.*")


def trained_objective(objective: Objective, model: GLM, freeze: tuple[str, ...]) -> Objective:
    """An objective with the filter of what is trained: adapters if the model has any, and what is not frozen.

    Raises ConfigError for a pattern that names no parameter.
    """
    adapted = bool(adapted_places(model))
    kind = LoRAParam if adapted else nnx.Param
    paths = [path for path, _ in nnx.to_flat_state(nnx.state(model, kind))]
    for pattern in freeze:
        if not any(_Free.names(pattern, path) for path in paths):
            known = ", ".join(".".join(map(str, path)) for path in paths[:3])
            raise ConfigError(f"freeze: {pattern!r} names no trained parameter; they are called {known}, ...")
    return dataclasses.replace(
        objective,
        trainable=nnx.All(kind, _Free(freeze)) if freeze else kind,
        mtp_weight=0.0 if adapted or model.mtp is None else objective.mtp_weight,
    )
