"""Word problems of one to three steps: a story, and the expression that answers it."""

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType

from glmkit.nano.skills.arithmetic import drawn_until, of_expression_split
from glmkit.nano.skills.lexicon import NAMES, pick_several
from glmkit.nano.skills.working import Expression
from glmkit.nano.task import Split, Task, assistant, pick, user

__all__ = ["SKILLS"]

THINGS = (
    "apples", "books", "coins", "cards", "pens", "cakes", "stones", "eggs", "stamps", "shells", "balls", "cups", "keys",
    "plants", "hats", "boxes", "roses", "tickets", "candles", "toys", "fish", "chairs", "oranges", "bottles", "songs",
)  # fmt: skip

# The operands a, b, c, d in the order of the story; what answers it is in postfix form.
STORIES = {
    "{n} has {a} {t} and gets {b} more. How many {t} does {n} have now?": "ab+",
    "{n} has {a} {t}. {m} has {b} {t}. How many {t} do they have together?": "ab+",
    "There are {a} {t} in one box and {b} in another. How many {t} are there in all?": "ab+",
    "{n} sold {a} {t} on Monday and {b} on Tuesday. How many {t} did {n} sell?": "ab+",
    "First {n} found {a} {t}, then {b} more. What is the total?": "ab+",
    "{n} has {a} {t} and gives {b} to {m}. How many {t} are left?": "ab-",
    "There were {a} {t} in a box. {n} took {b}. How many {t} are left?": "ab-",
    "{n} has {a} {t}. {m} has {b} {t}. How many more {t} does {n} have?": "ab-",
    "A shop had {a} {t} and sold {b} of them. How many remain?": "ab-",
    "{n} needs {a} {t} and has {b}. How many are missing?": "ab-",
    "{n} buys {a} boxes with {b} {t} each. How many {t} is that?": "ab*",
    "There are {a} rows of {b} {t}. How many {t} are there?": "ab*",
    "Each of {a} children brings {b} {t}. How many {t} do they bring?": "ab*",
    "One of the {t} costs {a} dollars. What do {b} of them cost?": "ab*",
    "{n} has {a} {t}, gets {b} from {m} and loses {c}. How many {t} does {n} have?": "ab+c-",
    "{n} had {a} {t}, gave {b} to {m} and {c} to a friend. How many are left?": "ab-c-",
    "{n} has {a} {t}, {m} has {b} and their friend has {c}. How many {t} are there?": "ab+c+",
    "{n} buys {a} bags of {b} {t} and eats {c}. How many {t} are left?": "ab*c-",
    "{n} has {a} {t} and buys {b} boxes of {c} more. How many {t} does {n} have?": "abc*+",
    "{n} fills {a} bags with {b} {t} each and has {c} {t} over. How many {t} were there?": "ab*c+",
    "{n} had {a} dollars and bought {b} {t} for {c} dollars each. How many dollars are left?": "abc*-",
    "A bus has {a} people. {b} get off and {c} get on. How many people are on the bus?": "ab-c+",
    "{n} picks {a} {t} a day for {b} days and gives away {c}, then {d} more. How many are left?": "ab*c-d-",
    "{n} has {a} {t} and {m} has {b}. Each of them gets {c} more. How many do they have together?": "ab+c+c+",
}


def word_problem(rng: Random, split: Split) -> Task:
    """A story with names and numbers; the thought is its expression, worked out."""
    story = pick(rng, tuple(STORIES), split)
    values, expression = drawn_until(
        lambda: _drawn(rng, STORIES[story]), lambda drawn: _is_told(drawn[1]) and of_expression_split(drawn[1], split)
    )
    first, second = pick_several(rng, NAMES, split, 2)
    things = pick(rng, THINGS, split)
    mode = rng.choice(("enabled", "enabled", "enabled", "forced", "disabled"))
    question = user(story.format(n=first, m=second, t=things, **values))
    thought = "" if mode == "disabled" else expression.worked_out
    return Task("word_problem", story, (question, assistant(expression.value, thought)), mode)


def _drawn(rng: Random, postfix: str) -> tuple[dict[str, int], Expression]:
    """Values for the story's letters, and its expression of them."""
    most = 20 if "*" in postfix else rng.choice((20, 100, 1000))
    values = {letter: rng.randrange(2, most) for letter in "abcd"}
    if postfix.startswith("ab-") or postfix == "abc*-":
        values["a"] = rng.randrange(most, most * 10)
    stack: list[Expression] = []
    for sign in postfix:
        if sign in "+-*":
            right, left = stack.pop(), stack.pop()
            stack.append(Expression.of(left, sign, right))
        else:
            stack.append(Expression(values[sign]))
    return values, stack.pop()


def _is_told(expression: Expression) -> bool:
    """Whether nothing falls below 0 on the way, and no product is of two numbers of two digits."""
    return all(
        problem.answer >= 0 and (problem.operator != "*" or min(problem.left, problem.right) < 10)
        for problem in expression.operations
    )


SKILLS: Mapping[str, Callable[[Random, Split], Task]] = MappingProxyType({"word_problem": word_problem})
