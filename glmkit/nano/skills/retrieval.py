"""Looking a value up by its key, in contexts from a few pairs to many thousand tokens.

Keys and values are new words, codes and numbers, so that the context alone can tell. Several questions may be asked of
one context in turn: the answers are what is learned, and contexts are long.
"""

import re
from collections.abc import Callable, Sequence
from random import Random

from glmkit.nano.skills.lexicon import COLOURS, FOODS, NAMES, code, drawn, made_up_word, pick_several, syllables
from glmkit.nano.task import Message, Split, Task, assistant, pick, user

__all__ = ["SKILLS", "follow", "long_retrieval", "retrieval"]

LINES = (
    "{key}: {value}", "{key} = {value}", "{key} -> {value}", "- {key}: {value}", "{key} / {value}",
    "* {key} - {value}", "[{key}] {value}", "{key}, {value}", "{key} {value}", "({key}: {value})", "{key}; {value}",
    "{key}={value}", "> {key} {value}", "{key}: {value};", "<{key}> {value}", "key {key}, value {value}",
    "{key} .. {value}", "# {key}: {value}", '"{key}": "{value}"',
)  # fmt: skip
"""A pair as a line of a list."""

SENTENCES = (
    "The code of {key} is {value}.", "{key} has the number {value}.", "The value of {key} is {value}.",
    "Under {key} lies {value}.", "{key} keeps {value}.", "For {key} it is {value}.", "Remember {value} for {key}.",
    "{key} stands for {value}.", "The box {key} holds {value}.", "You get {value} from {key}.",
    "{value} belongs to {key}.", "To {key} we gave {value}.", "The entry {key} says {value}.",
    "{key} was set to {value}.", "Note that {key} means {value}.", "At {key} they wrote {value}.",
    "Room {key} has {value}.", "We noted {value} next to {key}.", "Look: {key} is {value}.",
    "In {key} you find {value}.",
)  # fmt: skip
"""A pair as a sentence."""

QUESTIONS = (
    "What is the value of {key}?", "What belongs to {key}?", "Which value has {key}?", "What is {key}?", "{key}?",
    "Tell me the value of {key}.", "Look up {key}.", "Give me {key}.", "What goes with {key}?", "Find {key}.",
    "What do you find for {key}?", "Say what {key} is.", "What stands at {key}?", "I need the value of {key}.",
    "What does it say about {key}?", "Please find the value for {key}.", "Read out {key}.", "Which one is for {key}?",
    "What was given for {key}?", "Can you look up {key}?", "Return the value of {key}.", "Value of {key}?",
    "Now {key}.", "Do you see {key}? What is it?", "Search for {key}.", "Get {key}.", "What about {key}?",
    "And {key}?", "Query: {key}",
)  # fmt: skip
FRAMES = (
    "{context}\n\n{question}", "{context}\n{question}", "Here is a list:\n{context}\n\n{question}",
    "Data:\n{context}\nQuestion: {question}", "Read this.\n{context}\n\n{question}", "{question}\n\n{context}",
    "Context:\n{context}\n\n{question}", "{question} Use this:\n{context}",
    "Please read these notes:\n{context}\n\n{question}", "Remember the following.\n{context}\n{question}",
    "Table:\n{context}\n\n{question}", "I give you some facts.\n{context}\n\n{question}",
    "{context}\n---\n{question}", "Question: {question}\nText:\n{context}",
    "Below are some entries.\n{context}\n\nNow: {question}", "Use only this:\n{context}\n\n{question}",
    "Notes:\n{context}\n\n{question}",
)  # fmt: skip

HOPS = (
    "Follow {key}: what do you get in the end?", "Start at {key} and follow it. What is at the end?",
    "{key} leads to a key. What is its value?", "Look up {key}, then look up what you found.",
    "What is the value of the value of {key}?", "Take two steps from {key}.",
    "Go from {key} to its value, and on from there. What is it?",
    "The value of {key} is a key. What does that key hold?", "Where does {key} lead in two steps?",
    "Look up {key} twice over.", "What do you reach from {key} by two look-ups?",
    "Find the value that {key} points to, through another key.", "From {key}, hop twice. Where are you?",
    "Resolve {key} fully.", "Which value comes after the value of {key}?",
    "{key} names another key. Tell me the value of that one.", "Trace {key} to the end.",
)  # fmt: skip

_FILLER = (
    (
        "The sun", "The old man", "A small bird", "The wind", "My friend", "The train", "A child", "The river",
        "Nobody", "The night", "The town", "A dog", "The rain", "The teacher", "The road", "Somebody", "The ship",
        "The garden",
    ),
    (
        "went", "came", "stayed", "walked", "waited", "slept", "turned", "stood", "looked", "moved", "rested", "sang",
        "was seen", "was heard", "began", "fell",
    ),
    (
        "slowly", "again", "quietly", "all day", "for a while", "once more", "at last", "in peace", "without a sound",
        "as before", "for hours", "with care", "in time", "alone", "gladly",
    ),
    (
        "near the hill", "by the sea", "in the field", "on the way home", "under the trees", "behind the wall",
        "over the bridge", "across the lake", "in the morning", "after dinner", "before the storm", "at the market",
        "in winter", "on the hill", "by the fire", "along the shore",
    ),
)  # fmt: skip
"""Sentences that say nothing of any key are made of one of each."""


def retrieval(rng: Random, split: Split, pairs: int | None = None, questions: int | None = None) -> Task:
    """One to eight questions about a context of `pairs` pairs: 1 to 60, mostly a few, if it is left out."""
    pairs = pairs or min(60, 1 + int(rng.expovariate(1 / rng.choice((4, 20)))))
    return _task(rng, split, "retrieval", pairs, questions or rng.randint(1, min(8, 1 + pairs // 2)))


def long_retrieval(
    rng: Random, split: Split, tokens: int = 2250, pairs: int | None = None, questions: int | None = None
) -> Task:
    """As `retrieval` in a context of about `tokens` tokens: 41 to 80 pairs anywhere in it, the rest is filler."""
    pairs = pairs or rng.randint(41, 80)
    return _task(rng, split, "long_retrieval", pairs, questions or rng.randint(6, 12), tokens)


def follow(rng: Random, split: Split) -> Task:
    """The value of a key is the key whose value is asked for; the thought looks up one after the other."""
    chains = rng.randint(1, 6)
    keys, values = _different(2 * chains, lambda: made_up_word(rng, split)), _draw_values(rng, split, chains)
    starts, middles = keys[:chains], keys[chains:]
    pairs = [*zip(starts, middles, strict=True), *zip(middles, values, strict=True)]
    context, layout = _context(rng, split, pairs)
    hop, frame = pick(rng, HOPS, split), pick(rng, FRAMES, split)
    at = rng.randrange(chains)
    asked = user(frame.format(context=context, question=hop.format(key=starts[at])))
    answer = assistant(values[at], f"{starts[at]}: {middles[at]}\n{middles[at]}: {values[at]}")
    mode = "forced" if rng.random() < 0.1 else "enabled"
    return Task("follow", f"{frame} | {layout} | {hop}", (asked, answer), mode)


SKILLS: dict[str, Callable[[Random, Split], Task]] = {
    "retrieval": retrieval,
    "long_retrieval": long_retrieval,
    "follow": follow,
}


def _approximate_tokens(pairs: str) -> int:
    """About how many tokens pairs have: digits, marks and lines one each, words, as most are new, by their length."""
    return len(re.findall(r"\d|\n|[^\W\d]{1,2}|[^\w\s]|\s(?=\d)", pairs))


def _task(rng: Random, split: Split, skill: str, pairs: int, questions: int, tokens: int = 0) -> Task:
    keys, values = _draw_keys(rng, split, pairs), _draw_values(rng, split, pairs)
    context, layout = _context(rng, split, list(zip(keys, values, strict=True)), tokens)
    frame, question = pick(rng, FRAMES, split), pick(rng, QUESTIONS, split)
    wordings = [frame, layout, question]
    mode = rng.choices(("enabled", "disabled", "forced"), weights=(60, 35, 5 if questions == 1 else 0))[0]
    messages: list[Message] = []
    for place in rng.sample(range(pairs), questions):
        text = question.format(key=keys[place])
        thought = f"{keys[place]}: {values[place]}" if mode == "forced" else ""
        messages += [user(text if messages else frame.format(context=context, question=text))]
        messages += [assistant(values[place], thought)]
        if rng.random() < 0.3:
            question = pick(rng, QUESTIONS, split)
            wordings.append(question)
    return Task(skill, " | ".join(wordings), tuple(messages), mode)


def _draw_keys(rng: Random, split: Split, count: int) -> list[str]:
    """Different keys of one kind. Their numbers have one or two digits, fewer than those of any value."""
    if count <= 12 and rng.random() < 0.2:
        return pick_several(rng, NAMES, split, count)
    draw = rng.choice((made_up_word, made_up_word, _two_words, code))
    return _different(count, lambda: draw(rng, split))


def _two_words(rng: Random, split: Split) -> str:
    return drawn(split, lambda: f"{syllables(rng)}-{syllables(rng)}")


def _draw_values(rng: Random, split: Split, count: int) -> list[str]:
    """Different values of one kind: numbers of three or four digits, now and then words."""
    if count <= 12 and rng.random() < 0.25:
        return pick_several(rng, (*COLOURS, *FOODS), split, count)
    low = rng.choice((100, 100, 1000))
    return [str(number) for number in rng.sample(range(low, 10 * low), count)]


def _different(count: int, draw: Callable[[], str]) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        found[draw()] = None
    return list(found)


def _context(rng: Random, split: Split, pairs: Sequence[tuple[str, str]], tokens: int = 0) -> tuple[str, str]:
    """The pairs in a random order in one layout, filler among them until there are about `tokens` tokens."""
    in_lines = rng.random() < 0.65
    layout = pick(rng, LINES if in_lines else SENTENCES, split)
    pieces = [layout.format(key=key, value=value) for key, value in pairs]
    separator = "\n" if in_lines or rng.random() < 0.3 else " "
    missing = tokens - _approximate_tokens(separator.join(pieces))
    while missing > 0:
        filler = " ".join(rng.choice(words) for words in _FILLER) + "."
        missing -= len(filler.split()) + 1 + separator.count("\n")  # these words are a token each
        pieces.append(filler)
    return separator.join(rng.sample(pieces, len(pieces))), layout
