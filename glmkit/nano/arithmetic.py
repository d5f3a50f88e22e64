"""Sums and differences: drawing them, wording them, and working them out digit by digit.

Nothing here knows about chat, tokens or training. Whoever draws a problem for training gets no pair of
three-digit operands that `held_out` keeps for evaluation.
"""

from dataclasses import dataclass
from random import Random

from glmkit.nano.skills.arithmetic import operand
from glmkit.nano.skills.working import difference_in_columns, sum_in_columns
from glmkit.nano.task import of_split

__all__ = ["MAX_DIGITS", "Problem", "draw_problem", "held_out", "wording"]

MAX_DIGITS = 4
"""Operands have at most this many digits."""

HELD_OUT_SHARE = 0.1
"""The share of three-digit operand pairs that training never sees."""


@dataclass(frozen=True)
class Problem:
    """`left operator right` with non-negative operands of at most `MAX_DIGITS` digits; operator is + or -."""

    left: int
    operator: str
    right: int

    @property
    def answer(self) -> int:
        return self.left + self.right if self.operator == "+" else self.left - self.right

    @property
    def easy(self) -> bool:
        """One digit each: answered without thinking when the choice is free."""
        return self.left < 10 and self.right < 10

    @property
    def reasoning(self) -> str:
        """The problem with its operands padded to one width, then a line per column from the right.

        A line is `column=value→result so far`, so that every token is either copied from a place nearby or
        is the outcome of one single-digit operation, and the last line ends in the answer:

            345+678
            5+8=13→3
            4+7+1=12→23
            3+6+1=10→1023

        A difference writes the borrowed ten in front of the digit (`13-8=5`), repays it in the next column
        (`12-7-1=4`), and keeps leading zeros, which the answer then drops. A negative difference is the
        opposite one negated.
        """
        if self.operator == "+":
            return sum_in_columns(self.left, self.right)
        if self.left >= self.right:
            return difference_in_columns(self.left, self.right)
        opposite = difference_in_columns(self.right, self.left)
        return f"{self.left}<{self.right}\n{opposite}\n{self.answer}"


def held_out(left: int, right: int) -> bool:
    """Whether this pair of operands, in either order, is kept for evaluation.

    A hash of the operands decides, so the split is the same for every seed, wording and operator. Only pairs
    of three-digit numbers are ever held out: there are too few shorter ones to spare any.
    """
    low, high = sorted((left, right))
    return low >= 100 and high <= 999 and of_split(f"{low},{high}", "held_out", HELD_OUT_SHARE)


def draw_problem(rng: Random, digits: tuple[int, int]) -> Problem:
    """A problem whose operands have this many digits, never a held-out pair; one in three is a difference."""
    while True:
        left, right = (operand(rng, n) for n in digits)
        if not held_out(left, right):
            break
    if rng.random() < 2 / 3:
        return Problem(left, "+", right)
    if left < right and rng.random() < 7 / 8:  # negative differences are the rarer case
        left, right = right, left
    return Problem(left, "-", right)


_SUM_WORDINGS = (
    "What is {a} + {b}?",
    "What is {a} + {b}?",
    "What is {a}+{b}?",
    "What's {a} + {b}?",
    "What is {a} plus {b}?",
    "What's {a} plus {b}?",
    "How much is {a} + {b}?",
    "How much is {a} plus {b}?",
    "What is the sum of {a} and {b}?",
    "{a} + {b}",
    "{a} + {b} =",
    "{a} + {b} = ?",
    "{a}+{b}",
    "{a}+{b}=",
    "{a} plus {b}",
    "Compute {a} + {b}.",
    "Calculate {a} + {b}.",
    "Solve {a} + {b}.",
    "Add {a} and {b}.",
    "Add {b} to {a}.",
    "Please add {a} and {b}.",
    "Can you add {a} and {b}?",
)
_DIFFERENCE_WORDINGS = (
    "What is {a} - {b}?",
    "What is {a} - {b}?",
    "What is {a}-{b}?",
    "What's {a} - {b}?",
    "What is {a} minus {b}?",
    "What's {a} minus {b}?",
    "How much is {a} - {b}?",
    "How much is {a} minus {b}?",
    "What is {b} less than {a}?",
    "{a} - {b}",
    "{a} - {b} =",
    "{a} - {b} = ?",
    "{a}-{b}",
    "{a}-{b}=",
    "{a} minus {b}",
    "Compute {a} - {b}.",
    "Calculate {a} - {b}.",
    "Solve {a} - {b}.",
    "Subtract {b} from {a}.",
    "Take {b} away from {a}.",
    "Please subtract {b} from {a}.",
    "Can you subtract {b} from {a}?",
)
_SUM_STORIES = (
    "{name} has {a} {things} and gets {b} more. How many {things} does {name} have now?",
    "{name} has {a} {things}. {other} has {b} {things}. How many {things} do they have together?",
    "There are {a} {things} in one box and {b} in another. How many {things} are there in all?",
    "{name} sold {a} {things} on Monday and {b} on Tuesday. How many {things} did {name} sell?",
)
_DIFFERENCE_STORIES = (
    "{name} has {a} {things} and gives {b} to {other}. How many {things} are left?",
    "There were {a} {things} in a box. {name} took {b}. How many {things} are left?",
    "{name} has {a} {things}. {other} has {b} {things}. How many more {things} does {name} have?",
)
_NAMES = ("Tom", "Mia", "Sam", "Ana", "Ben", "Lin", "Max", "Eva", "Ali", "Zoe")
_THINGS = ("apples", "books", "coins", "cards", "pens", "cakes", "stones", "eggs", "stamps", "shells")

STORY_SHARE = 0.12


def wording(rng: Random, problem: Problem) -> str:
    """The problem as a user might put it: a question, a command, bare symbols or, now and then, a small story."""
    is_sum = problem.operator == "+"
    if rng.random() < STORY_SHARE and problem.answer >= 0:
        name, other = rng.sample(_NAMES, 2)
        text = rng.choice(_SUM_STORIES if is_sum else _DIFFERENCE_STORIES)
        return text.format(a=problem.left, b=problem.right, name=name, other=other, things=rng.choice(_THINGS))
    text = rng.choice(_SUM_WORDINGS if is_sum else _DIFFERENCE_WORDINGS)
    return text.format(a=problem.left, b=problem.right)
