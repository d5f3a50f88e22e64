"""How sums, differences, products and expressions are worked out in a thought: one operation on digits at a time.

Every token is copied from a place nearby or is the outcome of one operation on single digits, which is what a small
model can learn. Nothing here knows about chat or random numbers.
"""

from dataclasses import dataclass
from itertools import accumulate
from typing import Self

__all__ = ["Expression", "Problem", "difference_in_columns", "sum_in_columns", "worked_out"]

ARROW = "→"
_PRECEDENCE = {"+": 1, "-": 1, "*": 2}


@dataclass(frozen=True)
class Problem:
    """`left operator right` with operands of at least 0; operator is +, - or *."""

    left: int
    operator: str
    right: int

    @property
    def answer(self) -> int:
        if self.operator == "*":
            return self.left * self.right
        return self.left + self.right if self.operator == "+" else self.left - self.right

    @property
    def easy(self) -> bool:
        """Whether it is answered at once: one digit with at most two, or a product of single digits."""
        small, large = sorted((self.left, self.right))
        return small < 10 and large < (10 if self.operator == "*" else 100)

    @property
    def parts(self) -> tuple["Problem", ...]:
        """What a product is worked out by: its longer side times each digit of the shorter that is not 0, and the sums
        of these. Empty for all that needs no other problem."""
        if self.operator != "*" or self.easy:
            return ()
        longer, shorter = sorted((self.left, self.right), key=lambda side: len(str(side)), reverse=True)
        digits = [int(digit) * 10**place for place, digit in enumerate(reversed(str(shorter))) if digit != "0"]
        products = [Problem(longer, "*", digit) for digit in digits or [0]]
        totals = accumulate(product.answer for product in products)
        sums = [Problem(total, "+", product.answer) for total, product in zip(totals, products[1:], strict=False)]
        return (*products, *sums)

    def __str__(self) -> str:
        return f"{self.left}{self.operator}{self.right}"


def worked_out(problem: Problem) -> str:
    """The lines that lead to the answer, which ends the last of them.

    An easy problem is one line, `7+5=12`. A sum or difference writes its operands padded to one width, then a line per
    column from the right, `column=value→result so far`:

        345+678
        5+8=13→3
        4+7+1=12→23
        3+6+1=10→1023

    A difference borrows a ten in front of the digit (`13-8=5`) and repays it in the next column (`12-7-1=4`). A product
    takes its `parts` one after the other, digit by digit: `7*4=28→8`, and where a carry is added, `7*4=28+2=30→08`.
    """
    if problem.easy:
        return f"{problem}={problem.answer}"
    if problem.operator == "*":
        return "\n".join(_digit_product(part) if part.operator == "*" else worked_out(part) for part in problem.parts)
    if problem.operator == "+":
        return sum_in_columns(problem.left, problem.right)
    if problem.left >= problem.right:
        return _difference(problem.left, problem.right)
    return f"{problem.left}<{problem.right}\n{_difference(problem.right, problem.left)}\n{problem.answer}"


def _columns(left: int, right: int) -> tuple[str, str, list[tuple[int, int]]]:
    """Both operands padded to one width, and their digit pairs from the right."""
    width = max(len(str(left)), len(str(right)))
    top, bottom = str(left).zfill(width), str(right).zfill(width)
    return top, bottom, [(int(t), int(b)) for t, b in zip(reversed(top), reversed(bottom), strict=True)]


def sum_in_columns(left: int, right: int) -> str:
    """The operands padded to one width, then a line per column from the right."""
    top, bottom, columns = _columns(left, right)
    lines, carry, result = [f"{top}+{bottom}"], 0, ""
    for place, (t, b) in enumerate(columns, start=1):
        total = t + b + carry
        result = (str(total) if place == len(columns) else str(total % 10)) + result
        lines.append(f"{t}+{b}{'+1' * carry}={total}{ARROW}{result}")
        carry = total // 10
    return "\n".join(lines)


def difference_in_columns(left: int, right: int) -> str:
    """As `sum_in_columns`, for what is not negative. Leading zeros stay."""
    top, bottom, columns = _columns(left, right)
    lines, borrow, result = [f"{top}-{bottom}"], 0, ""
    for t, b in columns:
        repaid, borrow = borrow, int(t - b - borrow < 0)
        digit = 10 * borrow + t - b - repaid
        result = f"{digit}{result}"
        lines.append(f"{10 * borrow + t}-{b}{'-1' * repaid}={digit}{ARROW}{result}")
    return "\n".join(lines)


def _difference(left: int, right: int) -> str:
    """In columns; where these leave leading zeros, a last line drops them."""
    lines, exact = difference_in_columns(left, right), str(left - right)
    return lines if lines.endswith(f"{ARROW}{exact}") else f"{lines}\n{exact}"


def _digit_product(problem: Problem) -> str:
    """A number times one digit and its zeros, which end the result from the start."""
    digits, (digit, *zeros) = str(problem.left), str(problem.right)
    lines, carry, result = [str(problem)], 0, "".join(zeros)
    for place, d in enumerate(reversed(digits), start=1):
        product = int(d) * int(digit)
        total = product + carry
        result = (str(total) if place == len(digits) else str(total % 10)) + result
        lines.append(f"{d}*{digit}={product}{f'+{carry}={total}' if carry else ''}{ARROW}{result}")
        carry = total // 10
    exact = str(problem.answer)
    return "\n".join(lines if result == exact else [*lines, exact])


@dataclass(frozen=True)
class Expression:
    """A number, or two expressions under an operator; printed with the parentheses it needs."""

    value: int
    operator: str = ""
    left: "Expression | None" = None
    right: "Expression | None" = None

    @classmethod
    def of(cls, left: Self, operator: str, right: Self) -> Self:
        return cls(Problem(left.value, operator, right.value).answer, operator, left, right)

    def __str__(self) -> str:
        if self.left is None or self.right is None:
            return str(self.value)
        left, right = str(self.left), str(self.right)
        rank = _PRECEDENCE[self.operator]
        if self.left.operator and _PRECEDENCE[self.left.operator] < rank:
            left = f"({left})"
        if self.right.operator and _PRECEDENCE[self.right.operator] <= rank:
            right = f"({right})"
        return f"{left}{self.operator}{right}"

    @property
    def operations(self) -> tuple[Problem, ...]:
        """All it takes, in any order."""
        if self.left is None or self.right is None:
            return ()
        own = Problem(self.left.value, self.operator, self.right.value)
        return (*self.left.operations, *self.right.operations, own)

    @property
    def worked_out(self) -> str:
        """The expression; the operation done first, worked out; the expression with its result; and so on.

        Where one operation is left, whose working starts by showing it, it is not written twice.
        """
        if self.left is None:
            return str(self.value)
        problem, rest = self._first_step()
        lines = worked_out(problem)
        if rest.left is not None:
            return f"{self}\n{lines}\n{rest.worked_out}"
        return lines if lines.startswith(str(self)) else f"{self}\n{lines}"

    def _first_step(self) -> tuple[Problem, "Expression"]:
        """The leftmost operation of which both sides are numbers, and the expression with its result in its place."""
        assert self.left is not None
        assert self.right is not None
        if self.left.left is not None:
            problem, left = self.left._first_step()
            return problem, Expression(self.value, self.operator, left, self.right)
        if self.right.left is not None:
            problem, right = self.right._first_step()
            return problem, Expression(self.value, self.operator, self.left, right)
        return Problem(self.left.value, self.operator, self.right.value), Expression(self.value)
