"""A plan of interventions and what becomes of it for one model: the arrays that its forward pass takes.

The parts know their own meaning (`routes.py`, `residual.py`); here they are put side by side.
"""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from jaxtyping import Bool, Float, Int

from glmkit.errors import RequestError
from glmkit.model import GLM, ExpertTables, Interventions, Patches, Steering, Substitutes
from glmkit.probe.selectors import TokenSelector
from glmkit.runs import PHASES, Layers

__all__ = ["Bound", "Plan", "Target"]


@dataclass(frozen=True)
class Target:
    """What parts are bound to: a model's layers and widths, and how many tokens there are, if that is known."""

    layers: Layers
    width: int
    groups: int  # of experts
    top_groups: int
    steps: int | None

    def check_enough_experts(self, out: Bool[np.ndarray, "moe_layer E"]) -> None:
        """Raise RequestError where a layer has too few to choose from without these, also under the limit to groups."""
        layers = self.layers
        left = (~out).reshape(len(layers.moe), self.groups, -1).sum(-1)
        usable = np.sort(np.where(left >= min(2, layers.experts // self.groups), left, 0), axis=-1)
        for row, number in enumerate(layers.moe):
            open_groups = usable[row][usable[row] > 0]
            if len(open_groups) < self.top_groups or open_groups[: self.top_groups].sum() < layers.top_k:
                raise RequestError(
                    f"layer {number} has {left[row].sum()} experts left of {layers.experts}, too few for every token "
                    f"to choose {layers.top_k}; rule out fewer, or use how='drop'"
                )


class Part(Protocol):
    """One intervention."""

    tokens: TokenSelector

    def bind(self, target: Target) -> "BoundPart":
        """Checked against a model. Raises RequestError naming what does not exist."""

    def code(self) -> str | None:
        """As Python that makes it, `gk` being glmkit; None where a run or a large table would have to be written."""


class BoundPart:
    """One intervention of a model, as what it adds to the arrays; most parts add to few of them."""

    watches_effects = False

    def __init__(self, part: Part, target: Target):
        self.name, self.target, self.selector = str(part), target, part.tokens
        self.tokens = part.tokens.checked(target.steps)
        self.seen = 0  # tokens that it held for
        self.known = 0  # those that it held for when they were computed, by an equal plan, and that were taken as known
        self.lost = 0  # of these, where an expert that it forces was not chosen
        self.count: int | None = None  # tokens that it has something for, from the first; None for all
        self._prompt = 0  # of these, the source's prompt

    def limit(self, count: int, prompt: int) -> None:
        """It has something for so many tokens only, of which the first `prompt` were one.

        Raises RequestError if it is to hold for others by their number.
        """
        if (place := self.tokens.beyond(count)) is not None:
            raise RequestError(f"{self.name}: there is nothing for token {place}, its source has {count} tokens")
        self.count, self._prompt = count, prompt

    def check_prompt(self, ids: Sequence[int]) -> None:
        """Raise RequestError if it cannot hold for these tokens, with which a sequence begins."""
        if self.count is None:
            return
        lacking, beyond = range(self.count, len(ids)), range(len(ids), self._prompt)
        if self._holds_for(lacking, "prompt"):
            raise RequestError(
                f"{self.name}: its source has {self.count} tokens, and the prompt {len(ids)}; expected one as long"
            )
        if self._holds_for(beyond, "answer"):
            raise RequestError(
                f"{self.name}: the prompt of its source has {self._prompt} tokens, and this one {len(ids)}; expected "
                "one as long"
            )

    def _holds_for(self, places: Sequence[int], phase: str) -> bool:
        """Whether for any of these, were they of a phase."""
        positions = np.asarray(places, np.int32)[None]
        return bool(self.tokens.mask(positions, np.full_like(positions, PHASES.index(phase))).any())

    def heard(self, ids: Sequence[int], phases: Int[np.ndarray, " T"], known: int) -> None:
        """Be told a sequence that was read and written, of which the first `known` tokens were taken from a cache."""
        self.known += int(self.mask(np.arange(known)[None], phases[None, :known]).sum())

    def mask(self, positions: Int[np.ndarray, "B T"], phases: Int[np.ndarray, "B T"]) -> Bool[np.ndarray, "B T"]:
        """Which tokens it changes."""
        held = self.tokens.mask(positions, phases)
        return held if self.count is None else held & (positions < self.count)

    def tables(self) -> "Tables | None":
        """The biases and scales of one part of `ExpertTables`."""
        return None

    def forced(self, positions: Int[np.ndarray, "B T"], mask: Bool[np.ndarray, "B T"]) -> np.ndarray | None:
        """Ids `[B, T, moe_layer, k]`, -1 for none."""
        return None

    def substitutes(self) -> Sequence[tuple[int, int, np.ndarray]]:
        """(MoE layer, expert, vector) of each."""
        return ()

    def steering(self) -> tuple[int, int, np.ndarray, float] | None:
        """Block, site, vector and scale."""
        return None

    def patch(self, positions: Int[np.ndarray, "B T"], mask: Bool[np.ndarray, "B T"]):
        """Block, site, values `[B, T, d]` and the tokens that get them."""
        return None

    def content(self) -> bytes:
        """What neither its name nor its tables tell."""
        return b""

    def idle(self, effects: Float[np.ndarray, "moe_layer E"] | None) -> str | None:
        """Why nothing came of it, or not all, in words; None if all did."""
        had = "" if self.count is None else f" of the first {self.count}, which its source has"
        return None if self.seen or self.known else f"{self.name} never held for any token{had}"


@dataclass
class Tables:
    """`ExpertTables` of one set of tokens."""

    select_bias: np.ndarray  # [moe_layer, E]
    logit_bias: np.ndarray
    weight_scale: np.ndarray
    shared_scale: np.ndarray  # [moe_layer]

    @classmethod
    def idle(cls, layers: Layers) -> Self:
        """That change nothing."""
        shape = (len(layers.moe), layers.experts)
        zeros, ones = np.zeros(shape, np.float32), np.ones(shape, np.float32)
        return cls(zeros, zeros.copy(), ones, ones[:, 0].copy())

    def add(self, other: "Tables") -> None:
        """Biases add up, scales multiply."""
        self.select_bias += other.select_bias
        self.logit_bias += other.logit_bias
        self.weight_scale *= other.weight_scale
        self.shared_scale *= other.shared_scale


@dataclass(frozen=True)
class Plan:
    """Interventions in the order they were added, which `+` joins.

    Biases and steering vectors add up, scales multiply, of forced experts the later come first; of patches, and of
    means in an expert's place, the later counts.
    """

    parts: tuple[Part, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.parts)

    def __add__(self, other: Self) -> Self:
        return Plan(self.parts + other.parts) if isinstance(other, Plan) else NotImplemented

    def bind(self, model: GLM, steps: int | None = None) -> "Bound":
        """For a model and so many tokens. Raises RequestError naming a layer, expert or token that does not exist."""
        c = model.config
        target = Target(Layers.of(model), c.hidden_size, c.n_group, c.topk_group, steps)
        return Bound(target, [part.bind(target) for part in self.parts])

    def code(self) -> str:
        """As Python that makes it, `gk` being glmkit: all parts but those that are `unwritten`."""
        return " + ".join(filter(None, (part.code() for part in self.parts))) or "gk.probe.Plan()"

    @property
    def unwritten(self) -> tuple[Part, ...]:
        """The parts that `code` is without: they hold a run, or more numbers than can be read."""
        return tuple(part for part in self.parts if part.code() is None)

    def check_given(self, what: str) -> None:
        """Raise RequestError if a part holds by phase: of `what` is given to go on from, all counts as the prompt."""
        for part in self.parts:
            if part.tokens.phases is not None:
                raise RequestError(
                    f"{part}: {what} is given to go on from, as part of the prompt, and no token of it has another "
                    "phase; expected interventions that hold for all tokens, or at positions"
                )

    def __str__(self) -> str:
        return " + ".join(map(str, self.parts))

    def __repr__(self) -> str:
        return str(self) or "no interventions"


class Bound:
    """A plan for one model: gives the arrays of each step. Its structure is the same at every step."""

    def __init__(self, target: Target, parts: Sequence[BoundPart]):
        self.target, self.parts = target, parts
        self._tables: dict[TokenSelector, Tables] = {}
        self.ruled_out = np.zeros((len(target.layers.moe), target.layers.experts), bool)  # for some token
        self.out = self.ruled_out.copy()  # these, and those whose outputs count for nothing
        for part in parts:
            if (tables := part.tables()) is not None:
                self._tables.setdefault(part.tokens, Tables.idle(target.layers)).add(tables)
                self.ruled_out |= np.isneginf(tables.select_bias)
                self.out |= self.ruled_out | (tables.weight_scale == 0)
        self.target.check_enough_experts(self.ruled_out)
        self._stacked = {
            name: np.stack([getattr(tables, name) for tables in self._tables.values()])
            for name in ("select_bias", "logit_bias", "weight_scale", "shared_scale")
            if self._tables
        }

    @property
    def watches_effects(self) -> bool:
        """Whether any part tells by its effects on the routes whether it did anything."""
        return any(part.watches_effects for part in self.parts)

    @functools.cached_property
    def digest(self) -> str:
        """Of all that it changes, however many tokens it was bound to."""
        said = []
        for part in self.parts:
            said.append(f"{part.name} {part.selector!r} ".encode() + part.content())
            if (tables := part.tables()) is not None:  # names tell numbers to six digits
                said += [array.tobytes() for array in vars(tables).values()]
        return hashlib.sha256(b"\0".join(said)).hexdigest()

    @property
    def scope(self) -> str | None:
        """The digest; None if what is changed depends on phases, in which equal tokens may differ."""
        return None if any(part.tokens.phases is not None for part in self.parts) else self.digest

    def at(self, positions: Int[np.ndarray, "B T"], phases: Int[np.ndarray, "B T"]) -> Interventions:
        """What changes for tokens at these positions, of these phases (numbers into `PHASES`; -1 is padding)."""
        masks = [part.mask(positions, phases) for part in self.parts]
        for part, mask in zip(self.parts, masks, strict=True):
            part.seen += int(mask.sum())
        experts = None
        if self._tables:
            tokens = np.stack([selector.mask(positions, phases) for selector in self._tables])
            experts = ExpertTables(tokens, **self._stacked)
        return Interventions(
            experts,
            self._forced(positions, masks, experts),
            self._substitutes(masks),
            self._steering(masks),
            self._patches(positions, masks),
        )

    def check_prompt(self, ids: Sequence[int]) -> None:
        """Raise RequestError if a part cannot hold for these tokens, with which a sequence begins."""
        for part in self.parts:
            part.check_prompt(ids)

    def heard(self, ids: Sequence[int], phases: Sequence[int], known: int) -> None:
        """Tell the parts a sequence that was read and written, of which the first `known` tokens were from a cache."""
        for part in self.parts:
            part.heard(ids, np.asarray(phases, np.int32), known)

    def __add__(self, other: Self) -> Self:
        """All that both change. What held for a token is counted by the parts of each."""
        return Bound(self.target, (*self.parts, *other.parts))

    def idle(self, effects: Float[np.ndarray, "moe_layer E"] | None) -> list[str]:
        """What never did anything, or not what it says, in words."""
        return [why for part in self.parts if (why := part.idle(effects)) is not None]

    def _forced(
        self, positions: np.ndarray, masks: Sequence[np.ndarray], experts: ExpertTables | None
    ) -> np.ndarray | None:
        forced = [
            (part, own)
            for part, mask in zip(self.parts, masks, strict=True)
            if (own := part.forced(positions, mask)) is not None
        ]
        if not forced:
            return None
        ids = functools.reduce(lambda before, own: _first(own, before), (own for _, own in forced))
        if len(forced) > 1 or self.ruled_out.any():
            for part, own in forced:
                part.lost += int((_left_out(own, ids) | _ruled_out(own, experts)).any((2, 3)).sum())
        return ids

    def _substitutes(self, masks: Sequence[np.ndarray]) -> Substitutes | None:
        found = [(mask, *one) for part, mask in zip(self.parts, masks, strict=True) for one in part.substitutes()]
        if not found:
            return None
        tokens, layer, expert, vector = _slots(found, (np.zeros_like(masks[0]), -1, 0, found[0][3]))
        return Substitutes(tokens, layer, expert, vector)

    def _steering(self, masks: Sequence[np.ndarray]) -> Steering | None:
        found = [
            (one[0], one[1], one[2], mask * np.float32(one[3]))
            for part, mask in zip(self.parts, masks, strict=True)
            if (one := part.steering()) is not None
        ]
        if not found:
            return None
        return Steering(*_slots(found, (-1, 0, found[0][2], np.zeros(masks[0].shape, np.float32))))

    def _patches(self, positions: np.ndarray, masks: Sequence[np.ndarray]) -> Patches | None:
        found = [
            one
            for part, mask in zip(self.parts, masks, strict=True)
            if (one := part.patch(positions, mask)) is not None
        ]
        if not found:
            return None
        return Patches(*_slots(found, (-1, 0, found[0][2], np.zeros_like(masks[0]))))


def _slots(found: Sequence[tuple], free: tuple) -> tuple[np.ndarray, ...]:
    """Columns of as many slots as a power of two, so that one more seldom compiles anew."""
    rows = [*found, *[free] * ((1 << (len(found) - 1).bit_length()) - len(found))]
    columns = (np.stack([np.asarray(value) for value in column]) for column in zip(*rows, strict=True))
    return tuple(column.astype(np.int32) if column.dtype == np.int64 else column for column in columns)


def _left_out(own: Int[np.ndarray, "B T L k"], ids: Int[np.ndarray, "B T L k"]) -> Bool[np.ndarray, "B T L k"]:
    """Which of the experts that one part forces are not among those that all parts together do."""
    return (own >= 0) & (own[..., None] != ids[..., None, :]).all(-1)


def _ruled_out(own: Int[np.ndarray, "B T L k"], experts: ExpertTables | None) -> Bool[np.ndarray, "B T L k"]:
    """Which of the experts that one part forces another rules out for the same tokens."""
    out, rows = np.zeros(own.shape, bool), np.arange(own.shape[2])[:, None]
    if experts is not None:
        for tokens, bias in zip(experts.tokens, experts.select_bias, strict=True):
            out |= tokens[:, :, None, None] & np.isneginf(bias)[rows, own]
    return out & (own >= 0)


def _first(new: Int[np.ndarray, "B T L k"], old: Int[np.ndarray, "B T L k"]) -> Int[np.ndarray, "B T L k"]:
    """The new ids, then those of the old that are not among them, as many as there is room for."""
    both = np.concatenate([new, old], axis=-1)
    repeated = (both[..., :, None] == both[..., None, :]) & np.tri(both.shape[-1], k=-1, dtype=bool)
    out = (both < 0) | repeated.any(-1)
    order = np.argsort(out, axis=-1, kind="stable")[..., : new.shape[-1]]
    return np.where(np.take_along_axis(out, order, -1), -1, np.take_along_axis(both, order, -1))
