"""Short lists of numbers or words: sorted, reversed, counted, filtered, their largest and smallest."""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from types import MappingProxyType

from glmkit.nano.task import Split, Task, assistant, of_split, pick, user

__all__ = ["SKILLS"]

WORDS = (
    "apple", "bread", "chair", "door", "egg", "fish", "grape", "house", "ice", "juice", "king", "lamp", "milk", "nest",
    "orange", "pear", "queen", "rice", "sun", "tree", "van", "wolf", "yard", "zebra", "ant", "bear", "cat", "dog",
    "eagle", "fox", "goat", "hat", "ink", "jar", "kite", "lion", "moon", "nut", "owl", "pig", "rose", "ship", "tiger",
    "wind", "bell", "cup", "desk", "fork", "glass", "hill", "island", "jam", "key", "leaf", "map", "note", "oven",
)  # fmt: skip

_RISING = ("sort", "sort in ascending order", "sort from small to large")
_FALLING = ("sort in descending order", "sort from large to small")
_ALPHABETICAL = ("sort alphabetically", "sort", "put in alphabetical order")
_BACKWARDS = ("sort in reverse alphabetical order",)

_LISTED = (
    "{do}: {l}", "{do}: {l}.", "{do} this list: {l}", "Here is a list: {l}. {do} it.", "Take {l} and {do2} it.",
    "Please {do2} {l}.", "{do} {l}", "Can you {do2} these? {l}", "I have {l}. {do} them.", "{l}: {do2} them.",
)  # fmt: skip

_FILTERED = (
    "{do} {l}.",
    "{do} {l}",
    "Please {do2} {l}.",
    "{do} this list: {l}",
    "Can you {do2} {l}?",
    "From {l}, {do2} it.",
    "{do} the list {l}.",
)
_LENGTH = (
    "How many items are in {l}?",
    "Count the items: {l}",
    "Count {l}.",
    "How long is the list {l}?",
    "How many are these? {l}",
    "{l}: how many items?",
    "What is the length of {l}?",
)
_OCCURS = (
    "How often does {i} occur in {l}?",
    "How many times is {i} in {l}?",
    "Count {i} in {l}.",
    "In {l}, how many times is {i}?",
    "How many {i} are in this list: {l}?",
    "{l}: how often is {i} in it?",
    "Count how often {i} appears: {l}",
)
_EXTREME = (
    "What is the {w} number in {l}?",
    "Which is the {w} of {l}?",
    "Find the {w} number: {l}",
    "{w} of {l}?",
    "Give me the {w} of these: {l}",
    "Tell me the {w} number in the list {l}.",
    "In {l}, which number is the {w}?",
    "The {w} one of {l}, please.",
)


def sort_list(rng: Random, split: Split) -> Task:
    numbers = rng.random() < 0.6
    items = _numbers(rng, split) if numbers else _words(rng, split)
    falling = rng.random() < 0.3
    answer = sorted(items, reverse=falling)
    rising, backwards = (_RISING, _FALLING) if numbers else (_ALPHABETICAL, _BACKWARDS)
    ways = backwards if falling else rising
    return _changed(rng, split, "sort_list", items, rng.choice(ways), answer)


def reverse_list(rng: Random, split: Split) -> Task:
    items = rng.choice((_numbers, _words))(rng, split)
    return _changed(
        rng, split, "reverse_list", items, rng.choice(("reverse", "turn around", "write backwards")), items[::-1]
    )


def filter_list(rng: Random, split: Split) -> Task:
    """Those above or below a number, or even, or odd; "none" if there is none."""
    items, limit = _numbers(rng, split), rng.randrange(10, 90)
    way, keeps = rng.choice(
        (
            (f"keep only numbers above {limit} of", lambda n: n > limit),
            (f"keep only numbers below {limit} of", lambda n: n < limit),
            ("keep only the even numbers of", lambda n: n % 2 == 0),
            ("keep only the odd numbers of", lambda n: n % 2 == 1),
        )
    )
    kept = [n for n in items if keeps(n)]
    template = pick(rng, _FILTERED, split)
    return _task(rng, "filter_list", template, _filled(template, way, items), _joined(kept) or "none")


def count_list(rng: Random, split: Split) -> Task:
    """How many items there are, or how often one occurs."""
    items = rng.choice((_numbers, _words))(rng, split)
    if rng.random() < 0.5:
        template = pick(rng, _LENGTH, split)
        return _task(rng, "count_list", template, template.format(l=_joined(items)), len(items))
    item = rng.choice(items)
    items = [item if rng.random() < 0.3 else other for other in items]
    template = pick(rng, _OCCURS, split)
    return _task(rng, "count_list", template, template.format(l=_joined(items), i=item), items.count(item))


def extreme_of_list(rng: Random, split: Split) -> Task:
    """The largest, smallest, first or last."""
    items = _numbers(rng, split)
    way, answer = rng.choice(
        (("largest", max(items)), ("biggest", max(items)), ("smallest", min(items)), ("lowest", min(items)),
         ("first", items[0]), ("last", items[-1]), ("highest", max(items)))
    )  # fmt: skip
    template = pick(rng, _EXTREME, split)
    return _task(rng, "extreme_of_list", template, template.format(w=way, l=_joined(items)), answer)


def _changed(rng: Random, split: Split, skill: str, items: Sequence, way: str, answer: Sequence) -> Task:
    template = pick(rng, _LISTED, split)
    return _task(rng, skill, template, _filled(template, way, items), _joined(answer))


def _filled(template: str, way: str, items: Sequence) -> str:
    return template.format(do=way[0].upper() + way[1:], do2=way, l=_joined(items))


def _numbers(rng: Random, split: Split) -> list[int]:
    """Different numbers; a fifth of all first numbers is held out with its list."""
    while True:
        numbers = rng.sample(range(100 if rng.random() < 0.8 else 1000), rng.randint(3, 7))
        if of_split(_joined(numbers[:3]), split):
            return numbers


def _words(rng: Random, split: Split) -> list[str]:
    while True:
        words = rng.sample(WORDS, rng.randint(3, 6))
        if of_split(_joined(words[:2]), split):
            return words


def _joined(items: Sequence) -> str:
    return ", ".join(map(str, items))


def _task(rng: Random, skill: str, template: str, question: str, answer: object) -> Task:
    mode = rng.choice(("enabled", "enabled", "disabled"))
    return Task(skill, template, (user(question), assistant(answer)), mode)


SKILLS: Mapping[str, Callable[[Random, Split], Task]] = MappingProxyType(
    {
        "sort_list": sort_list,
        "reverse_list": reverse_list,
        "filter_list": filter_list,
        "count_list": count_list,
        "extreme_of_list": extreme_of_list,
    }
)
