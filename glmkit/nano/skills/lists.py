"""Short lists of numbers or words: sorted, reversed, counted, filtered, added up, their largest and smallest.

Answered at once, but for sums: these are worked out as any expression is. A fifth of the lists is held out, and of
sums what `arithmetic` holds out.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from random import Random
from types import MappingProxyType

from glmkit.nano.skills.arithmetic import drawn_until, of_expression_split
from glmkit.nano.skills.lexicon import answered_at_once
from glmkit.nano.skills.working import Expression
from glmkit.nano.task import Split, Task, assistant, of_split, pick, user

__all__ = ["SKILLS"]

WORDS = (
    "apple", "bread", "chair", "door", "egg", "fish", "grape", "house", "ice", "juice", "king", "lamp", "milk", "nest",
    "orange", "pear", "queen", "rice", "sun", "tree", "van", "wolf", "yard", "zebra", "ant", "bear", "cat", "dog",
    "eagle", "fox", "goat", "hat", "ink", "jar", "kite", "lion", "moon", "nut", "owl", "pig", "rose", "ship", "tiger",
    "wind", "bell", "cup", "desk", "fork", "glass", "hill", "island", "jam", "key", "leaf", "map", "note", "oven",
)  # fmt: skip

RISING = (
    "Sort {l}.", "Sort these numbers: {l}", "Sort {l} in ascending order.", "Sort this list: {l}", "Can you sort {l}?",
    "Please sort {l} from small to large.", "Order {l} from smallest to largest.", "I have {l}. Sort them.",
    "Put {l} in ascending order.", "Arrange these from low to high: {l}", "{l}: sort them, smallest first.",
    "Here is a list: {l}. Sort it.", "Rank {l} from lowest to highest.", "把 {l} 从小到大排列。",
)  # fmt: skip
FALLING = (
    "Sort {l} in descending order.", "Sort these from large to small: {l}", "Order {l} from largest to smallest.",
    "Put {l} in descending order.", "Arrange these from high to low: {l}", "{l}: sort them, largest first.",
    "Please sort {l} from high to low.", "I have {l}. Sort them in descending order.", "把 {l} 从大到小排列。",
    "Rank {l} from highest to lowest.", "Here is a list: {l}. Sort it, largest first.",
)  # fmt: skip
ALPHABETICAL = (
    "Sort {l}.", "Sort these words: {l}", "Sort {l} alphabetically.", "Put {l} in alphabetical order.",
    "Can you sort {l}?", "Order these from A to Z: {l}", "I have {l}. Sort them.", "{l}: sort them by the alphabet.",
    "Here is a list: {l}. Put it in alphabetical order.", "Please sort these alphabetically: {l}",
    "Arrange {l} in the order of a dictionary.", "Sort this list: {l}",
)  # fmt: skip
BACKWARDS = (
    "Sort {l} from Z to A.", "Sort {l} in reverse alphabetical order.", "Put these in reverse alphabetical order: {l}",
    "Order {l} from Z to A.", "{l}: sort them from Z to A.", "Please sort these words from Z to A: {l}",
    "Here is a list: {l}. Sort it from Z to A.", "I have {l}. Sort them in reverse alphabetical order.",
)  # fmt: skip
REVERSED = (
    "Reverse {l}.", "Reverse this list: {l}", "Write {l} backwards.", "Turn this list around: {l}", "{l}: reverse it.",
    "Give me {l} in reverse order.", "Please reverse the order of {l}.", "Can you reverse {l}?", "{l}, backwards.",
    "I have {l}. Turn the order around.", "Here is a list: {l}. Reverse it.", "List these from last to first: {l}",
    "Read {l} from the end.", "把 {l} 倒过来写。",
)  # fmt: skip
FILTERED = (
    "Which of {l} are {c}?", "Keep only those of {l} that are {c}.", "From {l}, keep what is {c}.",
    "Which of these numbers are {c}: {l}", "{l}: which are {c}?", "Give me the numbers in {l} that are {c}.",
    "List all that are {c}: {l}", "Filter {l} for numbers that are {c}.", "Select from {l} those that are {c}.",
    "Take {l} and drop all that are not {c}.", "Find the ones that are {c} in {l}.", "What in {l} is {c}?",
    "I have {l}. Which are {c}?", "Please pick those that are {c} from {l}.",
)  # fmt: skip
LENGTH = (
    "How many items are in {l}?", "Count the items: {l}", "Count {l}.", "How long is the list {l}?",
    "How many are these? {l}", "{l}: how many items?", "What is the length of {l}?", "How many entries does {l} have?",
    "Tell me how many items this list has: {l}", "Here is a list: {l}. How long is it?", "{l} 一共有几个",
)  # fmt: skip
OCCURRENCES = (
    "How often does {i} occur in {l}?", "How many times is {i} in {l}?", "Count {i} in {l}.",
    "How often is {i} in {l}?", "In {l}, how many times is {i}?", "{l}: how often is {i} in it?",
    "Count how often {i} appears: {l}", "How many times does this list have {i}? {l}",
    "How often do you see {i} here: {l}", "{i} 在 {l} 里出现几次",
)  # fmt: skip
EXTREME = (
    "What is the {w} number in {l}?", "Which is the {w} of {l}?", "Find the {w} number: {l}", "{w} of {l}?",
    "Give me the {w} of these: {l}", "Tell me the {w} number in the list {l}.", "What is the {w} of {l}?",
    "In {l}, which number is the {w}?", "The {w} one of {l}, please.", "Which number is the {w}: {l}",
    "Here is a list: {l}. What is its {w} number?", "I have {l}. Which is the {w}?", "{l}: the {w} one?",
)  # fmt: skip
SUMMED = (
    "What is the sum of {l}?", "Add up {l}.", "Add these numbers: {l}", "Sum of {l}?", "What is the total of {l}?",
    "Please add up this list: {l}", "Sum up {l}.", "{l}: what is the total?", "How much are {l} together?",
    "I have {l}. What is the sum?", "What do {l} add up to?", "Here is a list: {l}. Add it up.", "{l} 的和是多少",
)  # fmt: skip

_CONDITIONS: Mapping[str, Callable[[int, int], bool]] = {
    **dict.fromkeys(("above {x}", "greater than {x}", "larger than {x}"), lambda n, x: n > x),
    **dict.fromkeys(("below {x}", "less than {x}", "smaller than {x}"), lambda n, x: n < x),
    "even": lambda n, _: n % 2 == 0,
    "odd": lambda n, _: n % 2 == 1,
}
_WAYS: Mapping[str, Callable[[Sequence[int]], int]] = {
    "largest": max, "biggest": max, "highest": max, "smallest": min, "lowest": min,
    "first": lambda items: items[0], "last": lambda items: items[-1],
}  # fmt: skip


def sort_list(rng: Random, split: Split) -> Task:
    numbers, falling = rng.random() < 0.6, rng.random() < 0.3
    wordings = (FALLING if numbers else BACKWARDS) if falling else RISING if numbers else ALPHABETICAL
    items = (_numbers if numbers else _words)(rng, split)
    answer = sorted(items, reverse=falling)
    return _task(rng, split, "sort_list", wordings, {"l": items}, answer, _ends(answer))


def reverse_list(rng: Random, split: Split) -> Task:
    items = rng.choice((_numbers, _words))(rng, split)
    return _task(rng, split, "reverse_list", REVERSED, {"l": items}, items[::-1], _ends(items[::-1]))


def filter_list(rng: Random, split: Split) -> Task:
    """Those above or below a number, or even, or odd; "none" if there is none."""
    items, limit = _numbers(rng, split), rng.randrange(10, 90)
    condition = rng.choice((*_CONDITIONS, "even", "odd"))
    verdicts = [_CONDITIONS[condition](item, limit) for item in items]
    kept = [item for item, keeps in zip(items, verdicts, strict=True) if keeps]
    said = {"l": items, "c": condition.format(x=limit)}
    return _task(rng, split, "filter_list", FILTERED, said, kept or "none", _judged(items, verdicts))


def count_list(rng: Random, split: Split) -> Task:
    """How many items there are, or how often one occurs."""
    draw = rng.choice((_numbers, _words))
    if rng.random() < 0.5:
        items = draw(rng, split)
        counted = [f"{number} {item}" for number, item in enumerate(items, start=1)]
        return _task(rng, split, "count_list", LENGTH, {"l": items}, len(items), _joined(counted))
    items, item = _repeating(rng, draw, split)
    verdicts = [other == item for other in items]
    said = {"l": items, "i": item}
    return _task(rng, split, "count_list", OCCURRENCES, said, sum(verdicts), _judged(items, verdicts))


def extreme_of_list(rng: Random, split: Split) -> Task:
    """The largest, smallest, first or last."""
    items, way = _numbers(rng, split), rng.choice(tuple(_WAYS))
    thought = _ends(items) if way in ("first", "last") else _joined(sorted(items))
    return _task(rng, split, "extreme_of_list", EXTREME, {"l": items, "w": way}, _WAYS[way](items), thought)


def sum_list(rng: Random, split: Split) -> Task:
    """Numbers of one digit or a few of two, thought about unless that is disabled."""
    most, lengths = rng.choice(((10, (3, 4, 5)), (100, (3, 3, 4))))

    def draw() -> list[int]:
        return [rng.randrange(1, most) for _ in range(rng.choice(lengths))]

    items = drawn_until(draw, lambda drawn: of_expression_split(_added(drawn), split))
    mode = rng.choices(("enabled", "disabled", "forced"), weights=(70, 25, 5))[0]
    template, total = pick(rng, SUMMED, split), _added(items)
    thought = "" if mode == "disabled" else total.worked_out
    return Task("sum_list", template, (user(template.format(l=_joined(items))), assistant(total.value, thought)), mode)


def _added(items: Sequence[int]) -> Expression:
    return reduce(lambda total, item: Expression.of(total, "+", item), map(Expression, items))


def _numbers(rng: Random, split: Split) -> list[int]:
    """Different numbers; lists that begin alike are on the same side of the line."""

    def draw() -> list[int]:
        return rng.sample(range(100 if rng.random() < 0.8 else 1000), rng.randint(3, 7))

    return drawn_until(draw, lambda numbers: of_split(_joined(numbers[:3]), split))


def _words(rng: Random, split: Split) -> list[str]:
    return drawn_until(lambda: rng.sample(WORDS, rng.randint(3, 6)), lambda words: of_split(_joined(words[:2]), split))


def _repeating(rng: Random, draw: Callable[[Random, Split], list], split: Split) -> tuple[list, object]:
    """A list and one of its items, which may be in it several times."""

    def repeat() -> tuple[list, object]:
        items = draw(rng, split)
        item = rng.choice(items)
        repeated = [item if rng.random() < 0.3 else other for other in items]
        return (repeated if item in repeated else items), item

    return drawn_until(repeat, lambda drawn: of_split(_joined(drawn[0]), split))


def _ends(items: Sequence) -> str:
    return f"{len(items)} items, from {items[0]} to {items[-1]}"


def _judged(items: Sequence, verdicts: Sequence[bool]) -> str:
    return _joined([f"{item} {'yes' if verdict else 'no'}" for item, verdict in zip(items, verdicts, strict=True)])


def _joined(items: object) -> str:
    return ", ".join(map(str, items)) if isinstance(items, list) else str(items)


def _task(
    rng: Random,
    split: Split,
    skill: str,
    wordings: Sequence[str],
    said: Mapping[str, object],
    answer: object,
    thought: str,
) -> Task:
    """A task that is answered at once; `thought` is what a forced one says."""
    template = pick(rng, wordings, split)
    question = template.format_map({slot: _joined(value) for slot, value in said.items()})
    return answered_at_once(rng, skill, template, question, _joined(answer), thought)


SKILLS: Mapping[str, Callable[[Random, Split], Task]] = MappingProxyType(
    {
        "sort_list": sort_list,
        "reverse_list": reverse_list,
        "filter_list": filter_list,
        "count_list": count_list,
        "extreme_of_list": extreme_of_list,
        "sum_list": sum_list,
    }
)
