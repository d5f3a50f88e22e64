"""Which tokens an intervention holds for: all, those of a phase, or those at some positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from jaxtyping import Bool, Int

from glmkit.checks import is_integer
from glmkit.errors import RequestError
from glmkit.probe.written import literal
from glmkit.runs import PHASES
from glmkit.text.phases import checked_phases

__all__ = ["TokenSelector"]


def _checked(places: slice) -> slice:
    bounds = (places.start, places.stop, places.step)
    if not all(bound is None or is_integer(bound) for bound in bounds):
        raise RequestError(f"tokens are {places!r}; expected a slice of whole numbers")
    if places.step is not None and places.step < 1:
        raise RequestError(f"tokens are {places!r}; expected a step of at least 1")
    return places


@dataclass(frozen=True)
class TokenSelector:
    """All tokens, or those of some phases, or those at some positions (a slice, or numbers, negative from the end).

    `length` is how many tokens there are, if positions are those of a mask.
    """

    phases: tuple[str, ...] | None = None
    positions: tuple[int, ...] | slice | None = None
    length: int | None = None

    def __hash__(self) -> int:  # a slice has none before Python 3.12
        places = self.positions
        return hash((self.phases, str(places) if isinstance(places, slice) else places, self.length))

    @classmethod
    def of(cls, tokens: Any) -> Self:
        """From None, a phase or several, a slice, positions, or a mask of booleans. Raises RequestError for others."""
        if tokens is None:
            return cls()
        if isinstance(tokens, slice):
            return cls(positions=_checked(tokens))
        if isinstance(tokens, str):
            tokens = (tokens,)
        if is_integer(tokens):
            tokens = (tokens,)
        values = list(tokens) if isinstance(tokens, Sequence | np.ndarray) else None
        if values and all(isinstance(value, str) for value in values):
            return cls(phases=checked_phases(values))
        if values and all(isinstance(value, bool | np.bool_) for value in values):
            return cls(positions=tuple(np.flatnonzero(values).tolist()), length=len(values))
        if values and all(is_integer(value) for value in values):
            return cls(positions=tuple(map(int, values)))
        raise RequestError(
            f"tokens are {tokens!r}; expected a phase ({', '.join(PHASES)}), positions, a slice or a mask"
        )

    def checked(self, steps: int | None) -> Self:
        """With positions counted from the start.

        Raises RequestError for those beyond `steps` tokens, and for a mask of another length.
        """
        if self.positions is None:
            return self
        if self.length is not None:
            if steps not in (None, self.length):
                raise RequestError(f"a mask of {self.length} tokens, and there are {steps}")
            return self
        if isinstance(self.positions, slice):
            bounds = (self.positions.start or 0, self.positions.stop or 0)
            if steps is None and min(bounds) < 0:
                raise RequestError(
                    f"{self.positions} counts from the end, which is not known while tokens are generated"
                )
            return self if steps is None else type(self)(positions=slice(*self.positions.indices(steps)))
        if steps is None:
            if min(self.positions) < 0:
                raise RequestError(f"position {min(self.positions)} counts from an end that is not known yet")
            return self
        for position in self.positions:
            if not -steps <= position < steps:
                raise RequestError(f"there is no token {position}; expected 0 to {steps - 1}")
        return type(self)(positions=tuple(position % steps for position in self.positions))

    def mask(self, positions: Int[np.ndarray, "B T"], phases: Int[np.ndarray, "B T"]) -> Bool[np.ndarray, "B T"]:
        """Which of the tokens it holds for; none that is padding."""
        there = phases >= 0
        if self.phases is not None:
            return there & np.isin(phases, [PHASES.index(name) for name in self.phases])
        if isinstance(self.positions, slice):
            start, stop, step = self.positions.start or 0, self.positions.stop, self.positions.step or 1
            inside = (positions >= start) & ((positions - start) % step == 0)
            return there & inside & (True if stop is None else positions < stop)
        return there if self.positions is None else there & np.isin(positions, self.positions)

    def beyond(self, count: int) -> int | None:
        """The last position that is named and is not among the first `count`; None without one."""
        places = self.positions
        if isinstance(places, slice):
            places = None if places.stop is None else range(places.start or 0, places.stop, places.step or 1)
        return max((place for place in places or () if place >= count), default=None)

    def code(self) -> str | None:
        """As Python from which `of` makes it; None for all tokens."""
        if self.phases is not None:
            return literal(self.phases[0] if len(self.phases) == 1 else self.phases)
        if self.length is not None:
            return f"[place in {literal(self.positions)} for place in range({self.length})]"
        return None if self.positions is None else literal(self.positions)

    def __str__(self) -> str:
        if self.phases is not None:
            return f", tokens={'+'.join(self.phases)}"
        if isinstance(self.positions, slice):
            return f", tokens={self.positions.start}:{self.positions.stop}"
        return "" if self.positions is None else f", tokens={list(self.positions)}"
