"""How well a model adds: exact answers on three-digit sums whose operands training never saw together."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Protocol

from glmkit.nano.arithmetic import Problem, held_out, wording

__all__ = ["THINKING_MODES", "evaluate", "held_out_sums"]

THINKING_MODES = ("forced", "enabled", "disabled")


class Reply(Protocol):
    content: str


Generate = Callable[[list[list[dict]], str], Sequence[Reply]]
"""(conversations, thinking mode) -> a reply to each, in the same order; `lm.chat_batch` at temperature 0, for one."""


def held_out_sums(n: int, seed: int = 0) -> list[tuple[str, Problem]]:
    """`n` different held-out three-digit additions, each as (what the user asks, the problem)."""
    rng = Random(f"glm-nano/held-out/{seed}")
    sums: dict[Problem, str] = {}
    while len(sums) < n:
        problem = Problem(rng.randrange(100, 1000), "+", rng.randrange(100, 1000))
        if held_out(problem.left, problem.right) and problem not in sums:
            sums[problem] = wording(rng, problem)
    return [(question, problem) for problem, question in sums.items()]


def evaluate(generate: Generate, n: int = 500, seed: int = 0) -> dict[str, float]:
    """The share of `n` held-out additions answered exactly, for each thinking mode.

    Right means that the content, blanks around it aside, is the sum and nothing else.
    """
    sums = held_out_sums(n, seed)
    conversations = [[{"role": "user", "content": question}] for question, _ in sums]
    accuracy = {}
    for thinking in THINKING_MODES:
        replies = generate(conversations, thinking)
        right = sum(
            reply.content.strip() == str(problem.answer) for reply, (_, problem) in zip(replies, sums, strict=True)
        )
        accuracy[thinking] = right / n
    return accuracy
