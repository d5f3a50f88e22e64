"""Arithmetic: when to think about a problem and when to answer at once, in problems that share all their wordings.

Easy and hard problems (`Problem.easy`) differ in their operands alone. The same hard problems are asked in the thinking
modes and, as often, with thinking disabled, where the answer stands alone. What is held out: a tenth of all pairs of
operands, one of two digits or more, whatever their wording and operator; training does not show them on the way to
another answer either. Sums of single digits and their products are too few to spare any.
"""

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Literal, TypeVar

from glmkit.nano.skills.working import Expression, Problem, worked_out
from glmkit.nano.task import Message, Split, Task, assistant, of_split, pick, user

__all__ = [
    "SKILLS",
    "Problem",
    "draw_easy",
    "draw_expression",
    "draw_hard",
    "drawn_until",
    "of_expression_split",
    "of_problem_split",
    "operand",
]

T = TypeVar("T")
Mode = Literal["enabled", "disabled", "forced"]

PROBLEMS_HELD_OUT = 0.1

# In percent. Nothing before a forced thought tells it from an empty one, so where easy problems are asked, forced
# thoughts have to be few, or whether to think becomes a toss-up.
EASY_MODES = {"enabled": 45, "disabled": 50, "forced": 5}
HARD_MODES = {"enabled": 40, "disabled": 50, "forced": 10}
FOLLOW_UP_MODES = {"enabled": 60, "disabled": 40}

HARD_SIZES = (
    (2, 2), (2, 2), (3, 3), (3, 3), (3, 3), (4, 4), (3, 2), (2, 3), (4, 3), (3, 4), (3, 1), (4, 2),
)  # fmt: skip
PRODUCT_SIZES = ((2, 1), (2, 1), (3, 1), (2, 2), (2, 2), (3, 2))
"""How many digits the operands of hard problems have, as often as it stands here."""

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
          "What if I add {b}?", "Increase it by {b}.", "Now plus {b}.", "Then plus {b}?", "Add another {b}.",
          "And {b} more?", "{b} more?", "Please add {b} to it.", "再加 {b}。"),
    "-": ("And minus {b}?", "Minus {b}?", "Now subtract {b}.", "Take away {b}.", "Subtract {b} from that.",
          "Then subtract {b}.", "What if I take {b} away?", "Decrease it by {b}.", "Now minus {b}.", "Then minus {b}?",
          "And {b} less?", "{b} less?", "Please subtract {b} from it.", "再减 {b}。"),
    "*": ("And times {b}?", "Times {b}?", "Now multiply it by {b}.", "Multiply that by {b}.", "And {b} times that?",
          "Then times {b}?", "Now times {b}.", "Then multiply by {b}.", "What is {b} times that?",
          "Please multiply it by {b}.", "再乘 {b}。"),
}  # fmt: skip


def of_problem_split(problem: Problem, split: Split) -> bool:
    """Whether a problem may be shown in `split`; in training none of its parts is held out by itself."""
    shown = (problem, *problem.parts) if split == "train" else (problem,)
    return all(max(p.left, p.right) < 10 or of_split(_operands(p), split, PROBLEMS_HELD_OUT) for p in shown)


def of_expression_split(expression: Expression, split: Split) -> bool:
    """Whether an expression may be shown in `split`; in training none of its operations is held out by itself.

    One operation is held out as its problem is, so that a story does not show what is kept from bare questions.
    """
    if split == "train" and not all(of_problem_split(problem, "train") for problem in expression.operations):
        return False
    text = _operands(*expression.operations) if len(expression.operations) == 1 else str(expression)
    return of_split(text, split, PROBLEMS_HELD_OUT)


def _operands(problem: Problem) -> str:
    """What a problem is held out by: its operands in either order."""
    low, high = sorted((problem.left, problem.right))
    return f"{low} {high}"


def draw_easy(rng: Random, split: Split) -> Problem:
    """A problem that is answered at once. How many have a number of two digits is the same in either split."""
    operator, tens = rng.choice("++--*"), rng.random() < 0.8

    def draw() -> Problem:
        one, other = rng.randrange(10), rng.randrange(10, 100) if tens and operator != "*" else rng.randrange(10)
        if operator == "-":
            return Problem(max(one, other), "-", min(one, other))
        left, right = rng.sample((one, other), 2)
        return Problem(left, operator, right)

    return drawn_until(draw, lambda problem: of_problem_split(problem, split))


def draw_hard(rng: Random, split: Split) -> Problem:
    """A problem to think about: operands of up to four digits, products of up to three digits and two."""
    operator = rng.choices("+-*", weights=(5, 4, 3))[0]

    def draw() -> Problem:
        sizes = rng.choice(PRODUCT_SIZES if operator == "*" else HARD_SIZES)
        left, right = (operand(rng, size) for size in sizes)
        if operator == "-" and left < right and rng.random() < 7 / 8:  # negative differences are the rarer case
            left, right = right, left
        return Problem(left, operator, right)

    return drawn_until(draw, lambda problem: not problem.easy and of_problem_split(problem, split))


def one_step(rng: Random, split: Split) -> Task:
    """Easy problems: answered at once, unless a thought is forced."""
    return _question(rng, split, "one_step", draw_easy(rng, split), EASY_MODES)


def hard(rng: Random, split: Split) -> Task:
    """Hard problems: thought about where that is allowed."""
    return _question(rng, split, "hard", draw_hard(rng, split), HARD_MODES)


def multi_step(rng: Random, split: Split) -> Task:
    """Expressions of two to four operations with precedence and parentheses, none of which leaves 0 to 9999."""
    operations = rng.choice((2, 2, 3, 4))
    expression = drawn_until(lambda: draw_expression(rng, operations), lambda drawn: of_expression_split(drawn, split))
    written = str(expression)
    if rng.random() < 0.5:
        for operator in "+-*":
            written = written.replace(operator, f" {operator} ")
    template = pick(rng, WORDINGS, split)
    mode = _mode(rng, HARD_MODES)
    thought = "" if mode == "disabled" else expression.worked_out
    messages = (user(template.format(e=written)), assistant(expression.value, thought))
    return Task("multi_step", template, messages, mode)


def follow_up(rng: Random, split: Split) -> Task:
    """A second problem about the answer to the first."""
    draw_first, operator = rng.choice((draw_easy, draw_hard)), rng.choice("++--*")

    def draw() -> tuple[Problem, Problem]:
        first = draw_first(rng, split)
        right = rng.randrange(2, 10) if operator == "*" else operand(rng, rng.randint(1, 3))
        return first, Problem(first.answer, operator, right)

    def fits(pair: tuple[Problem, Problem]) -> bool:
        return 10 <= pair[1].left < 1000 and pair[1].answer >= 0 and of_problem_split(pair[1], split)

    first, second = drawn_until(draw, fits)
    mode = _mode(rng, FOLLOW_UP_MODES)
    template, more = pick(rng, WORDINGS, split), pick(rng, _FOLLOW_UPS[second.operator], split)
    messages = (
        *_turns(template.format(e=_written(rng, first)), first, mode),
        *_turns(more.format(b=second.right), second, mode),
    )
    return Task("follow_up", f"{template} {more}", messages, mode)


def _question(rng: Random, split: Split, skill: str, problem: Problem, modes: Mapping[Mode, int]) -> Task:
    template, mode = pick(rng, WORDINGS, split), _mode(rng, modes)
    return Task(skill, template, _turns(template.format(e=_written(rng, problem)), problem, mode), mode)


def _mode(rng: Random, modes: Mapping[Mode, int]) -> Mode:
    return rng.choices(tuple(modes), weights=tuple(modes.values()))[0]


def _turns(question: str, problem: Problem, mode: Mode) -> tuple[Message, Message]:
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
    """Of random shape. Each operator is one that leaves 0 to 9999; products are of at most three digits and one."""
    while True:
        parts = [Expression(_term(rng)) for _ in range(operations + 1)]
        while len(parts) > 1:
            at = rng.randrange(len(parts) - 1)
            left, right = parts[at : at + 2]
            fitting = [sign for sign in "++--*" if _within_reach(Problem(left.value, sign, right.value))]
            if not fitting:
                break
            parts[at : at + 2] = [Expression.of(left, rng.choice(fitting), right)]
        else:
            return parts[0]


def _term(rng: Random) -> int:
    """A number in an expression; seldom 0, which makes short work of what is around it."""
    digits = rng.choice((1, 1, 2, 2, 3))
    return operand(rng, digits) or operand(rng, digits)


def _within_reach(problem: Problem) -> bool:
    small, large = sorted((problem.left, problem.right))
    return 0 <= problem.answer <= 9999 and (problem.operator != "*" or (small < 10 and large < 1000))


def operand(rng: Random, digits: int) -> int:
    """A number of exactly `digits` digits (0 counts as one); one in eight is made of zeros and nines."""
    if rng.random() < 1 / 8:
        head = rng.choice("123456789") if digits > 1 else rng.choice("0123456789")
        return int(head + "".join(rng.choice("09") for _ in range(digits - 1)))
    return rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)


def drawn_until(draw: Callable[[], T], fits: Callable[[T], bool]) -> T:
    while not fits(drawn := draw()):
        pass
    return drawn


SKILLS: Mapping[str, Callable[[Random, Split], Task]] = MappingProxyType(
    {"one_step": one_step, "hard": hard, "multi_step": multi_step, "follow_up": follow_up}
)
