"""Asking: questions in waves of similar length, answered greedily through `chat_batch`, as users have it."""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from glmkit.engine.ladder import MAX_ROWS
from glmkit.nano.evaluation.judges import is_right
from glmkit.nano.evaluation.questions import Question

__all__ = ["Asked", "ask"]

SPARE_TOKENS = 128  # beyond what the right answer can need: what runs on is wrong, and not worth waiting for


class Asked(NamedTuple):
    """A question and what came back, a `Completion`."""

    question: Question
    reply: Any

    @property
    def right(self) -> bool:
        return is_right(self.question, self.reply)


def ask(
    lm: Any, questions: Sequence[Question], advance: Callable[[int], Any] = lambda count: None, rows: int = MAX_ROWS
) -> list[Asked]:
    """Ask all questions, `rows` at a time, and pair them with their answers, in their order.

    `advance` is told how many were answered. A wave ends with its longest row, so that alike questions go together.
    """
    order = sorted(range(len(questions)), key=lambda index: _cost(questions[index]))
    replies: list[Any] = [None] * len(questions)
    for first in range(0, len(order), rows):
        wave = order[first : first + rows]
        records = [questions[index].record for index in wave]
        limit = SPARE_TOKENS + max(_answer_tokens(questions[index]) for index in wave)
        answered = lm.chat_batch(records, temperature=0.0, seed=0, max_tokens=limit, progress=False)
        for index, reply in zip(wave, answered, strict=True):
            replies[index] = reply
        advance(len(wave))
    return [Asked(question, reply) for question, reply in zip(questions, replies, strict=True)]


def _cost(question: Question) -> tuple[int, int, int]:
    """Prompts within a factor of two of one another, by the length of their answers."""
    prompt = len(json.dumps(question.record, ensure_ascii=False))
    return prompt.bit_length(), _answer_tokens(question), prompt


def _answer_tokens(question: Question) -> int:
    """No fewer than the right answer has: bytes of what is said, and of the thought where there may be one."""
    said = {key: value for key, value in question.expected.items() if key not in ("role", "reasoning_content")}
    thought = "" if question.thinking == "disabled" else question.expected.get("reasoning_content", "")
    return len(thought.encode()) + len(json.dumps(said, ensure_ascii=False).encode())
