"""What two runs must have in common for one to go on with the other's state, and what a card tells of a run."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import jax
from flax import nnx

from glmkit.engine.context import fingerprint
from glmkit.errors import TrainingError
from glmkit.lm import LM
from glmkit.loading import public_name
from glmkit.model import GLM
from glmkit.model.adapter import adapted_places
from glmkit.train.settings import Settings
from glmkit.train.step import Objective
from glmkit.weights.card import derived_card, stated_licence

__all__ = ["Identity", "RunIdentity", "card_of", "difference", "origin_of"]

_SHOWN = 5  # differences


@dataclasses.dataclass(frozen=True)
class Identity:
    """What two runs must have in common for one to go on with the other's state: fields that JSON can hold."""

    def check(self, saved: Mapping[str, Any], folder: Path) -> None:
        """Raise `TrainingError` naming what differs from the run in `folder`."""
        for name, value in json.loads(json.dumps(dataclasses.asdict(self))).items():  # as it was saved
            if saved.get(name, value) != value and "" not in (saved[name], value):  # one of the two may not say
                raise TrainingError(
                    f"{folder} holds a run with another {name}: {difference(saved[name], value)}; go on as it began, "
                    "or give another folder to start afresh"
                )


@dataclasses.dataclass(frozen=True)
class RunIdentity(Identity):
    """Of a run of `fit`. Its checkpoints hold what training moves, which began as `initial` tells, a fingerprint, as
    `frozen` does of the other weights. `eval_data` is what the best checkpoints are chosen by.
    """

    config: Mapping[str, Any]
    optimizer: str
    data: str
    settings: Mapping[str, Any]
    frozen: str = ""
    initial: str = ""
    eval_data: str = ""
    lora_scales: Sequence[float] = ()

    @classmethod
    def of(
        cls,
        model: GLM,
        moving: nnx.filterlib.Filter,
        settings: Settings,
        objective: Objective,
        more: Mapping[str, Any],
        **digests: str,
    ) -> Self:
        """Of a run that begins with `model`, of which it moves what a filter tells."""
        _, moved, frozen = nnx.split(model, moving, ...)
        stated = {
            name: value
            for name, value in dataclasses.asdict(settings).items()
            if name != "remat" and (name, value) != ("workers", 0)  # as runs were before there were any
        }
        weights = {name: getattr(objective, name) for name in ("mtp_weight", "bias_rate", "balance_weight")}
        size = sum(leaf.size for leaf in jax.tree.leaves(moved))
        return cls(
            config=model.config.to_hf(),
            optimizer=settings.optimizer,
            settings=stated | weights | more | {"trained_parameters": size},
            frozen=fingerprint(frozen),
            initial=fingerprint(moved),
            lora_scales=sorted({place.parameter.scale for place in adapted_places(model)}),
            **digests,
        )


def card_of(source: LM, steps: int, data: Any) -> bytes:
    """The card of an LM that training made from another."""
    name = public_name(source.name)
    return derived_card(name, "Trained by `glmkit.train.fit`.", library="glmkit", **origin_of(source, steps, data))


def origin_of(source: LM | GLM, steps: int, data: Any) -> dict[str, Any]:
    """What a card tells of weights that `steps` steps of training on `data`, a `Source`, made from those of `source`.

    As `save_adapter` takes it: `base_model`, `licence` (None where the source says neither) and `facts`.
    """
    known = isinstance(source, LM) and bool(source.name)
    facts = {"steps": steps, "data": str(data.report).partition("\n")[0], "data SHA-256": data.digest}
    return {
        "base_model": public_name(source.name) if known else None,
        "licence": stated_licence(source.about.get("README.md")) if known else None,
        "facts": facts,
    }


def difference(saved: Any, given: Any) -> str:
    """What differs, of mappings by key; empty if nothing does."""
    if isinstance(saved, Mapping) and isinstance(given, Mapping):
        keys = sorted(key for key in saved.keys() | given.keys() if saved.get(key) != given.get(key))
        more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
        return ", ".join(f"{key} {saved.get(key)!r} there, {given.get(key)!r} here" for key in keys[:_SHOWN]) + more
    return f"{saved!r} there, {given!r} here"
