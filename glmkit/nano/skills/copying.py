"""Saying again what was said, to the letter: words, codes and numbers that nobody has seen.

What is copied are mostly one to four pieces: in texts that short a network finds the two steps of copying, to where it
read last and on to what came next, within some hundred thousand tokens, in long ones not within millions. Whatever
reads a context, tools and look-ups alike, is built on it.
"""

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType

from glmkit.nano.skills.lexicon import answered_at_once, code, drawn, made_up_word, name_or_word
from glmkit.nano.task import Split, Task, pick

__all__ = ["SKILLS", "WORDINGS", "copy"]

WORDINGS = (
    "Repeat: {text}", "Copy this: {text}", "Say this again: {text}", "Repeat after me: {text}", "Write this: {text}",
    "Echo: {text}", "Copy to the letter: {text}", "Please repeat the following.\n{text}", "Write down {text}",
    "Copy the line below.\n{text}", "Give this back to me: {text}", "Say exactly this: {text}",
    "Return this unchanged: {text}", "{text}\nRepeat that.", "{text}\nCopy the line above.", "{text}\nSay it again.",
    "Type out: {text}", "Can you repeat this? {text}", "Dictation: {text}", 'Repeat "{text}"', "Quote: {text}",
    "{text}\nWrite the same, please.", "Reproduce this text: {text}", "Answer with this text alone: {text}",
)  # fmt: skip
LONGEST = 24  # pieces


def copy(rng: Random, split: Split) -> Task:
    """A line of pieces of one kind, or of several."""
    count = min(LONGEST, 1 + int(rng.expovariate(1 / 3)))
    kinds = _KINDS if rng.random() < 0.3 else [rng.choice(_KINDS)]
    text = rng.choice((" ", " ", ", ", "-", "\n")).join(rng.choice(kinds)(rng, split) for _ in range(count))
    wording = pick(rng, WORDINGS, split)
    return answered_at_once(rng, "copy", wording, wording.format(text=text), text, "I copy it.")


def _number(rng: Random, split: Split) -> str:
    return drawn(split, lambda: str(rng.randrange(10 ** rng.randint(1, 5))))


_KINDS: tuple[Callable[[Random, Split], str], ...] = (made_up_word, made_up_word, code, _number, name_or_word)

SKILLS: Mapping[str, Callable[[Random, Split], Task]] = MappingProxyType({"copy": copy})
