"""Interventions in the routing: experts taken out, biased, forced or replayed, and the scale of the shared ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int

from glmkit.errors import RequestError
from glmkit.probe.plan import BoundPart, Tables, Target
from glmkit.probe.selectors import TokenSelector
from glmkit.probe.written import call
from glmkit.runs import Routing, Run
from glmkit.runs.layers import in_words

__all__ = ["Ablated", "Biased", "Forced", "Replayed", "SharedScaled"]


def _named(layer: Any, experts: tuple[Any, ...]) -> str:
    which = "all" if layer is None else layer
    return f"layer={which}, expert={_one_or_more(experts)}"


def _one_or_more(experts: tuple[Any, ...]) -> Any:
    return experts[0] if len(experts) == 1 else list(experts)


class _OfExperts(BoundPart):
    """Some experts of some layers."""

    def __init__(self, part: Any, target: Target):
        super().__init__(part, target)
        layers = target.layers
        self.part, self.numbers = part, layers.several(part.layer, moe=True)
        self.rows = [layers.row(number) for number in self.numbers]
        self.experts = sorted({layers.expert(expert) for expert in part.experts})
        self.where = np.ix_(self.rows, self.experts)

    def idle(self, effects):
        if why := super().idle(effects):
            return why
        if self.watches_effects and effects is not None and not self.known and not effects[self.where].any():
            return f"{self.name} changed nothing: no token it held for would have been routed otherwise"
        return None


@dataclass(frozen=True, eq=False)
class Ablated:
    """See `glmkit.probe.intervene.ablate`."""

    layer: Any
    experts: tuple[Any, ...]
    how: Literal["reroute", "drop", "mean"]
    mean: Run | np.ndarray | None
    tokens: TokenSelector

    def bind(self, target: Target) -> BoundPart:
        return _BoundAblation(self, target)

    def code(self) -> str | None:
        if isinstance(self.mean, Run):
            return None
        more = {} if self.how == "reroute" else {"how": self.how}
        more |= {} if self.mean is None else {"mean": np.asarray(self.mean, np.float32)}
        experts = _one_or_more(self.experts)
        return call("ablate", layer=self.layer, expert=experts, **more, tokens=self.tokens.code())

    def __str__(self) -> str:
        return f"ablate({_named(self.layer, self.experts)}, how={self.how}{self.tokens})"


class _BoundAblation(_OfExperts):
    watches_effects = True

    def tables(self):
        if self.part.how == "mean":
            return None
        tables = Tables.idle(self.target.layers)
        if self.part.how == "reroute":
            tables.select_bias[self.where] = -np.inf
        else:
            tables.weight_scale[self.where] = 0
        return tables

    def __init__(self, part: Ablated, target: Target):
        super().__init__(part, target)
        self._means = []
        if part.how == "mean":
            self._means = [
                (row, expert, self._mean(number, expert))
                for row, number in zip(self.rows, self.numbers, strict=True)
                for expert in self.experts
            ]

    def substitutes(self):
        return self._means

    def content(self) -> bytes:
        return b"".join(vector.tobytes() for *_, vector in self._means)

    def _mean(self, layer: int, expert: int) -> np.ndarray:
        mean = self.part.mean
        if isinstance(mean, Run):
            chosen = mean.routing.at(layer).ids == expert
            if not chosen.any():
                raise RequestError(f"the run to take the mean from never chose expert {expert} of layer {layer}")
            return mean["expert_out", layer][chosen].mean(0)
        vector = np.asarray(mean, np.float32)
        if vector.shape != (self.target.width,):
            raise RequestError(f"mean has the shape {list(vector.shape)}; expected [{self.target.width}]")
        return vector


@dataclass(frozen=True)
class Biased:
    """See `glmkit.probe.intervene.bias`."""

    layer: Any
    experts: tuple[Any, ...]
    by: float
    at: Literal["selection", "logit"]
    tokens: TokenSelector

    def bind(self, target: Target) -> BoundPart:
        return _BoundBias(self, target)

    def code(self) -> str | None:
        more = {} if self.at == "selection" else {"at": self.at}
        experts = _one_or_more(self.experts)
        return call("bias", layer=self.layer, expert=experts, by=self.by, **more, tokens=self.tokens.code())

    def __str__(self) -> str:
        return f"bias({_named(self.layer, self.experts)}, by={self.by:g}, at={self.at}{self.tokens})"


class _BoundBias(_OfExperts):
    def __init__(self, part: Biased, target: Target):
        super().__init__(part, target)
        self.watches_effects = part.at == "selection"  # at the logit it also weighs

    def tables(self):
        tables = Tables.idle(self.target.layers)
        biases = tables.select_bias if self.part.at == "selection" else tables.logit_bias
        biases[self.where] = self.part.by
        return tables


@dataclass(frozen=True)
class Forced:
    """See `glmkit.probe.intervene.force`."""

    layer: Any
    experts: tuple[Any, ...]
    tokens: TokenSelector

    def bind(self, target: Target) -> BoundPart:
        return _BoundForce(self, target)

    def code(self) -> str | None:
        return call("force", layer=self.layer, expert=_one_or_more(self.experts), tokens=self.tokens.code())

    def __str__(self) -> str:
        return f"force({_named(self.layer, self.experts)}{self.tokens})"


class _BoundForce(_OfExperts):
    def __init__(self, part: Forced, target: Target):
        super().__init__(part, target)
        if len(self.experts) > target.layers.top_k:
            raise RequestError(f"{self.name}: a token has {target.layers.top_k} experts; force at most as many")

    def forced(self, positions: Int[np.ndarray, "B T"], mask: Bool[np.ndarray, "B T"]) -> np.ndarray:
        layers = self.target.layers
        ids = np.full((*mask.shape, len(layers.moe), layers.top_k), -1, np.int32)
        for row in self.rows:
            ids[..., row, : len(self.experts)] = np.where(mask[..., None], self.experts, -1)
        return ids

    def idle(self, effects):
        if not self.lost:
            return super().idle(effects)
        return (
            f"{self.name} was not obeyed by {self.lost} of {self.seen} tokens: there its experts are ruled out, or "
            f"others that are forced leave no room among {self.target.layers.top_k}"
        )


@dataclass(frozen=True, eq=False)
class Replayed:
    """See `glmkit.probe.intervene.replay`."""

    routing: Routing
    layer: Any
    tokens: TokenSelector

    def bind(self, target: Target) -> BoundPart:
        return _BoundReplay(self, target)

    def code(self) -> None:
        return None

    def __str__(self) -> str:
        where = "" if self.layer is None else f", layer={self.layer}"
        return f"replay({len(self.routing)} tokens{where}{self.tokens})"


class _BoundReplay(BoundPart):
    def __init__(self, part: Replayed, target: Target):
        super().__init__(part, target)
        routing, layers = part.routing, target.layers
        ours = (layers.moe, layers.experts, layers.top_k)
        theirs = (routing.layers, routing.experts, routing.ids.shape[-1])
        if ours != theirs:
            raise RequestError(f"these routes are of another model: {_shape(*theirs)}; this one has {_shape(*ours)}")
        if target.steps is not None and len(routing) != target.steps:
            raise RequestError(f"these routes are of {len(routing)} tokens, and there are {target.steps}")
        self.limit(len(routing), routing.tokens.phase.count("prompt"))
        self._tokens = routing.tokens
        self._other = self._all = 0  # of the tokens that it held for, those that are others in its source
        self._ids = routing.ids.astype(np.int32)
        others = [layers.row(n) for n in layers.moe if n not in layers.several(part.layer, moe=True)]
        self._ids[:, others] = -1

    def content(self) -> bytes:
        return self._ids.tobytes()

    def check_prompt(self, ids: Sequence[int]) -> None:
        own = self._tokens
        count = min(len(ids), len(own))
        differ = np.asarray(ids[:count]) != own.id[:count]
        if self.tokens.positions is not None:
            places = np.arange(count)[None]
            differ &= self.tokens.mask(places, np.zeros_like(places))[0]
        if differ.any():
            at = int(differ.argmax())
            raise RequestError(
                f"{self.name}: these routes are of other tokens, token {at} is {own.text[at]!r} there; replay them "
                "where its prompt is read"
            )
        super().check_prompt(ids)

    def heard(self, ids, phases, known):
        super().heard(ids, phases, known)
        held = self.mask(np.arange(len(ids))[None], phases[None])[0]
        count = min(len(ids), len(self._tokens))
        self._all += int(held.sum())
        self._other += int((held[:count] & (np.asarray(ids[:count]) != self._tokens.id[:count])).sum())

    def idle(self, effects):
        if self._other:
            return f"{self.name}: {self._other} of {self._all} tokens that it held for are others than in its source"
        return super().idle(effects)

    def forced(self, positions: Int[np.ndarray, "B T"], mask: Bool[np.ndarray, "B T"]) -> np.ndarray:
        return np.where(mask[..., None, None], self._ids[np.where(mask, positions, 0)], -1)


def _shape(moe: tuple[int, ...], experts: int, top_k: int) -> str:
    return f"{len(moe)} MoE layers ({in_words(moe)}), {top_k} of {experts} experts"


@dataclass(frozen=True)
class SharedScaled:
    """See `glmkit.probe.intervene.scale_shared`."""

    layer: Any
    by: float
    tokens: TokenSelector

    def bind(self, target: Target) -> BoundPart:
        return _BoundSharedScale(self, target)

    def code(self) -> str | None:
        more = {} if self.layer is None else {"layer": self.layer}
        return call("scale_shared", self.by, **more, tokens=self.tokens.code())

    def __str__(self) -> str:
        return f"scale_shared({self.by:g}, layer={'all' if self.layer is None else self.layer}{self.tokens})"


class _BoundSharedScale(BoundPart):
    def __init__(self, part: SharedScaled, target: Target):
        super().__init__(part, target)
        self._by, self._rows = part.by, [target.layers.row(n) for n in target.layers.several(part.layer, moe=True)]

    def tables(self):
        tables = Tables.idle(self.target.layers)
        tables.shared_scale[self._rows] = self._by
        return tables
