"""What is asked: single turns of held-out tasks, each behind the true history; no model in sight."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from glmkit.nano.skills import FAMILIES, SKILLS
from glmkit.nano.skills.retrieval import long_retrieval
from glmkit.nano.task import Message, Task

__all__ = [
    "ASKABLE",
    "FAMILY_OF",
    "LENGTHS",
    "MODES",
    "NATURAL_PROMPTS",
    "OUTSIDE",
    "THOUGHT_ABOUT",
    "TRAINED_LENGTH",
    "Question",
    "draw_questions",
    "draw_retrieval",
]

OUTSIDE = "outside"
NATURAL_PROMPTS = tuple(Path(__file__).with_name("natural_prompts.txt").read_text(encoding="utf-8").splitlines())
"""What people may ask, written by hand: nothing that the model has learned, and nothing that the curriculum says."""

ASKABLE = (*SKILLS, OUTSIDE)
FAMILY_OF: Mapping[str, str] = {name: family for family, names in FAMILIES.items() for name in names} | {
    OUTSIDE: OUTSIDE
}
"""The file of `glmkit.nano.skills` that teaches a skill."""

MODES = ("forced", "enabled", "disabled")
THOUGHT_ABOUT = ("one_step", "hard", "multi_step")
"""Skills whose problems are asked in every mode, so that the modes are compared on the same problems."""

_THOUGHT_FIRST = tuple(name for name, family in FAMILY_OF.items() if family in ("tools", "extraction", "retrieval"))
"""Skills that are learned with thoughts: asked as one asks by default, so that the model decides."""

_COMPARED = ("tool_call", "extraction", "long_retrieval")
"""Of these, skills that are asked without thoughts too."""

TRAINED_LENGTH = 2048  # tokens, about
LENGTHS = {1: 200, 2: 40, 4: 24, 8: 12, 16: 6}
"""Multiples of the trained length, and how many contexts of each are asked about at most."""


@dataclass(frozen=True)
class Question:
    """One turn to be produced. `case` is of all turns of a task that is right only as a whole."""

    skill: str
    case: str
    conversation: tuple[Message, ...]
    expected: Message
    thinking: str
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def family(self) -> str:
        return FAMILY_OF[self.skill]

    @property
    def record(self) -> dict[str, Any]:
        """As `LM.chat_batch` takes it."""
        return {"messages": list(self.conversation), "thinking": self.thinking, "tools": list(self.tools)}


def draw_questions(skill: str, count: int, seed: int = 0) -> list[Question]:
    """The questions of `count` tasks of a skill; of the natural prompts there are no more than were written."""
    if skill == OUTSIDE:
        prompts = Random(f"evaluation/{seed}").sample(NATURAL_PROMPTS, min(count, len(NATURAL_PROMPTS)))
        return [_outside(index, prompt) for index, prompt in enumerate(prompts)]
    if skill == "long_retrieval":
        return _compared(draw_retrieval(1, count, seed))
    tasks = (SKILLS[skill](Random(f"evaluation/{seed}/{skill}/{index}"), "held_out") for index in itertools.count())
    if skill in THOUGHT_ABOUT:
        tasks = (task for task in tasks if task.thinking == "forced")  # which have the whole thought
    if skill in _THOUGHT_FIRST:
        tasks = (task for task in tasks if task.thinking == "enabled")
    taken = itertools.islice(tasks, count)
    questions = [question for index, task in enumerate(taken) for question in _of_task(task, f"{skill}/{index}")]
    if skill in THOUGHT_ABOUT:
        return [replace(question, thinking=mode) for question in questions for mode in MODES]
    return _compared(questions) if skill in _COMPARED else questions


def draw_retrieval(times: int, count: int, seed: int = 0) -> list[Question]:
    """One question about each of up to `count` contexts of `times` the trained length."""
    numbers = range(min(count, LENGTHS[times]))
    seeds = (f"evaluation/{seed}/long_retrieval/{times}/{index}" for index in numbers)
    tasks = [long_retrieval(Random(each), "held_out", times * TRAINED_LENGTH, questions=1) for each in seeds]
    questions = (question for index, task in enumerate(tasks) for question in _of_task(task, f"{times}/{index}"))
    return [replace(question, thinking="enabled") for question in questions]


def _of_task(task: Task, case: str) -> Iterator[Question]:
    for at in _judged(task):
        yield Question(task.skill, case, task.messages[:at], task.messages[at], task.thinking, task.tools)


def _judged(task: Task) -> list[int]:
    """The places of the turns that are judged: the last, but where tools are used, the call that led to it too."""
    turns = [at for at, message in enumerate(task.messages) if message["role"] == "assistant"]
    calls = [at for at in turns if task.messages[at].get("tool_calls")]
    if task.skill == "two_tools":
        return turns
    if task.skill in ("tool_result", "tool_rounds", "short_rounds"):
        return [calls[-1], calls[-1] + 2]
    return turns[-1:]


def _compared(questions: list[Question]) -> list[Question]:
    return [replace(question, thinking=mode) for question in questions for mode in ("enabled", "disabled")]


def _outside(index: int, prompt: str) -> Question:
    mode = "disabled" if index % 3 == 2 else "enabled"
    return Question(OUTSIDE, f"{OUTSIDE}/{index}", ({"role": "user", "content": prompt},), {"content": ""}, mode)
