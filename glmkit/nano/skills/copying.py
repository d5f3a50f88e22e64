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
    "(Repeat|Copy|Echo|Say|Write|Type|Quote|Print|Return|Reproduce)( this| the following| exactly this| this text"
    "| what follows|)( to the letter| unchanged| as it is| exactly| for me|, please|)(: |:\n|\n){text}",
    "(Please|Now|Just|Can you|Could you|Will you|You should|I want you to) "
    "(repeat|copy|echo|say|write|type|quote|return)"
    " (this|the following|what follows|this text|exactly this)( to the letter| unchanged|)(: |:\n){text}",
    "(Can|Could|Will|Would) you (please |)(repeat|copy|say|write|echo) this( for me| to the letter|)?( |\n){text}",
    '(Repeat|Copy|Echo|Say|Write|Type|Quote|Print|Please say|Please repeat|Write down|Type out|Now say) "{text}"(.|!|)',
    "(Repeat|Copy|Echo|Say|Write|Type|Quote|Print|Please say|Please repeat|Write down|Type out|Now say) "
    "('{text}'|{text})",
    "{text}\n(\n|)(Repeat|Copy|Say|Write|Type|Echo|Quote|Return) (that|it|this|the line above"
    "|the text above|what I wrote)"
    "( again| to the letter| exactly| once more|, please| for me|)(.|!|)",
    "{text}\n(\n|)(Say the same|Write the same|The same again, please|Once more, please|Please repeat"
    "|Please copy|Repeat, please"
    "|Copy, please)(.|!|)",
    "(Dictation|Quote|Echo|Copy|Repeat after me|Say after me|To copy|Text to (copy|repeat)|Copy the text below"
    "|Repeat the text below|Same text back|To repeat|Parrot this|Mirror this|Word for word)(: |:\n){text}",
    "(Answer|Reply) with (this|the following)( text|)( alone| only| and nothing else|)(: |:\n){text}",
    "Your (answer|reply|whole answer|only answer) (is|should be|must be|has to be)(: |:\n){text}",
    "(Give|Send|Say|Read|Type) (this|the following|this text) back( to me|)( unchanged| exactly| please|)"
    "(: |:\n){text}",
    "What I (say|write|type), you (repeat|copy|echo)(: |:\n){text}",
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
