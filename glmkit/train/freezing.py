"""Which parameters are trained: adapters if a model has any, all the others if not, and of these what is not frozen."""

import dataclasses
from fnmatch import fnmatchcase
from typing import Any

import jax
from flax import nnx

from glmkit.errors import ConfigError
from glmkit.model import GLM
from glmkit.model.adapter import LoRAParam, adapted_places
from glmkit.train.step import Objective

__all__ = ["copied", "names", "trainable", "trained_objective"]


def trainable(model: GLM, freeze: tuple[str, ...] = ()) -> nnx.filterlib.Filter:
    """The filter of what is trained; `freeze` names what is not, by patterns such as "embed" or "blocks.0.*".

    Raises `ConfigError` for a pattern that names nothing.
    """
    kind = LoRAParam if adapted_places(model) else nnx.Param
    for pattern in freeze:
        if not names(model, pattern):
            paths = [".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(model, kind))]
            raise ConfigError(
                f"freeze: {pattern!r} names no trained parameter; they are called {', '.join(paths[:3])}, ..."
            )
    return nnx.All(kind, _Free(freeze)) if freeze else kind


def trained_objective(objective: Objective, model: GLM, freeze: tuple[str, ...]) -> Objective:
    """An objective with the filter of `trainable`; without the second token's loss where no layer that learns has one.

    Adapters alone learn with the correction biases as they are: a file of adapters has no place for others. Raises as
    `trainable`.
    """
    adapted = adapted_places(model)
    without_mtp = model.mtp is None or (adapted and not any(place.in_mtp for place in adapted))
    return dataclasses.replace(
        objective,
        trainable=trainable(model, freeze),
        mtp_weight=0.0 if without_mtp else objective.mtp_weight,
        bias_rate=0.0 if adapted else objective.bias_rate,
    )


def names(model: GLM, pattern: str) -> bool:
    """Whether a pattern names any parameter that would be trained."""
    kind = LoRAParam if adapted_places(model) else nnx.Param
    return any(_named(pattern, path) for path, _ in nnx.to_flat_state(nnx.state(model, kind)))


def copied(model: GLM, which: nnx.filterlib.Filter) -> GLM:
    """The model with copies of these arrays, sharing the others."""
    graph, own, shared = nnx.split(model, which, ...)
    return nnx.merge(graph, jax.tree.map(lambda leaf: leaf.copy(), own), shared)


@dataclasses.dataclass(frozen=True)
class _Free:
    """A filter of the parameters whose path, such as `blocks.0.attention.q`, no pattern names."""

    patterns: tuple[str, ...]

    def __call__(self, path: tuple[Any, ...], _: Any) -> bool:
        return not any(_named(pattern, path) for pattern in self.patterns)


def _named(pattern: str, path: tuple[Any, ...]) -> bool:
    """Whether a pattern names the parameter, or what it is part of."""
    path = ".".join(map(str, path))
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}.*")
