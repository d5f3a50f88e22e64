"""Lists: right answers, and lists held out."""

import re
from random import Random

import pytest

from glmkit.nano.skills.lists import (
    ALPHABETICAL,
    BACKWARDS,
    EXTREME,
    EXTREME_IN_CHINESE,
    FALLING,
    FILTERED,
    FILTERED_IN_CHINESE,
    LENGTH,
    OCCURRENCES,
    REVERSED,
    RISING,
    SKILLS,
    SUMMED,
    WORDS,
)
from wordings import patterns_of

ITEM = rf"(?:\d+|{'|'.join(WORDS)})"
LIST = re.compile(rf"(?<![a-z\d]){ITEM}(?:, {ITEM}(?![a-z\d]))+")
WORDINGS = {
    "sort_list": {*RISING, *FALLING, *ALPHABETICAL, *BACKWARDS},
    "reverse_list": set(REVERSED),
    "filter_list": {*FILTERED, *FILTERED_IN_CHINESE},
    "count_list": {*LENGTH, *OCCURRENCES},
    "extreme_of_list": {*EXTREME, *EXTREME_IN_CHINESE},
    "sum_list": set(SUMMED),
}


def draw(skill, split="train", n=150):
    rng = Random(f"{skill} {split}")
    return [SKILLS[skill](rng, split) for _ in range(n)]


def read(task):
    """The question, its list, and the answer."""
    question, answer = (message["content"] for message in task.messages)
    (listed,) = LIST.findall(question)
    return question, [int(item) if item.isdigit() else item for item in listed.split(", ")], answer


def joined(items):
    return ", ".join(map(str, items))


def sort_list(question, items):
    falling = re.search("descending|largest first|large to small|largest to smallest|high to low|highest to", question)
    return joined(sorted(items, reverse=bool(falling or re.search("从大到小|降序|Z to A|reverse alpha", question))))


def reverse_list(question, items):
    return joined(items[::-1])


def filter_list(question, items):
    limit = re.search(
        r"(above|greater than|larger than|over|大于|below|[a-z]+er than|less than|under|小于) (\d+)", question
    )
    if limit and limit[1] in ("above", "greater than", "larger than", "over", "大于"):
        kept = [item for item in items if item > int(limit[2])]
    elif limit:
        kept = [item for item in items if item < int(limit[2])]
    else:
        kept = [item for item in items if item % 2 == bool(re.search("odd|奇数", question))]
    return joined(kept) or "none"


def count_list(question, items):
    rest = question.replace(joined(items), "")
    for item in sorted(set(items)):
        if re.search(rf"(?<![A-Za-z\d]){item}(?![A-Za-z\d])", rest):
            return str(items.count(item))
    return str(len(items))


def extreme_of_list(question, items):
    if re.search("largest|biggest|highest|最大", question):
        return str(max(items))
    if re.search("smallest|lowest|最小", question):
        return str(min(items))
    return str(items[0] if "first" in question else items[-1])


def sum_list(question, items):
    return str(sum(items))


EXPECTED = (sort_list, reverse_list, filter_list, count_list, extreme_of_list, sum_list)


@pytest.mark.parametrize("expected", EXPECTED, ids=lambda function: function.__name__)
@pytest.mark.parametrize("split", ["train", "held_out"])
def test_answers_are_right(expected, split):
    for task in draw(expected.__name__, split):
        question, items, answer = read(task)
        assert expected(question, items) == answer, question


def test_every_skill_is_checked():
    assert {expected.__name__ for expected in EXPECTED} == set(SKILLS) == set(WORDINGS)


@pytest.mark.parametrize("skill", SKILLS)
def test_training_and_evaluation_share_no_wording_and_no_list(skill):
    train, held_out = draw(skill, n=500), draw(skill, "held_out", 250)
    assert not {task.template for task in train} & {task.template for task in held_out}
    assert patterns_of(draw(skill, n=3000), WORDINGS[skill]) == WORDINGS[skill]
    assert not {joined(read(task)[1]) for task in train} & {joined(read(task)[1]) for task in held_out}
    assert draw(skill, n=20) == draw(skill, n=20)


@pytest.mark.parametrize("skill", sorted(SKILLS.keys() - {"sum_list"}))
def test_lists_are_answered_at_once_unless_a_thought_is_forced(skill):
    for task in draw(skill):
        assert ("reasoning_content" in task.messages[1]) == (task.thinking == "forced")


def test_sums_are_worked_out_unless_that_is_disabled():
    for task in draw("sum_list"):
        thought = task.messages[1].get("reasoning_content", "")
        assert bool(thought) == (task.thinking != "disabled")
        if thought:
            assert thought.startswith("+".join(map(str, read(task)[1])))
            assert re.search(r"\d+$", thought)[0] == task.messages[1]["content"]
