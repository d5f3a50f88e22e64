"""Number words: right in both languages and directions, and numbers held out."""

import re
from random import Random

import pytest

from glmkit.nano.skills.words import FROM_CHINESE, FROM_ENGLISH, SKILLS, TO_CHINESE, TO_ENGLISH, chinese, english
from glmkit.nano.task import of_split
from wordings import patterns_of

SPOKEN = {
    "number_words": {english(n): n for n in range(10_000)},
    "chinese_numbers": {chinese(n): n for n in range(10_000)},
}


def draw(skill, split="train", n=1500):
    rng = Random(f"{skill} {split}")
    return [SKILLS[skill](rng, split) for _ in range(n)]


def number_of(skill, task):
    """The number that a task is about, read from its side in digits, which the other side has to spell."""
    question, answer = (message["content"] for message in task.messages)
    if answer.isdigit():
        said = [text for text in SPOKEN[skill] if task.template.format(n=text, w=text) == question]
        assert [SPOKEN[skill][text] for text in said] == [int(answer)]
        return int(answer)
    assert SPOKEN[skill][answer] == int(re.search(r"\d+", question)[0])
    return SPOKEN[skill][answer]


@pytest.mark.parametrize("skill", SKILLS)
@pytest.mark.parametrize("split", ["train", "held_out"])
def test_answers_are_right_and_the_numbers_are_of_their_split(skill, split):
    for task in draw(skill, split, 150):
        n = number_of(skill, task)
        assert n < 20 or of_split(f"number {n}", split, 0.1)
        for thought in [message["reasoning_content"] for message in task.messages if "reasoning_content" in message]:
            assert task.thinking == "forced"
            assert eval(thought) == n


@pytest.mark.parametrize("skill", SKILLS)
def test_training_and_evaluation_share_no_wording(skill):
    train, held_out = draw(skill), draw(skill, "held_out")
    assert not {task.template for task in train} & {task.template for task in held_out}
    both = {*TO_ENGLISH, *FROM_ENGLISH} if skill == "number_words" else {*TO_CHINESE, *FROM_CHINESE}
    assert patterns_of(train + held_out, both) == both
    assert draw(skill, n=20) == draw(skill, n=20)


def test_numbers_below_twenty_are_as_frequent_in_evaluation_as_in_training():
    for split in ("train", "held_out"):
        answers = [task.messages[1]["content"] for task in draw("number_words", split)]
        numbers = [int(answer) for answer in answers if answer.isdigit()]
        share = sum(n < 20 for n in numbers) / len(numbers)
        assert abs(share - 1 / 6) < 0.07  # five standard deviations of about 750 numbers


def test_number_words():
    assert english(0) == "zero"
    assert english(345) == "three hundred forty-five"
    assert english(9017) == "nine thousand seventeen"
    assert [chinese(n) for n in (0, 10, 17, 20, 101, 110, 1001, 1010, 2345)] == [
        *("零", "十", "十七", "二十", "一百零一", "一百一十", "一千零一", "一千零一十", "二千三百四十五"),
    ]
    assert [len(spoken) for spoken in SPOKEN.values()] == [10_000, 10_000]
