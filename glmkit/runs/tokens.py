"""The tokens of a run, each with its text, its phase, how likely it was and when it came."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from glmkit.runs.frames import data_frame
from glmkit.text import IncrementalDecoder, Tokenizer
from glmkit.text.phases import PHASES, Phase

__all__ = ["PHASES", "Phase", "Token", "Tokens", "texts"]


class Token(NamedTuple):
    """One token. `logprob` is NaN for the first, what was forced, and the prompt of an answer; `time` is in seconds."""

    id: int
    text: str
    phase: Phase
    logprob: float
    time: float


@dataclass(frozen=True, eq=False)
class Tokens(Sequence[Token]):
    """Tokens in order: one by index, some by slice, or a column of all, `tokens.phase`."""

    id: Int[np.ndarray, " T"]
    text: tuple[str, ...]
    phase: tuple[Phase, ...]
    logprob: Float[np.ndarray, " T"]
    time: Float[np.ndarray, " T"]

    def __len__(self) -> int:
        return len(self.id)

    def __getitem__(self, index: Any) -> Any:
        columns = [getattr(self, field.name) for field in fields(self)]
        if isinstance(index, slice):
            return Tokens(*(column[index] for column in columns))
        return Token(*(column[index].item() if isinstance(column, np.ndarray) else column[index] for column in columns))

    def __iter__(self) -> Iterator[Token]:
        return (self[index] for index in range(len(self)))

    def to_pandas(self):
        """A data frame with a row for each token."""
        return data_frame(
            {"step": np.arange(len(self)), **{field.name: getattr(self, field.name) for field in fields(self)}}
        )

    def __repr__(self) -> str:
        counts = {phase: self.phase.count(phase) for phase in PHASES if phase in self.phase}
        return f"Tokens({len(self)}: {', '.join(f'{count} {phase}' for phase, count in counts.items())})"


def texts(ids: Sequence[int], tokenizer: Tokenizer | None) -> tuple[str, ...]:
    """The text of each token; that of a character goes to the token that completes it. Together, all the text."""
    if tokenizer is None:
        return ("",) * len(ids)
    decoder = IncrementalDecoder(tokenizer)
    pieces = [decoder.feed(token) for token in ids]
    if pieces:
        pieces[-1] += decoder.finish()
    return tuple(pieces)
