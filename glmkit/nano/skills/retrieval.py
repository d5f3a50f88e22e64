"""Looking a value up by its key, in contexts from a few pairs to many thousand tokens.

Keys and values are new words, codes and numbers, so that the context alone can tell. A thought copies what the context
says from the key on; the answer is the value. As contexts are long and only answers are learned, several keys may be
asked for at once, or, without thoughts, several questions in turn.
"""

import re
from collections.abc import Callable, Sequence
from random import Random

from glmkit.nano.skills.lexicon import (
    COLOURS,
    FOODS,
    NAMES,
    code,
    drawn,
    enumerated,
    made_up_word,
    pick_several,
    syllables,
)
from glmkit.nano.task import Split, Task, assistant, pick, user

__all__ = ["SKILLS", "follow", "long_retrieval", "retrieval"]

LINES = (
    "(|- |* |> |# |+ |~ |. ){key}(: | = |=|:| -> | => |; |, | | / | .. | : | - | := | ~ | is | has ){value}(|;|,)",
    "('{key}'|[{key}]|<{key}>|*{key}*|`{key}`|_{key}_)( |: | = | -> |, |:|=){value}(|;|,)",
    '"{key}"(: |:| = | -> |, | )("{value}"|{value}|\'{value}\')(|,|;)', "({key}(: |, | = | -> | ){value})",
    "(key|entry|item|name|row|Key|Entry|Item) {key}(,|;|:| -| =|) (value |gives |has |){value}",
)  # fmt: skip
"""A pair as a line of a list."""

SENTENCES = (
    "(The|Note that the|We know that the|It says the|Look: the|I read that the) (value|code|entry) "
    "(of|for|at) {key} is {value}.",
    "(Note that |We know that |Look: |See, |)(item |entry |){key} (has|is|keeps|stands for|means"
    "|holds|gives|shows|gets|names) {value}.",
    "(Under|At|In|For|Behind|Next to|On|Beside) {key} (lies|is|stands|you find|we noted|they wrote"
    "|I put|we keep|you see) {value}.",
    "To {key} (we|they|I|someone) (gave|assigned|sent|handed|added|tied) {value}.",
    "(Room|Box|The entry|Shelf|The key|The file|Desk|Item|Locker|Card|The box|Row) {key} "
    "(has|holds|says|shows|contains|keeps) {value}.",
    "{key} (was|is|has been|will be) (set|mapped|tied|linked|bound) to {value}.",
)  # fmt: skip
"""A pair as a sentence."""

QUESTIONS = (
    "(What is|What's|What was) (the (value|entry) (of|for|at|under|behind) |){key}(?| here?| again?| then?)",
    "(Tell me|Give me|Say|Find|Look up|I need|I want|Return|Get|Read out|Show me|Please find|Search for|Fetch|Now find)"
    " (the (value|entry) (of|for|at) |what (belongs to|goes with|stands at|is given for) |){key}(.|, please.|!|)",
    "(What|Which value|Which one) (belongs to|goes with|stands at|is at|is for|was given for"
    "|is noted for|comes with|fits) {key}?",
    "(What|Which value) (do you (find|see|get|read|have)|does it (say|give|show)|did I (give|note)|is there|is written)"
    " (for|at|under|with) {key}?",
    "(Can|Could|Will|Would) you (please |)(look up|find|tell me|give me|read out|get) "
    "(the value of |what belongs to |){key}?",
    "(And|What about|How about|And what about|So what about|And for|And now|Now what about) {key}(?| then?| please?)",
    "(Query|Key|Look up|Value of|Value for|Asked|Question|Next|Wanted|Search|Entry)(: | ){key}(?|.|)",
    "{key}(?|: ?|=?| = ?| ->|: what is it?|, please.|: value?|: which value?| is what?|!)",
    "Do you (see|find|know|have) {key}? (What is it?|What is its value?|Which value has it?"
    "|What belongs to it?|Tell me its value.)",
    "(I am looking for|I forgot|I want to know|I need to know|Help me find) the (value|entry) (of|for) {key}"
    "(.|. What is it?|)",
    "{key} (has|means|stands for|holds|keeps|gives|goes with) (what|which value)?",
)  # fmt: skip
FRAMES = (
    "{context}\n(\n|---\n|***\n|===\n|Question: |Q: |So: |Now: |){question}",
    "(Here is a|Here is my|This is the|Look at this|Read this|Use this|Take this|See this|Given this) "
    "(list|table|text|note|page)"
    "(:|.)\n{context}\n(\n|---\n|){question}",
    "(Data|Context|Table|Notes|List|Text|Entries|Facts|Input|Records|Memo|Source|Pairs)(:|)\n{context}\n(\n|)"
    "(Question: |Q: |Now: |Query: |Task: |){question}",
    "{question}(\n\n|\n|\n---\n| Use this:\n| Read this:\n| Here is the list:\n| See below.\n"
    "| Look here:\n| Data:\n){context}",
    "(Question|Q|Query|Task|Asked)(: |:\n){question}\n(\n|)(Text|Data|Context|List|Notes|Table)(:|)\n{context}",
    "(Remember|Read|Note|Study|Please read|Learn|Use only|I give you|Below are|Here are|Look at) "
    "(the following|these|some|my)"
    " (notes|entries|facts|values|pairs|items)(:|.)\n{context}\n(\n|){question}",
    "(I have a question|Answer this|Help me|One question|Quick question|Please answer)(: |:\n|. ){question}\n(\n|)"
    "(Here is what you need|Use this|Here is the data|This may help|The list)(:|.)\n{context}",
)  # fmt: skip

HOPS = (
    "(Follow|Trace|Resolve|Chase|Track) {key}( to the end| fully| through both steps| for two steps|)"
    "(. What is at the end?|: what do you get?|. What do you find?|: where does it end?|. Where do you end?"
    "|.|, please.)",
    "(Start at|Begin at|Start with|Begin with) {key} and (follow it|hop twice|take two steps"
    "|go two steps on|look up twice)"
    "(. What is at the end?|. Where are you?|: what is it?|. What do you get?|.)",
    "From {key}, (follow the keys|hop twice|take two steps|go two steps on|look up twice)"
    "(. What is at the end?|. Where are you?|: what is it?|. What do you get?|.)",
    "{key} (leads to|names|points to|gives|holds) (a|another) key(. What is its value?|. What does that one hold?"
    "|: what is its value?|. Tell me the value of that one.|. Look that one up.)",
    "Look up {key}(, then| and then|. Then) look up what (you found|you get|comes out|it gives|you find)"
    "(.|, please.|!)",
    "What is (the value of the value of|two steps from|two steps behind|at the end of the path from"
    "|two look-ups from) {key}?",
    "(What|Which value) (do you reach|do you get|do you find) (from {key} (in|by|after) two (steps|hops|look-ups)"
    "|(in|after) two (steps|hops|look-ups) from {key})?",
    "(The value of|What stands at|What belongs to) {key} is (a|another) key(. What|; what|: what) (does that key hold"
    "|is the value of that key|stands at that key)?",
    "Where does {key} (lead|end|take you|bring you) (in|after) two (steps|hops|look-ups)?",
    "(Take|Make|Go) two (steps|hops) from {key}(.|. Where are you?|: what do you find?|. What is it?)",
    "(Find|Give me|Tell me|Say|Return|I need) the value (of the key that {key} (names|points to|leads to|gives)"
    "|behind the value of {key}|that {key} points to through another key)(.|, please.|)",
    "Look up {key} (twice over|in two steps|and look up its value too|twice in a row)(.|, please.|!)",
    "(Which|What) value (is behind|stands behind|is at|belongs to) the value of {key}?",
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

LONG = 2450  # tokens of a long conversation
QUESTION = 22  # tokens of a question with its thought or its marks, and its answer, about


def retrieval(rng: Random, split: Split, pairs: int | None = None, questions: int | None = None) -> Task:
    """Up to twelve keys are asked for of a context of `pairs` pairs: 1 to 60, mostly a few, if it is left out."""
    pairs = pairs or min(60, 1 + int(rng.expovariate(1 / rng.choice((4, 20)))))
    most = max(1, min(12, 2 * pairs // 3))  # not all: the last answers would be those that are left
    return _task(rng, split, "retrieval", pairs, questions or (most if rng.random() < 0.6 else rng.randint(1, most)))


def long_retrieval(
    rng: Random,
    split: Split,
    tokens: int | None = None,
    pairs: int | None = None,
    questions: int | None = None,
) -> Task:
    """As `retrieval` in a context of about `tokens` tokens: 41 to 80 pairs, as there is room; the rest is filler.

    Up to forty keys are asked for. Left out, `tokens` are such that with them there are about `LONG`.
    """
    questions = questions or (1 if rng.random() < 0.1 else rng.randint(12, 40))
    tokens = tokens or LONG - QUESTION * questions
    pairs = pairs or rng.randint(41, max(41, min(80, tokens // 16)))
    return _task(rng, split, "long_retrieval", pairs, questions, tokens)


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
    answer = assistant(values[at], _thought(layout, [(starts[at], middles[at]), (middles[at], values[at])]))
    mode = "forced" if rng.random() < 0.1 else "enabled"
    return Task("follow", f"{frame} | {layout} | {hop}", (asked, answer), mode)


SKILLS: dict[str, Callable[[Random, Split], Task]] = {
    "retrieval": retrieval,
    "long_retrieval": long_retrieval,
    "follow": follow,
}


def _approximate_tokens(pairs: Sequence[tuple[str, str]], layout: str) -> int:
    """About how many tokens pairs have: digits, marks and known words one each, new words by their length."""
    around = 1 + len(re.findall(r"\w+|[^\w\s]", layout.format(key="", value="")))
    return sum(around + len(re.findall(r"\d|[^\W\d]{1,2}|[^\w\s]|\s(?=\d)", f"{key} {value}")) for key, value in pairs)


def _task(rng: Random, split: Split, skill: str, pairs: int, questions: int, tokens: int = 0) -> Task:
    keys, values = _draw_keys(rng, split, pairs), _draw_values(rng, split, pairs)
    context, layout = _context(rng, split, list(zip(keys, values, strict=True)), tokens)
    frame, question = pick(rng, FRAMES, split), pick(rng, QUESTIONS, split)
    wordings = [frame, layout, question]
    mode = rng.choices(("enabled", "disabled", "forced"), weights=(70, 26, 4))[0]
    asked = [(keys[place], values[place]) for place in rng.sample(range(pairs), questions)]
    if mode != "disabled":
        text = question.format(key=enumerated([key for key, _ in asked], rng.choice((" and ", ", "))))
        answer = assistant(", ".join(value for _, value in asked), _thought(layout, asked))
        messages = [user(frame.format(context=context, question=text)), answer]
        return Task(skill, " | ".join(wordings), tuple(messages), mode)
    messages = []
    for key, value in asked:
        text = question.format(key=key)
        messages += [user(text if messages else frame.format(context=context, question=text)), assistant(value)]
        if rng.random() < 0.3:
            question = pick(rng, QUESTIONS, split)
            wordings.append(question)
    return Task(skill, " | ".join(wordings), tuple(messages), mode)


def _thought(layout: str, pairs: Sequence[tuple[str, str]]) -> str:
    """What the context says of each key, from the key on."""
    said = layout[layout.index("{key}") :]
    return "\n".join(said.format(key=key, value=value) for key, value in pairs)


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
    missing = tokens - _approximate_tokens(pairs, layout)
    while missing > 0:
        filler = " ".join(rng.choice(words) for words in _FILLER) + "."
        missing -= len(filler.split()) + 1 + separator.count("\n")  # these words are a token each
        pieces.append(filler)
    return separator.join(rng.sample(pieces, len(pieces))), layout
