"""Arithmetic: when to think about a problem and when to answer at once, in problems that share all their wordings.

Easy and hard problems differ in their operands alone. The same hard problems are asked in the thinking modes and, as
often, with thinking disabled, where the answer stands alone. What is held out: a tenth of all problems with an operand
of two digits or more, whatever their wording. Those of single digits are too few to spare any.
"""

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import TypeVar

from glmkit.nano.skills.working import Expression, Problem, worked_out
from glmkit.nano.task import Message, Split, Task, assistant, of_split, pick, user

__all__ = [
    "SKILLS",
    "draw_easy",
    "draw_expression",
    "draw_hard",
    "drawn_until",
    "of_expression_split",
    "of_problem_split",
    "operand",
]

T = TypeVar("T")

PROBLEMS_HELD_OUT = 0.1

WORDINGS = (
    "What is {e}?", "What's {e}?", "What is {e}", "How much is {e}?", "How much is {e}", "What does {e} equal?", "{e}",
    "{e} =", "{e} = ?", "{e}?", "{e}=", "Compute {e}.", "Compute {e}", "Calculate {e}.", "Calculate {e}",
    "Please calculate {e}.", "Please compute {e}.", "Work out {e}.", "Evaluate {e}.", "Solve {e}.", "Solve: {e}",
    "Can you work out {e}?", "Can you compute {e} for me?", "Could you tell me what {e} is?", "Tell me what {e} is.",
    "Tell me {e}.", "I need to know what {e} is.", "I need the result of {e}.", "Give me the result of {e}.",
    "What do you get for {e}?", "What is the value of {e}?", "Find the value of {e}.", "Find {e}.", "Result of {e}?",
    "Quick question: what is {e}?", "Hi! What is {e}?", "Hello, can you calculate {e}?", "Do you know what {e} is?",
    "My homework asks for {e}. What is it?", "Help me with {e}.", "So what is {e} then?", "{e}, please.", "计算 {e}。",
    "{e} 等于多少", "请算一下 {e}。", "{e} 是多少", "{e} 得多少",
)  # fmt: skip
_SPOKEN = {"+": "{a} plus {b}", "-": "{a} minus {b}", "*": "{a} times {b}"}
_NAMED = {"+": "the sum of {a} and {b}", "-": "the difference between {a} and {b}", "*": "the product of {a} and {b}"}
_FOLLOW_UPS = {
    "+": ("And plus {b}?", "Plus {b}?", "Now add {b}.", "And if you add {b}?", "Add {b} to that.", "Then add {b}.",
          "What if I add {b}?", "Increase it by {b}."),
    "-": ("And minus {b}?", "Minus {b}?", "Now subtract {b}.", "Take away {b}.", "Subtract {b} from that.",
          "Then subtract {b}.", "What if I take {b} away?", "Decrease it by {b}."),
    "*": ("And times {b}?", "Times {b}?", "Now multiply it by {b}.", "Multiply that by {b}.", "And {b} times that?"),
}  # fmt: skip


def of_problem_split(problem: Problem, split: Split) -> bool:
    """Whether a problem may be shown in `split`: sums and products are those of their operands in either order."""
    low, high = sorted((problem.left, problem.right))
    if high < 10:
        return True
    return of_split(f"{low} {high}", split, PROBLEMS_HELD_OUT)


def of_expression_split(expression: Expression, split: Split) -> bool:
    """Whether an expression may be shown in `split`; in training none of its operations is held out by itself."""
    if split == "train" and not all(of_problem_split(problem, "train") for problem in expression.operations):
        return False
    return of_split(str(expression), split, PROBLEMS_HELD_OUT)


def draw_easy(rng: Random, split: Split) -> Problem:
    """A problem that is answered at once."""

    def draw() -> Problem:
        operator = rng.choice("++--*")
        if operator == "*":
            return Problem(rng.randrange(10), "*", rng.randrange(10))
        operands = [rng.randrange(100) if rng.random() < 0.8 else rng.randrange(10), rng.randrange(10)]
        if operator == "+":
            rng.shuffle(operands)
        return Problem(
            max(operands) if operator == "-" else operands[0],
            operator,
            min(operands) if operator == "-" else operands[1],
        )

    return _of_split(draw, split)


def draw_hard(rng: Random, split: Split) -> Problem:
    """A problem to think about: operands of up to four digits, products of up to three digits and two."""

    def draw() -> Problem:
        operator = rng.choices("+-*", weights=(5, 4, 3))[0]
        if operator == "*":
            left, right = rng.choice(((2, 1), (2, 1), (3, 1), (2, 2), (2, 2), (3, 2)))
            problem = Problem(operand(rng, left), "*", operand(rng, right))
        else:
            sizes = rng.choice(((2, 2), (3, 3), (3, 3), (3, 3), (4, 4), (3, 2), (4, 3), (2, 3)))
            left, right = (operand(rng, size) for size in sizes)
            if operator == "-" and left < right and rng.random() < 7 / 8:  # negative differences are the rarer case
                left, right = right, left
            problem = Problem(left, operator, right)
        return problem

    return _of_split(lambda: drawn_until(draw, lambda problem: not problem.easy), split)


def one_step(rng: Random, split: Split) -> Task:
    """Easy problems: answered at once, unless a thought is forced."""
    return _question(rng, split, "one_step", draw_easy(rng, split), ("enabled", "disabled", "disabled", "forced"))


def hard(rng: Random, split: Split) -> Task:
    """Hard problems: thought about where that is allowed."""
    return _question(rng, split, "hard", draw_hard(rng, split), ("enabled", "forced", "disabled", "disabled"))


def multi_step(rng: Random, split: Split) -> Task:
    """Expressions of two to four operations with precedence and parentheses, none of which leaves 0 to 9999."""
    expression = drawn_until(
        lambda: draw_expression(rng, rng.choice((2, 2, 3, 4))), lambda e: of_split(str(e), split, 0.1)
    )
    written = str(expression)
    if rng.random() < 0.5:
        for operator in "+-*":
            written = written.replace(operator, f" {operator} ")
    template = pick(rng, WORDINGS, split)
    mode = rng.choice(("enabled", "forced", "disabled", "disabled"))
    thought = "" if mode == "disabled" else expression.worked_out
    messages = (user(template.format(e=written)), assistant(expression.value, thought))
    return Task("multi_step", template, messages, mode)


def follow_up(rng: Random, split: Split) -> Task:
    """A second problem about the answer to the first."""

    def draw() -> tuple[Problem, Problem]:
        first = rng.choice((draw_easy, draw_hard))(rng, split)
        operator = rng.choice("++--*")
        return first, Problem(
            first.answer, operator, rng.randrange(2, 10) if operator == "*" else operand(rng, rng.randint(1, 3))
        )

    first, second = drawn_until(
        draw, lambda pair: 0 <= pair[1].left < 1000 and pair[1].answer >= 0 and of_problem_split(pair[1], split)
    )
    mode = rng.choice(("enabled", "enabled", "disabled"))
    template, more = pick(rng, WORDINGS, split), pick(rng, _FOLLOW_UPS[second.operator], split)
    messages = (
        *_turns(template.format(e=_written(rng, first)), first, mode),
        *_turns(more.format(b=second.right), second, mode),
    )
    return Task("follow_up", f"{template} {more}", messages, mode)


def _question(rng: Random, split: Split, skill: str, problem: Problem, modes: tuple[str, ...]) -> Task:
    template, mode = pick(rng, WORDINGS, split), rng.choice(modes)
    return Task(skill, template, _turns(template.format(e=_written(rng, problem)), problem, mode), mode)


def _turns(question: str, problem: Problem, mode: str) -> tuple[Message, Message]:
    thinks = mode == "forced" or (mode == "enabled" and not problem.easy)
    return user(question), assistant(problem.answer, worked_out(problem) if thinks else "")


def _written(rng: Random, problem: Problem) -> str:
    """The problem in symbols, with blanks or without, or in words."""
    form = rng.choices(
        ("{a} {o} {b}", "{a}{o}{b}", _SPOKEN[problem.operator], _NAMED[problem.operator]), weights=(5, 3, 2, 1)
    )[0]
    if form == _NAMED["-"] and problem.left < problem.right:
        form = _SPOKEN["-"]
    sign = rng.choice("**x×") if problem.operator == "*" else problem.operator
    return form.format(a=problem.left, b=problem.right, o=sign)


def draw_expression(rng: Random, operations: int) -> Expression:
    """Drawn anew until no operation leaves 0 to 9999; products are of at most three digits and one."""
    while True:
        parts = [Expression(operand(rng, rng.choice((1, 1, 2, 2, 3)))) for _ in range(operations + 1)]
        while len(parts) > 1:
            at = rng.randrange(len(parts) - 1)
            parts[at : at + 2] = [Expression.of(parts[at], rng.choice("++--*"), parts[at + 1])]
        if _within_reach(parts[0]):
            return parts[0]


def _within_reach(expression: Expression) -> bool:
    left, right = expression.left, expression.right
    if left is None or right is None:
        return True
    small, large = sorted((left.value, right.value))
    if expression.operator == "*" and (small > 9 or large > 999):
        return False
    return 0 <= expression.value <= 9999 and _within_reach(left) and _within_reach(right)


def operand(rng: Random, digits: int) -> int:
    """A number of exactly `digits` digits (0 counts as one); one in eight is made of zeros and nines."""
    if rng.random() < 1 / 8:
        head = rng.choice("123456789") if digits > 1 else rng.choice("0123456789")
        return int(head + "".join(rng.choice("09") for _ in range(digits - 1)))
    return rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)


def _of_split(draw: Callable[[], Problem], split: Split) -> Problem:
    return drawn_until(draw, lambda problem: of_problem_split(problem, split))


def drawn_until(draw: Callable[[], T], fits: Callable[[T], bool]) -> T:
    while not fits(drawn := draw()):
        pass
    return drawn


SKILLS: Mapping[str, Callable[[Random, Split], Task]] = MappingProxyType(
    {"one_step": one_step, "hard": hard, "multi_step": multi_step, "follow_up": follow_up}
)
