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
    "(Remember that |Please note that |Just so you know, |I tell you that |Let me say that "
    "|Note that |You should know that "
    "|For later: |By the way, |Hi! |Keep in mind: |I have news: |For your notes: |)my {what} is {value}(.|!|)",
    "My {what}(:| is| is now| is really| will be) {value}(.|!|, just so you know.|. Remember it.|. Keep it in mind.|)",
    "(By the way, |Don't forget: |Remember: |Note: |You know, |Please note: |)"
    "{value} is my {what}(.|!|)",
    "(I tell you|You should know|Here is|Let me tell you|Note|Remember|Keep in mind|Write down) my {what}: {value}"
    "(.|!|)",
    "(As for|About|Now to) my {what}(, it is|: it is|, that is|:) {value}(.|!|)",
    "(You can|Please|Do) (write down|note|remember|keep|save) {value} as my {what}(.|!|)",
)  # fmt: skip
ASKING = (
    "(What|And what|So what|Now, what|OK, what|Tell me, what) (is|was) my {what}(?| again?| then?)",
    "What's my {what}(?| again?| now?)",
    "(Tell me|Say|Repeat|Please tell me|Please repeat|Remind me of|Give me|Write|Now say) my {what}( again|)"
    "(.|, please.|!|)",
    "(Do you|Do you still|Can you) (remember|know|recall) my {what}(?| now?| from before?)",
    "(Can|Could|Will) you (please |)(tell me|repeat|say|remind me of|give me) my {what}(?| again?)",
    "Which {what} did I (tell you|give you|name|mention|say)(?| before?| again?)",
    "What did I (say my {what} is|tell you my {what} is|give as my {what}|name as my {what})(?| before?| again?)",
    "(I forgot|I want to hear|I want to know|I cannot recall|I lost) my {what}(.|. What is it?|. Tell me.|!)",
    "(And|So|Now|Then) my {what}( was|)?", "(Can you tell me|Do you know|Tell me|Say|Please say) what my {what} "
    "(is|was)(?|)",
)  # fmt: skip
CHANGING = (
    "(Sorry, |No, |Now |Correction: |Wait, |From today |Oh, |I was wrong: |In fact, |Update: )my {what} is {value}"
    "( now|)(.|!|, sorry.)",
    "My {what} (has changed to|is now|has become|changed: it is|was wrong: it is) {value}( today| as of now|)(.|!|)",
    "I (changed|have changed|must change|want to change|correct) my {what} to {value}(.|!| now.)",
    "(No, |Wait, |Sorry, |Oh, |From now on |)(I meant |make that |take |say ){value}(, not that,|) "
    "(for|as) my {what}(.|!|)",
    "(Wait, |No, |Sorry, |From now on |Now |As of today, ){value} is my {what}(.|!|, sorry.)",
    "(Please c|C)hange my {what} to {value}(.|!|, please.|)",
)  # fmt: skip

FIRST_QUESTION = (
    "(What|Which question|So what|Now what) did I ask (you |)(first|first of all|at first|in the beginning"
    "|at the start)(?| again?)",
    "(What was|Do you remember|Can you repeat|Do you know|Can you say) (my first question|the question I asked first"
    "|the first thing I asked)(?| again?)",
    "(Repeat|Tell me|Say|Quote|Write|Give me|I forgot|Please repeat) (my first question|the first question I asked"
    "|the first thing I asked|what I asked first)( again|, please|)(.|!|)",
    "With (which|what) question did I (start|begin|open)?", "Which (question|of my questions) "
    "(came|was|did I ask) first?",
)  # fmt: skip
LAST_QUESTION = (
    "(What|Which question|So what) did I (just ask|ask last|ask just now|ask a moment ago|ask before this)(?| again?)",
    "(What was|Do you remember|Can you repeat|Can you say) (my last question|my previous question"
    "|the question before this one|the last question I asked|the question I just asked)(?| again?)",
    "(Repeat|Tell me|Say|Quote|Write|Give me|I forgot|Please repeat) (my last question|my previous question"
    "|what I just asked|the last thing I asked|the question before this one)( again|, please|)(.|!|)",
)  # fmt: skip
FIRST_ANSWER = (
    "(What|How|So what|Now what) did you answer (first|first of all|at first|the first time|to my first question)"
    "(?| again?)",
    "(What was|Do you remember|Can you repeat|Which was|Can you say) (your first answer|the first answer you gave"
    "|the answer to my first question)(?| again?)",
    "(Repeat|Tell me|Say|Quote|Write|Give me|I forgot|Please repeat) (your first answer|the first answer you gave"
    "|the answer to my first question|what you answered first)( again|, please|)(.|!|)",
)  # fmt: skip

LISTING = (
    "(Here are|There are|These are|I see) (some|my|the|a few) (things|words|items|names): {items}(.|!|)",
    "(I have|I bought|I give you|You get|Remember|I like|We saw|I know|I name|Take|We need|I say) {items}"
    "(.|!| now.| today.)",
    "(Take these|My list|Look at this list|The choices|Options|The words|Note these|Please keep this in mind"
    "|Remember these"
    "|Our list|In this order|List|Items)(: |:\n){items}(.|!|)",
    "(On my desk|On the list|In my bag|In the box|In a row|On the table) (are|I have|you find|we see|I see) {items}"
    "(.|!|)",
)  # fmt: skip
WHICH = (
    "(Which|What) (is|was) (the {nth}|the {nth} one|the {nth} of them|{nth}|{nth} on the list)(?| again?)",
    "(Tell me|Name|Say|Give me|Repeat|Write|Please name|Now say|Show me) the {nth}( one| of them| item|)"
    "(.|, please.|!|)",
    "(And |So |Now |Only |Next: |Asked: |)the {nth}( one| of them| item|)?", "(Which|What|Which one) "
    "(came|did I (name|say|list)) {nth}?",
    "(I take|I want|I choose|I like|I pick) the {nth}( one| of them|)(. Which is it?|. Name it.|. What is it?)",
    "(Can|Could|Will) you (please |)(name|tell me|repeat|say|give me) the {nth}( one| of them| item|)?",
    "(Do you remember|Do you know|What was) the {nth}( one| of them| item)?",
)  # fmt: skip
ORDINALS = ("first", "second", "third", "fourth")

LIKING = (
    "{name} (likes|wants|has|buys|sells|needs|found|lost|brings|eats|cooks|gets|keeps|orders"
    "|takes|sees|tries|chose|made)"
    " {value}( now| today| again| here| at home| in town| at last| for lunch| too|).",
)  # fmt: skip
WHO_WHAT = (
    "(What|And what|So what|Now what|OK, what|Tell me, what|Say, what|But what) {did} {name} {verb}(?| then?| again?)",
    "(Tell me|Say|Do you remember|Repeat|I forgot|Do you know|Please say|Can you say|Remind me) what {name} {said}"
    "(.|?|)",
)  # fmt: skip
"""The question about one of these people, by the verb as it was said and as it is asked."""

VERBS = {
    "likes": "like", "wants": "want", "has": "have", "buys": "buy", "sells": "sell", "needs": "need", "found": "find",
    "lost": "lose", "brings": "bring", "eats": "eat", "cooks": "cook", "gets": "get", "keeps": "keep",
    "orders": "order", "takes": "take", "sees": "see", "tries": "try", "chose": "choose", "made": "make",
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
    verb = wording.split()[1]
    telling = Exchange(" ".join(said), NOTED, "", wording)
    did = "does" if verb.endswith("s") else "did"
    asking = _exchange(pick(rng, WHO_WHAT, split), said[at], did=did, name=names[at], verb=VERBS[verb], said=verb)
    return [telling, *_between(rng, split, 1), asking]
