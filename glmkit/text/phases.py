"""What a token belongs to: the prompt, a thought, the answer, a tool call; or the budget dictated it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from glmkit.errors import RequestError
from glmkit.text.tokenizer import Tokenizer

__all__ = ["PHASES", "Phase", "PhaseFollower", "checked_phases", "numbered", "phases", "phases_where", "spoken"]

Phase = str
PHASES: tuple[Phase, ...] = ("prompt", "think", "answer", "tool", "forced")

_ENCLOSES = {"<think>": "think", "</think>": "think", "<tool_call>": "tool", "</tool_call>": "tool"}


def numbered(phases: Iterable[Phase]) -> list[int]:
    """The places of phases in `PHASES`, by which arrays know them."""
    return [PHASES.index(phase) for phase in phases]


def checked_phases(phases: Phase | Iterable[Phase]) -> tuple[Phase, ...]:
    """One phase or several, in the order of `PHASES`. Raises RequestError for none, and for one that there is not."""
    wanted = (phases,) if isinstance(phases, str) else tuple(phases)
    if not wanted or (unknown := [name for name in wanted if name not in PHASES]):
        named = f"there is no phase {unknown[0]!r}" if wanted else "no phase is named"
        raise RequestError(f"{named}; expected one of {', '.join(PHASES)}")
    return tuple(phase for phase in PHASES if phase in wanted)


class PhaseFollower:
    """Tells the phase of each token of a sequence, one after the other. Tags count as what they enclose."""

    def __init__(self, tokenizer: Tokenizer | None):
        found = {} if tokenizer is None else {tag: tokenizer.backend.token_to_id(tag) for tag in _ENCLOSES}
        self._tags = {token: tag for tag, token in found.items() if token is not None}
        self._turn = None if tokenizer is None else tokenizer.backend.token_to_id("<|assistant|>")
        self._phase = "answer"

    def after(self, token: int) -> Phase:
        """The phase of the next token, were it an assistant's."""
        if token == self._turn:
            self._phase = "answer"
        tag = self._tags.get(token)
        if tag is None:
            return self._phase
        self._phase = "answer" if tag.startswith("</") else _ENCLOSES[tag]
        return _ENCLOSES[tag]


def phases(ids: Sequence[int], tokenizer: Tokenizer | None, prompt: int | None = None) -> list[Phase]:
    """The phase of each token: of the prompt, or what the last assistant turn thinks, answers or calls.

    `prompt` tokens are the prompt's; by default all up to the last <|assistant|>.
    """
    if prompt is None:
        turn = None if tokenizer is None else tokenizer.backend.token_to_id("<|assistant|>")
        prompt = max((at + 1 for at, token in enumerate(ids) if token == turn), default=len(ids))
    return phases_where(ids, tokenizer, (at >= prompt for at in range(len(ids))))


def phases_where(ids: Sequence[int], tokenizer: Tokenizer | None, said: Iterable[bool]) -> list[Phase]:
    """The phase of each token that the assistant `said`; all others are of the prompt."""
    follower = PhaseFollower(tokenizer)
    followed = [follower.after(token) for token in ids]
    return [phase if own else "prompt" for phase, own in zip(followed, said, strict=True)]


def spoken(ids: Sequence[int], tokenizer: Tokenizer) -> list[Phase]:
    """The phase of each token of a conversation, in which every assistant turn is told apart from what is said to it.

    A turn ends where another role's begins. Without a turn of the assistant all is of the prompt.
    """
    roles = {
        role: tokenizer.backend.token_to_id(f"<|{role}|>") for role in ("assistant", "user", "system", "observation")
    }
    said, speaking = [], False
    for token in ids:
        said.append(speaking and token not in roles.values())
        if token in roles.values():
            speaking = token == roles["assistant"]
    return phases_where(ids, tokenizer, said)
