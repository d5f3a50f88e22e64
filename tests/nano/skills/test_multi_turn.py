"""References back: each answer is what the conversation so far says."""

import re
from random import Random

import pytest

from glmkit.nano.skills import multi_turn as skill
from glmkit.nano.skills.multi_turn import NOTED, ORDINALS, multi_turn
from glmkit.nano.task import Split, Task, pick


@pytest.fixture(scope="module")
def tasks() -> dict[Split, list[Task]]:
    return {split: [multi_turn(Random(f"test/{i}"), split) for i in range(200)] for split in ("train", "held_out")}


def last_said(asked: list[str], what: str) -> str:
    return next(text for text in reversed(asked) if f"my {what}" in text.lower())


def test_a_task_is_a_function_of_the_random_state():
    assert multi_turn(Random(7), "train") == multi_turn(Random(7), "train")


def test_answers_are_what_was_said(tasks):
    kinds = set()
    for task in tasks["train"] + tasks["held_out"]:
        contents = [message["content"] for message in task.messages]
        asked, answers = contents[::2], contents[1::2]
        for at, (question, answer) in enumerate(zip(asked, answers, strict=True)):
            if own_thing := re.fullmatch(r"Your (.+) is (.+)\.", answer):
                kinds.add("own")
                assert own_thing[1] in question
                assert own_thing[2] in last_said(asked[:at], own_thing[1])
            elif answer.startswith("You asked: "):
                kinds.add("question")
                assert answer.removeprefix("You asked: ") in (asked[0], asked[at - 1])
            elif "first" in question and "answer" in question:
                kinds.add("answer")
                assert answer == answers[0]
            elif ordinal := next((word for word in ORDINALS if word in question), None):
                kinds.add("place")
                listed = re.split(r", | and ", asked[0])  # what is around the list stays with its ends
                assert answer in listed[ORDINALS.index(ordinal)]
            elif re.search(rf"what (does |did )?{answer.split()[0]} \w+", question, re.IGNORECASE):
                kinds.add("person")
                assert answer in asked[0]
    assert kinds == {"own", "question", "answer", "place", "person"}


def test_things_are_noted_before_they_are_asked(tasks):
    for task in tasks["train"]:
        contents = [message["content"] for message in task.messages]
        assert NOTED in contents[1::2] or contents[1].isdigit()
        assert contents[-1] != NOTED
        assert 2 <= len(contents) // 2 <= 6


def test_held_out_wordings_are_never_trained(tasks):
    wordings = {split: {part for task in tasks[split] for part in task.template.split(" | ")} for split in tasks}
    assert not wordings["train"] & wordings["held_out"]
    for name in [
        "TELLING",
        "ASKING",
        "CHANGING",
        "FIRST_QUESTION",
        "LAST_QUESTION",
        "FIRST_ANSWER",
        "LISTING",
        "WHICH",
        "LIKING",
        "WHO_WHAT",
    ]:
        options = getattr(skill, name)
        drawn = {split: {pick(Random(i), options, split) for i in range(200)} for split in tasks}
        assert min(map(len, drawn.values())) > 5
        assert not drawn["train"] & drawn["held_out"]
