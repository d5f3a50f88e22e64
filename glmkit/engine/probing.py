"""What requests are probed with: what is kept of the model as it serves them, and what is changed in it."""

import copy
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol, Self

import jax
import numpy as np
from jaxtyping import Float, Int

from glmkit.engine.compute import Probed
from glmkit.model import Interventions, Keep, Kept
from glmkit.model.capture import on_host
from glmkit.text.phases import PHASES, PhaseFollower

__all__ = ["BoundPlan", "Probe", "Probing"]


class BoundPlan(Protocol):
    """Interventions for one model and any sequences of tokens."""

    @property
    def watches_effects(self) -> bool:
        """Whether it wants to be told what it changed about the routes."""

    @property
    def digest(self) -> str:
        """Equal for plans that change the same."""

    @property
    def scope(self) -> Hashable:
        """Equal for plans that change the same; None where what it does to a token is not told by the tokens alone."""

    def at(self, positions: Int[np.ndarray, "B T"], phases: Int[np.ndarray, "B T"]) -> Interventions:
        """What changes for tokens at these positions; phases are numbers into `PHASES`, -1 for padding."""

    def check_prompt(self, ids: Sequence[int]) -> None:
        """Raise RequestError for tokens which it cannot hold for, with which a sequence begins."""

    def heard(self, ids: Sequence[int], phases: Sequence[int], known: int) -> None:
        """Be told a sequence that was read and written, its prompt first; of the first `known` tokens all was known."""

    def __add__(self, other: Self) -> Self:
        """All that both change, told of by the parts of each."""

    def idle(self, effects: Float[np.ndarray, "moe_layer E"] | None) -> Sequence[str]:
        """After all tokens, in words, what of the plan never did anything."""


class Probing:
    """What some requests have in common: they run in steps of their own.

    Equal to another of the same structure, so that programs are shared between them.
    """

    def __init__(self, keep: Keep | None, plan: BoundPlan | None, told: Sequence[Callable[[np.ndarray], object]] = ()):
        """Those who are `told` hear the effects of every step, `[moe_layer, E]`."""
        self.keep, self.plan, self._told = keep, plan, tuple(told)
        nothing = np.zeros((1, 1), np.int32)
        leaves, structure = jax.tree.flatten((keep, self.changes(nothing, nothing - 1)))
        self.has_values = bool(leaves)  # that a step is given, beside the program that it is
        self._structure = structure, tuple((np.shape(leaf), np.asarray(leaf).dtype.name) for leaf in leaves)
        self._hash = hash(self._structure)  # asked for several times in every step

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Probing) and self._structure == other._structure)

    def __hash__(self) -> int:
        return self._hash

    @property
    def program(self) -> Hashable:
        """Equal for those whose steps are the same compiled ones."""
        return self._structure

    @property
    def group(self) -> Hashable:
        """Equal for those whose requests may share steps: where nothing is changed, and only routes are kept, of which
        a step with many rows keeps little. What else is kept or changed are values of each alone.
        """
        keep = self.keep
        if not self.has_values and keep is not None and keep == Keep(routes=keep.routes):
            return keep.routes
        return id(self)

    def changes(self, positions: Int[np.ndarray, "B T"], phases: Int[np.ndarray, "B T"]) -> Interventions | None:
        """What changes for tokens at these positions, of these phases."""
        return None if self.plan is None else self.plan.at(positions, phases)

    def probed(self, positions: Int[np.ndarray, "B T"], phases: Int[np.ndarray, "B T"]) -> Probed:
        """What a step over these tokens keeps and changes."""
        return Probed(self.keep, self.changes(positions, phases))

    def saw(self, kept: Kept) -> Kept:
        """What a step kept, on the host, once its effects were told."""
        kept = Kept(**{name: np.asarray(value) for name, value in vars(kept).items() if value is not None})
        if kept.effects is not None:
            for hear in self._told:
                hear(kept.effects)
        return kept


class Probe:
    """How one request is probed. With `captures`, everything is kept of each of its tokens, and nothing is taken from
    the cache; without, only effects are counted."""

    def __init__(self, probing: Probing, follower: PhaseFollower, *, captures: bool = False):
        self.probing, self.captures = probing, captures
        self.pieces: list[tuple[int, int, Kept, float]] = []  # start, count, what was kept, when it came
        self._own = object()  # for a scope that no other request has
        self._follower, self._phases = follower, []
        self._following = threading.Lock()  # a step may be seated while somebody takes what was captured before it

    @property
    def is_private(self) -> bool:
        """Whether what it computes is of no use to others, however alike."""
        return self.probing.plan is not None and self.probing.plan.scope is None

    @property
    def scope(self) -> Hashable:
        """Of the pages that this request may share, None for the model's own; a private one's is equal to no other."""
        plan = self.probing.plan
        if plan is None:
            return None
        return self._own if self.is_private else plan.scope

    @property
    def exact_scope(self) -> Hashable:
        """Of those to the last bit: shaped by the compiled steps too, which are others where more is kept."""
        return self.scope, self.probing.program

    @property
    def captured(self) -> int:
        """How many tokens."""
        return sum(count for _, count, *_ in self.pieces)

    def begin(self) -> None:
        """The request is computed from its first token on, perhaps once more."""
        self.pieces.clear()

    def phases(
        self, prompt: Sequence[int], tokens: Sequence[int], forced: Sequence[bool], drafts: Sequence[int] = ()
    ) -> list[int]:
        """The phase of each token so far, and of drafts if they prove right, as numbers into `PHASES`."""
        with self._following:
            known = self._phases
            if not known:
                for token in prompt:
                    self._follower.after(token)
                known += [PHASES.index("prompt")] * len(prompt)
            new = len(known) - len(prompt)
            for token, dictated in zip(tokens[new:], forced[new:], strict=True):
                phase = self._follower.after(token)
                known.append(PHASES.index("forced" if dictated else phase))
            if not drafts:
                return known
            ahead = copy.copy(self._follower)
            return known + [PHASES.index(ahead.after(token)) for token in drafts]

    def saw(self, start: int, count: int, kept: Kept, row: int) -> None:
        """What a step kept of `count` tokens from `start` on, in its row: of the step, nothing else is held on to."""
        if self.captures and count:
            own = on_host(kept, slice(row, row + 1), count)
            own.pop("effects", None)  # which were told
            if "attention" in own:  # of as many keys as a row may ever hold
                own["attention"] = own["attention"][..., : start + count]
            copied = Kept(**{name: value.copy() for name, value in own.items()})
            self.pieces.append((start, count, copied, time.perf_counter()))
