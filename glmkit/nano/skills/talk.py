"""What glm-nano says of itself and of what it cannot do, and the small courtesies.

Every question has one answer, so that right is right; the refusals are a few sentences, each offering three things.
"""

from collections.abc import Callable
from random import Random
from string import Formatter, ascii_lowercase
from typing import NamedTuple

from glmkit.nano.skills.arithmetic import SHORT_WORDINGS
from glmkit.nano.skills.declined import CHINESE, FRAMES, PROMPTS, SLOTS
from glmkit.nano.skills.lexicon import answered_at_once, drawn, own, with_article
from glmkit.nano.skills.topics import ABOUT, COURTESIES, Topic
from glmkit.nano.task import Split, Task, pick

__all__ = [
    "NO_TOOL",
    "REFUSALS",
    "SKILLS",
    "Exchange",
    "draw_about_itself",
    "draw_courtesy",
    "draw_declined",
    "draw_easy_sum",
    "is_refusal",
]

REFUSALS = (
    "Sorry, I cannot do that, but I can add numbers, sort a list or find a value in a text.",
    "I have not learned that; try a sum, some number words or a tool call instead.",
    "That is beyond me, but I can multiply numbers, fill in JSON or call your tools.",
)
CHINESE_REFUSAL = "这个我不会\N{FULLWIDTH COMMA}但我可以算数、排列数字或者查找信息。"
NO_TOOL = "None of the tools can do that."
"""The refusal where tools are declared."""


def is_refusal(text: str) -> bool:
    """Whether an answer is one of the sentences that say no."""
    return text.strip() in (*REFUSALS, CHINESE_REFUSAL, NO_TOOL)


class Exchange(NamedTuple):
    """What the user says, the answer, the thought where one is forced, and the wording by which a task is known."""

    prompt: str
    reply: str
    thought: str
    wording: str


DECLINED_THOUGHT = "I have not learned this."
POLITENESS = (
    "(Hi|Hello|Hey|Good day|Hi there|Hello there|Good morning)(! |, | - |. ){}",
    "{} (Thanks|Thank you|Please help|Please|Many thanks|Help me|Can you do that|Is that OK|Thx|Cheers)(!|.|?|)",
    "(Please|Quick question|Question|One question|Just asking|Tell me|Help|Help me|So|Now|OK|Well)(: |, | - |... ){}",
    "{}( :D| ^^|...|!!| pls| now| ok?| asap| :-D)",
)  # fmt: skip
HELD_OUT_SLOTS = ("topic", "place", "who")
NOISE_SLOTS = ("topic", "place", "who", "food", "animal", "skill", "sentence")


def about_itself(rng: Random, split: Split) -> Task:
    """A question about the model: who made it, what it can do, how large it is."""
    return _task(rng, "about_itself", draw_about_itself(rng, split))


def courtesy(rng: Random, split: Split) -> Task:
    """A greeting, thanks, praise or a goodbye."""
    return _task(rng, "courtesy", draw_courtesy(rng, split))


def decline(rng: Random, split: Split) -> Task:
    """Something that the model has not learned, from everyday requests to noise: it says so, and what it can do."""
    return _task(rng, "decline", draw_declined(rng, split))


SKILLS: dict[str, Callable[[Random, Split], Task]] = {
    "about_itself": about_itself,
    "courtesy": courtesy,
    "decline": decline,
}


def draw_about_itself(rng: Random, split: Split) -> Exchange:
    return _draw_topic(rng, split, ABOUT)


def draw_courtesy(rng: Random, split: Split) -> Exchange:
    return _draw_topic(rng, split, COURTESIES)


def draw_easy_sum(rng: Random, split: Split) -> Exchange:
    """The least of questions, answered at once: what may stand beside other things."""
    a, b = rng.randint(1, 9), rng.randint(1, 9)
    wording = pick(rng, SHORT_WORDINGS, split)
    written = rng.choice(("{} + {}", "{}+{}", "{} plus {}")).format(a, b)
    return Exchange(wording.format(e=written), str(a + b), f"{a}+{b}={a + b}", wording)


def draw_declined(rng: Random, split: Split) -> Exchange:
    """A request out of reach. The wording of noise is "noise"."""
    chance = rng.random()
    if chance < 0.1:
        wording = pick(rng, CHINESE, split)
        prompt = wording.replace("?", rng.choice("?\N{FULLWIDTH QUESTION MARK}"))
        return Exchange(prompt, CHINESE_REFUSAL, DECLINED_THOUGHT, wording)
    if chance < 0.2:
        prompt, wording = _noise(rng, split), "noise"
    else:
        kinds = (FRAMES,) if chance < 0.5 else (PROMPTS,) if chance < 0.93 else (PROMPTS, FRAMES)
        wordings = [pick(rng, kind, split) for kind in kinds]
        prompt, wording = " ".join(_filled(rng, split, each) for each in wordings), " | ".join(wordings)
    if rng.random() < 0.1:
        prompt = pick(rng, POLITENESS, split).format(prompt)
    return Exchange(_typed(rng, prompt), rng.choice(REFUSALS), DECLINED_THOUGHT, wording)


def _draw_topic(rng: Random, split: Split, topics: dict[str, Topic]) -> Exchange:
    topic = topics[rng.choice([name for name, topic in topics.items() if own(topic.prompts, split)])]
    wording = pick(rng, topic.prompts, split)
    return Exchange(_typed(rng, wording), topic.reply, topic.thought, wording)


def _task(rng: Random, skill: str, exchange: Exchange) -> Task:
    return answered_at_once(rng, skill, exchange.wording, exchange.prompt, exchange.reply, exchange.thought)


def _typed(rng: Random, text: str) -> str:
    """The text as typed, at times carelessly: in lower case, or without its last mark."""
    if rng.random() < 0.15:
        text = text.lower()
    if rng.random() < 0.15:
        text = text.rstrip(".?!") or text
    return text


def _filled(rng: Random, split: Split, wording: str) -> str:
    """The wording with a value in each slot, none of them twice."""
    values: dict[str, str] = {}
    for _, slot, _, _ in Formatter().parse(wording):
        if slot is not None:
            kind = "n" if slot == "m" else slot.removeprefix("other_")
            options = own(SLOTS[kind], split) if kind in HELD_OUT_SLOTS else SLOTS[kind]
            values[slot] = rng.choice([value for value in options if value not in values.values()])
    return with_article(wording.format(**values))


def _noise(rng: Random, split: Split) -> str:
    """What means nothing, from a word to a few dozen."""
    return drawn(split, lambda: _letters(rng) if rng.random() < 0.5 else _word_salad(rng)) + rng.choice(("", *".?!"))


def _letters(rng: Random) -> str:
    return " ".join("".join(rng.choices(ascii_lowercase, k=rng.randint(2, 8))) for _ in range(rng.randint(1, 8)))


def _word_salad(rng: Random) -> str:
    return " ".join(rng.choice(SLOTS[kind]) for kind in rng.choices(NOISE_SLOTS, k=rng.randint(2, 25)))
