"""Conversations that refer back: what the user said of themselves, what was asked, one of several things listed."""

from collections.abc import Callable, Sequence
from random import Random

from glmkit.nano.skills.lexicon import (
    CITIES,
    COLOURS,
    FOODS,
    HOBBIES,
    JOBS,
    NAMES,
    THINGS,
    capital,
    code,
    enumerated,
    made_up_word,
    own,
    pick_several,
)
from glmkit.nano.skills.talk import Exchange, draw_courtesy, draw_easy_sum
from glmkit.nano.task import Message, Split, Task, assistant, pick, user

__all__ = ["SKILLS"]

NOTED = "Noted."

OWN_THINGS: dict[str, Sequence[str]] = {
    "name": NAMES,
    "brother's name": NAMES,
    "teacher's name": NAMES,
    "dog's name": (),
    "city": CITIES,
    "job": JOBS,
    "favourite colour": COLOURS,
    "favourite food": FOODS,
    "hobby": HOBBIES,
    "lucky number": tuple(str(n) for n in range(2, 1000)),
    "room number": tuple(str(n) for n in range(2, 1000)),
    "age": tuple(str(n) for n in range(10, 100)),
    "code word": (),
}
"""What a user may tell, and the values; () stands for made-up words."""

TELLING = (
    "My {what} is {value}.", "Remember that my {what} is {value}.", "{value} is my {what}.", "My {what}: {value}.",
    "I tell you my {what}: {value}.", "Please note that my {what} is {value}.", "For later: my {what} is {value}.",
    "Just so you know, my {what} is {value}.", "By the way, {value} is my {what}.",
    "You should know my {what}: {value}.", "Keep in mind: my {what} is {value}.", "As for my {what}, it is {value}.",
    "Hi! My {what} is {value}.", "Don't forget: {value} is my {what}.", "I have news: my {what} is {value}.",
    "Let me say that my {what} is {value}.",
)  # fmt: skip
ASKING = (
    "What is my {what}?", "What was my {what}?", "Do you remember my {what}?", "Tell me my {what}.", "And my {what}?",
    "Which {what} did I tell you?", "What did I say my {what} is?", "Say my {what} again.",
    "Can you repeat my {what}?", "Now, what is my {what}?", "I forgot my {what}.", "What's my {what}?",
    "Do you know my {what}?", "My {what} was?", "Please tell me my {what} again.",
    "Can you tell me what my {what} is?", "So what is my {what}?",
)  # fmt: skip
CHANGING = (
    "Sorry, my {what} is {value} now.", "No, my {what} is {value}.", "Now my {what} is {value}.",
    "I changed my {what} to {value}.", "Correction: my {what} is {value}.", "My {what} has changed to {value}.",
    "I meant {value}, not that, for my {what}.", "Wait, {value} is my {what}.", "From today my {what} is {value}.",
    "Make that {value} for my {what}.",
)  # fmt: skip

FIRST_QUESTION = (
    "What did I ask first?", "What was my first question?", "Which question came first?",
    "What did I ask you first of all?", "Repeat my first question.", "How did I begin?",
    "Tell me what I asked at first.", "What was the first thing I asked?", "Say my first question again.",
    "Do you remember my first question?", "With which question did I start?",
)  # fmt: skip
LAST_QUESTION = (
    "What did I just ask?", "What was my last question?", "What did I ask before this?", "Repeat my last question.",
    "What was the question before this one?", "Which question was the last?", "Say my last question again.",
    "What did I ask a moment ago?", "Tell me what I just asked.", "Do you remember my last question?",
)  # fmt: skip
FIRST_ANSWER = (
    "What was your first answer?", "What did you answer first?", "Repeat your first answer.",
    "Which was your first answer?", "Say your first answer again.", "What did you say first?",
    "Tell me the first answer you gave.", "What was the answer to my first question?",
    "How did you answer my first question?", "Your first answer was?",
)  # fmt: skip

LISTING = (
    "Here are some things: {items}.", "I have {items}.", "Take these: {items}.", "My list: {items}.",
    "Remember {items}.", "On my desk are {items}.", "The words are {items}.", "I bought {items}.",
    "There are {items}.", "Look at this list: {items}.", "I give you {items}.", "Please keep this in mind: {items}.",
    "You get {items}.", "The choices are {items}.", "Options: {items}",
)  # fmt: skip
WHICH = (
    "Which is the {nth}?", "What was the {nth} one?", "The {nth} one?", "Tell me the {nth} one.",
    "Which one was {nth}?", "I take the {nth} one. Which is it?", "Name the {nth}.", "What is the {nth} of them?",
    "Say the {nth} one.", "And the {nth}?", "What did I name {nth}?", "Give me the {nth} one.", "Which came {nth}?",
    "Repeat the {nth} one.", "What is {nth} on the list?",
)  # fmt: skip
ORDINALS = ("first", "second", "third", "fourth")

LIKING = (
    "{name} likes {value}.", "{name} wants {value}.", "{name} has {value}.", "{name} buys {value}.",
    "{name} sells {value}.", "{name} needs {value}.", "{name} found {value}.", "{name} lost {value}.",
    "{name} brings {value}.", "{name} eats {value}.",
)  # fmt: skip
VERBS = {
    "likes": "like", "wants": "want", "has": "have", "buys": "buy", "sells": "sell", "needs": "need", "found": "find",
    "lost": "lose", "brings": "bring", "eats": "eat",
}  # fmt: skip


def multi_turn(rng: Random, split: Split) -> Task:
    """A conversation of two to five turns whose last ones can only be answered from the earlier ones."""
    draw = rng.choices((_own_things, _own_changed, _earlier, _listed, _people), weights=(35, 12, 20, 20, 13))[0]
    exchanges = draw(rng, split)
    messages: list[Message] = []
    for exchange in exchanges:
        messages += [user(exchange.prompt), assistant(exchange.reply)]
    wording = " | ".join(dict.fromkeys(exchange.wording for exchange in exchanges))
    return Task("multi_turn", wording, tuple(messages), rng.choice(("enabled", "enabled", "disabled")))


SKILLS: dict[str, Callable[[Random, Split], Task]] = {"multi_turn": multi_turn}


def _exchange(wording: str, reply: str, **slots: str) -> Exchange:
    return Exchange(wording.format(**slots), reply, "", wording)


def _between(rng: Random, split: Split, most: int = 2) -> list[Exchange]:
    """Other things that are said in between."""
    return [rng.choice((draw_easy_sum, draw_courtesy))(rng, split) for _ in range(rng.randint(0, most))]


def _value(rng: Random, split: Split, what: str) -> str:
    values = own(OWN_THINGS[what], split)
    if values:
        return rng.choice(values)
    return code(rng, split) if rng.random() < 0.3 else capital(made_up_word(rng, split))


def _own_things(rng: Random, split: Split) -> list[Exchange]:
    """One or two things are told, and one or all of them asked."""
    told = {what: _value(rng, split, what) for what in rng.sample(tuple(OWN_THINGS), rng.randint(1, 2))}
    telling = [_exchange(pick(rng, TELLING, split), NOTED, what=what, value=value) for what, value in told.items()]
    asked = rng.sample(tuple(told), rng.randint(1, len(told)))
    asking = [_ask(rng, split, what, told[what]) for what in asked]
    return [*telling, *_between(rng, split), *asking]


def _own_changed(rng: Random, split: Split) -> list[Exchange]:
    what = rng.choice(tuple(OWN_THINGS))
    before = now = _value(rng, split, what)
    while now == before:
        now = _value(rng, split, what)
    return [
        _exchange(pick(rng, TELLING, split), NOTED, what=what, value=before),
        *_between(rng, split, 1),
        _exchange(pick(rng, CHANGING, split), NOTED, what=what, value=now),
        _ask(rng, split, what, now),
    ]


def _ask(rng: Random, split: Split, what: str, value: str) -> Exchange:
    return _exchange(pick(rng, ASKING, split), f"Your {what} is {value}.", what=what)


def _earlier(rng: Random, split: Split) -> list[Exchange]:
    """What was asked, or answered, before."""
    before = [draw_easy_sum(rng, split) for _ in range(rng.randint(1, 3))]
    first, last = before[0], before[-1]
    wordings, reply = rng.choice(
        (
            (FIRST_QUESTION, f"You asked: {first.prompt}"),
            (LAST_QUESTION, f"You asked: {last.prompt}"),
            (FIRST_ANSWER, first.reply),
        )
    )
    return [*before, _exchange(pick(rng, wordings, split), reply)]


def _listed(rng: Random, split: Split) -> list[Exchange]:
    """Things in an order, and one or two of them by their place."""
    items = pick_several(rng, rng.choice((NAMES, CITIES, THINGS, FOODS)), split, rng.randint(2, 4))
    places = rng.sample(range(len(items)), rng.randint(1, 2))
    asking = [_exchange(pick(rng, WHICH, split), items[place], nth=ORDINALS[place]) for place in places]
    listing = _exchange(pick(rng, LISTING, split), NOTED, items=enumerated(items))
    return [listing, *_between(rng, split, 1), *asking]


def _people(rng: Random, split: Split) -> list[Exchange]:
    """Two or three people with something each, in one turn; one is asked about."""
    count = rng.randint(2, 3)
    names, values = pick_several(rng, NAMES, split, count), pick_several(rng, FOODS, split, count)
    wording = pick(rng, LIKING, split)
    said = [wording.format(name=name, value=value) for name, value in zip(names, values, strict=True)]
    at = rng.randrange(count)
    verb = VERBS[wording.split()[1]]
    past = "did" if verb in ("find", "lose") else "does"
    telling = Exchange(" ".join(said), NOTED, "", wording)
    asking = Exchange(f"What {past} {names[at]} {verb}?", said[at], "", f"what {verb}")
    return [telling, *_between(rng, split, 1), asking]
