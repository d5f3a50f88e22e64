"""Stand-ins for an LM that evaluation asks: `chat_batch` alone, with answers that are known beforehand."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from glmkit.engine.answer import Completion
from glmkit.nano.evaluation.questions import ASKABLE, OUTSIDE, Question, draw_questions
from glmkit.nano.skills.talk import REFUSALS
from glmkit.text import ToolCall


def call(name: str, arguments: dict[str, Any], *, closed: bool = True) -> ToolCall:
    return ToolCall(name, arguments, "call_0", closed)


def right_answer(question: Question) -> Completion:
    """What the question expects, with the thought where there may be one."""
    expected = question.expected
    calls = tuple(call(**each["function"]) for each in expected.get("tool_calls", ()))
    thinks = question.thinking == "forced" or (question.thinking == "enabled" and question.skill != "one_step")
    return Completion(
        content=REFUSALS[0] if question.skill == OUTSIDE else expected["content"],
        reasoning=expected.get("reasoning_content", "") if thinks else "",
        tool_calls=calls,
        finish_reason="tool_calls" if calls else "stop",
    )


class Scripted:
    """Gives each question that evaluation draws the answer that `answer` makes of it."""

    def __init__(self, answer: Callable[[Question], Completion], questions: Iterable[Question]):
        self._answers = {_key(question.record): answer(question) for question in questions}
        self.asked: list[Sequence[Mapping[str, Any]]] = []

    @classmethod
    def of_skills(cls, answer: Callable[[Question], Completion], per_skill: int) -> "Scripted":
        return cls(answer, [question for skill in ASKABLE for question in draw_questions(skill, per_skill)])

    def chat_batch(self, records: Sequence[Mapping[str, Any]], **settings: Any) -> list[Completion]:
        assert settings["temperature"] == 0
        self.asked.append(records)
        return [self._answers[_key(record)] for record in records]


def _key(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False)
