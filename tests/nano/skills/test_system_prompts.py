"""Rules of system prompts: what each makes of an answer, and which wordings are kept for evaluation."""

from random import Random

import pytest

from glmkit.nano.skills import system_prompts
from glmkit.nano.skills.system_prompts import RULES, system_prompt
from glmkit.nano.skills.talk import is_refusal
from glmkit.nano.task import Split, Task, pick

BY_RULE = {rule.name: rule for rule in RULES}


@pytest.fixture(scope="module")
def tasks() -> dict[Split, list[Task]]:
    return {split: [system_prompt(Random(f"test/{i}"), split) for i in range(400)] for split in ("train", "held_out")}


@pytest.mark.parametrize(
    ("rule", "answer", "word", "expected"),
    [
        ("json", "12", "value", '{"value": 12}'),
        ("json", "lamp", "reply", '{"reply": "lamp"}'),
        ("chinese numerals", "7", "", "七"),
        ("chinese numerals", "10", "", "十"),
        ("chinese numerals", "18", "", "十八"),
        ("number words", "2", "", "two"),
        ("number words", "18", "", "eighteen"),
        ("last word", "7", "kavo", "7 kavo"),
        ("first word", "7", "kavo", "kavo 7"),
        ("user's name", "lamp", "Mia", "Mia, lamp"),
        ("capitals", "lamp", "", "LAMP"),
        ("value only", "7", "", "7"),
        ("sentence", "7", "", "The answer is 7."),
        ("twice", "lamp", "", "lamp lamp"),
        ("brackets", "7", "", "[7]"),
        ("label", "7", "Kavo", "Kavo: 7"),
        ("unit", "7", "lamps", "7 lamps"),
        ("persona", "", "Kavo", "I am Kavo."),
        ("fixed reply", "anything", "kavo", "kavo"),
        ("none", "You are welcome!", "", "You are welcome!"),
    ],
)
def test_what_a_rule_makes_of_an_answer(rule: str, answer: str, word: str, expected: str):
    assert BY_RULE[rule].apply(answer, word) == expected


def test_a_task_is_a_function_of_the_random_state():
    assert system_prompt(Random(7), "train") == system_prompt(Random(7), "train")


def test_tasks_begin_with_their_rule_and_answer_everything(tasks):
    for task in tasks["train"] + tasks["held_out"]:
        system, *turns = task.messages
        assert system["role"] == "system"
        assert [turn["role"] for turn in turns] == ["user", "assistant"] * (len(turns) // 2)
        assert all(turn["content"] and not is_refusal(turn["content"]) for turn in turns)
        if task.thinking == "forced":
            assert turns[-1]["reasoning_content"]


def test_every_rule_has_wordings_on_both_sides_and_none_is_shared(tasks):
    for rule in RULES:
        drawn = {split: {pick(Random(i), rule.wordings, split) for i in range(200)} for split in tasks}
        assert min(map(len, drawn.values())) > 20
        assert not drawn["train"] & drawn["held_out"]
    wordings = {
        split: {part for task in tasks[split] for part in task.template.split(" | ")} - {"noise"} for split in tasks
    }
    assert not wordings["train"] & wordings["held_out"]


def test_no_sum_is_asked_under_a_rule_on_both_sides(monkeypatch: pytest.MonkeyPatch):
    asked: dict[Split, set[tuple[str, str]]] = {"train": set(), "held_out": set()}
    for rule in RULES:
        monkeypatch.setattr(system_prompts, "RULES", (rule,))
        for split, side in asked.items():
            for task in (system_prompt(Random(f"test/{i}"), split) for i in range(25)):
                for message in task.messages[1::2]:
                    digits = "+".join(character for character in message["content"] if character.isdigit())
                    if digits.count("+") == 1:
                        side.add((rule.name, digits))
    assert asked["held_out"]
    assert not asked["train"] & asked["held_out"]
