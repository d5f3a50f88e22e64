"""Sums and differences: drawing them, wording them, and working them out digit by digit.

Nothing here knows about chat, tokens or training. Whoever draws a problem for training gets no pair of
three-digit operands that `held_out` keeps for evaluation.
"""

from dataclasses import dataclass
from hashlib import blake2b
from random import Random

__all__ = ["MAX_DIGITS", "Problem", "draw_operand", "draw_problem", "held_out", "wording"]

MAX_DIGITS = 4
"""Operands have at most this many digits."""

HELD_OUT_SHARE = 0.1
"""The share of three-digit operand pairs that training never sees."""

ARROW = "→"


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
            return _work_out_sum(self.left, self.right)
        if self.left >= self.right:
            return _work_out_difference(self.left, self.right)
        opposite = _work_out_difference(self.right, self.left)
        return f"{self.left}<{self.right}\n{opposite}\n{self.answer}"


def _columns(left: int, right: int) -> tuple[str, str, list[tuple[int, int]]]:
    """Both operands padded to one width, and their digit pairs from the right."""
    width = max(len(str(left)), len(str(right)))
    top, bottom = str(left).zfill(width), str(right).zfill(width)
    return top, bottom, [(int(t), int(b)) for t, b in zip(reversed(top), reversed(bottom), strict=True)]


def _work_out_sum(left: int, right: int) -> str:
    top, bottom, columns = _columns(left, right)
    lines, carry, result = [f"{top}+{bottom}"], 0, ""
    for place, (t, b) in enumerate(columns, start=1):
        total = t + b + carry
        result = (str(total) if place == len(columns) else str(total % 10)) + result
        lines.append(f"{t}+{b}{'+1' * carry}={total}{ARROW}{result}")
        carry = total // 10
    return "\n".join(lines)


def _work_out_difference(left: int, right: int) -> str:
    top, bottom, columns = _columns(left, right)
    lines, borrow, result = [f"{top}-{bottom}"], 0, ""
    for t, b in columns:
        repaid, borrow = borrow, int(t - b - borrow < 0)
        digit = 10 * borrow + t - b - repaid
        result = f"{digit}{result}"
        lines.append(f"{10 * borrow + t}-{b}{'-1' * repaid}={digit}{ARROW}{result}")
    return "\n".join(lines)


def held_out(left: int, right: int) -> bool:
    """Whether this pair of operands, in either order, is kept for evaluation.

    A hash of the operands decides, so the split is the same for every seed, wording and operator. Only pairs
    of three-digit numbers are ever held out: there are too few shorter ones to spare any.
    """
    low, high = sorted((left, right))
    if low < 100 or high > 999:
        return False
    digest = blake2b(f"{low},{high}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") < HELD_OUT_SHARE * 2**32


def draw_operand(rng: Random, digits: int) -> int:
    """A number of exactly `digits` digits (0 counts as one); one in eight is made of zeros and nines."""
    if rng.random() < 1 / 8:
        head = rng.choice("123456789") if digits > 1 else rng.choice("0123456789")
        return int(head + "".join(rng.choice("09") for _ in range(digits - 1)))
    return rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)


def draw_problem(rng: Random, digits: tuple[int, int]) -> Problem:
    """A problem whose operands have this many digits, never a held-out pair; one in three is a difference."""
    while True:
        left, right = (draw_operand(rng, n) for n in digits)
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
