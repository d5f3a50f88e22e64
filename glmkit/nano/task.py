"""A task of the curriculum: a conversation, the mode it is asked in, and on which side of the held-out line it lies.

What is held out is decided by the hash of its text alone, whatever the seed: whole wordings, names and values are
seen in training or in evaluation, never in both.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from random import Random
from typing import Any, Literal

__all__ = ["Message", "Split", "Task", "assistant", "of_split", "pick", "user"]

Split = Literal["train", "held_out"]
Message = Mapping[str, Any]

HELD_OUT_SHARE = 0.2

_ALTERNATIVES = re.compile(r"\(([^()|]*(?:\|[^()|]*)+)\)")
_TRIES = 40  # of a pattern, before another is taken: some have nothing that is held out


@dataclass(frozen=True)
class Task:
    """A conversation that ends in an assistant's message; every assistant's turn in it is learned, or judged.

    `skill` is what evaluation reports by, such as "sums" or "tool_call"; `template` names the wording. The messages
    are OpenAI-shaped, with `reasoning_content` where the assistant thinks.
    """

    skill: str
    template: str
    messages: tuple[Message, ...]
    thinking: Literal["enabled", "disabled", "forced"] = "enabled"
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def record(self) -> dict[str, Any]:
        """The task as `glmkit.train` reads records."""
        tools = {"tools": list(self.tools)} if self.tools else {}
        return {"messages": list(self.messages), "thinking": self.thinking} | tools


def of_split(text: str, split: Split, share: float = HELD_OUT_SHARE) -> bool:
    """Whether this wording, name or value belongs to `split`; `share` of all are held out."""
    return (_place(text) < share) == (split == "held_out")


def pick(rng: Random, options: Sequence[str], split: Split) -> str:
    """One of the options that belong to `split`; where none is held out by itself, the first by hash is.

    `(a|b|)` in an option stands for one of these, inside others too: "(Please |)sort {l}(.|!)". All that such a
    pattern may become is told apart by itself.
    """
    own = _divided(tuple(options))[split]
    while True:
        option = rng.choice(own)
        if not _ALTERNATIVES.search(option):
            return option
        for _ in range(_TRIES):
            if of_split(text := _expanded(rng, option), split):
                return text


def _expanded(rng: Random, pattern: str) -> str:
    """The pattern with one alternative in each place, the innermost chosen first."""
    while (text := _ALTERNATIVES.sub(lambda match: rng.choice(match[1].split("|")), pattern)) != pattern:
        pattern = text
    return text


@cache
def _divided(options: tuple[str, ...]) -> Mapping[Split, tuple[str, ...]]:
    """The options as they are to be drawn in either split: patterns in both."""
    patterns = tuple(option for option in options if _ALTERNATIVES.search(option))
    ranked = sorted((option for option in options if option not in patterns), key=_place)
    count = min(max(1, sum(_place(option) < HELD_OUT_SHARE for option in ranked)), max(0, len(ranked) - 1))
    return {"held_out": (*ranked[:count], *patterns), "train": (*ranked[count:], *patterns)}


@cache
def _place(text: str) -> float:
    """Where the text's hash lies between 0 and 1."""
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big") / 2**32


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def assistant(content: object, reasoning: str = "", **more: Any) -> Message:
    """An assistant's message; `more` may hold `tool_calls`."""
    thought = {"reasoning_content": reasoning} if reasoning else {}
    return {"role": "assistant", "content": str(content), **thought, **more}
