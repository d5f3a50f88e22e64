"""How well glm-nano adds and subtracts, thinking forced, by size: `python benchmarks/nano_arithmetic.py`.

Prints the table its card quotes: the share of 100 random problems of each size answered exactly at temperature 0. The
operands of three digits are held out of training; smaller and larger ones may have been seen.
"""

from random import Random

import glmkit as gk
from glmkit.nano.arithmetic import Problem, held_out

PROBLEMS = 100
DIGITS = (1, 2, 3, 4)


def draw(rng: Random, operator: str, digits: int) -> Problem:
    """A random problem with both operands of this size; a difference is never negative."""
    while True:
        left, right = (rng.randrange(10 ** (digits - 1), 10**digits) for _ in range(2))
        if operator == "-" and left < right:
            left, right = right, left
        if digits != 3 or held_out(left, right):
            return Problem(left, operator, right)


def main() -> None:
    lm, rng = gk.load("nano"), Random("subtraction check")
    for digits in DIGITS:
        for operator in "+-":
            problems = [draw(rng, operator, digits) for _ in range(PROBLEMS)]
            questions = [f"What is {p.left} {p.operator} {p.right}?" for p in problems]
            replies = lm.chat_batch(questions, thinking="forced", temperature=0, max_tokens=128, progress=False)
            right = sum(r.content.strip() == str(p.answer) for r, p in zip(replies, problems, strict=True))
            print(f"{digits} digits, {operator}: {right} of {PROBLEMS}", flush=True)


if __name__ == "__main__":
    main()
