"""Which parameters are trained: adapters if a model has any, all the others if not, and of these what is not frozen."""

import dataclasses
import re
from fnmatch import fnmatchcase
from typing import Any

import jax
from flax import nnx

from glmkit.errors import ConfigError
from glmkit.model import GLM, Buffer
from glmkit.model.adapter import LoRAParam, adapted_places
from glmkit.train.step import Objective

__all__ = ["but", "copied", "names", "trainable", "trained_objective"]

_BLOCK = re.compile(r"blocks\.(\d+)(?:\.|$)")


def trainable(model: GLM, freeze: tuple[str, ...] = ()) -> nnx.filterlib.Filter:
    """The filter of what is trained; `freeze` names what is not, by patterns such as "embed" or "blocks.0.*".

    Raises `ConfigError` for a pattern that names nothing, or a layer by the number of a stack that holds several.
    """
    kind = LoRAParam if adapted_places(model) else nnx.Param
    for pattern in freeze:
        if _names_a_stack(model, pattern):
            raise ConfigError(
                f"freeze: {pattern!r} names a stack of several layers here; freeze by kind, as 'blocks.*.attention', "
                "or train model.unstacked()"
            )
        if not names(model, pattern):
            paths = [".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(model, kind))]
            raise ConfigError(
                f"freeze: {pattern!r} names nothing that training moves; it moves {', '.join(paths[:3])}, ..."
            )
    return but(freeze, kind)


def trained_objective(objective: Objective, model: GLM, freeze: tuple[str, ...]) -> Objective:
    """An objective of what it trains itself and `trainable` leaves; without the second token's loss where no layer that
    learns has one.

    Adapters alone learn with the correction biases as they are: a file of adapters has no place for others. Raises as
    `trainable`, and `ConfigError` where nothing is left to train.
    """
    adapted = adapted_places(model)
    without_mtp = model.mtp is None or (adapted and not any(place.in_mtp for place in adapted))
    moves = trainable(model, freeze)
    if objective.trainable is not nnx.Param:  # of which an adapter's are none
        moves = nnx.All(objective.trainable, moves)
    if not nnx.to_flat_state(nnx.state(model, moves)):
        raise ConfigError(f"there is nothing to train with freeze={freeze} and trainable={objective.trainable}")
    return dataclasses.replace(
        objective,
        trainable=moves,
        biases=nnx.All(objective.biases, but(freeze, Buffer)),
        mtp_weight=0.0 if without_mtp else objective.mtp_weight,
        bias_rate=0.0 if adapted else objective.bias_rate,
    )


def names(model: GLM, pattern: str) -> bool:
    """Whether a pattern names anything that training could move: an adapter, or parameters and correction biases."""
    kind = LoRAParam if adapted_places(model) else nnx.Any(nnx.Param, Buffer)
    return any(_named(pattern, path) for path, _ in nnx.to_flat_state(nnx.state(model, kind)))


def _names_a_stack(model: GLM, pattern: str) -> bool:
    """Whether a pattern begins with the number of a block that is several layers."""
    block = _BLOCK.match(pattern)
    return block is not None and (dict(enumerate(model.layer_counts)).get(int(block[1])) or 1) > 1


def copied(model: GLM, which: nnx.filterlib.Filter) -> GLM:
    """The model with copies of these arrays, sharing the others."""
    graph, own, shared = nnx.split(model, which, ...)
    return nnx.merge(graph, jax.tree.map(lambda leaf: leaf.copy(), own), shared)


def but(freeze: tuple[str, ...], kind: nnx.filterlib.Filter) -> nnx.filterlib.Filter:
    """The filter of a kind of variables, but for those that patterns name."""
    return nnx.All(kind, _Free(freeze)) if freeze else kind


@dataclasses.dataclass(frozen=True)
class _Free:
    """A filter of the variables whose path, such as `blocks.0.attention.q`, no pattern names."""

    patterns: tuple[str, ...]

    def __call__(self, path: tuple[Any, ...], _: Any) -> bool:
        return not any(_named(pattern, path) for pattern in self.patterns)


def _named(pattern: str, path: tuple[Any, ...]) -> bool:
    """Whether a pattern names the parameter, or what it is part of."""
    path = ".".join(map(str, path))
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}.*")
