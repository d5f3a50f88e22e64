"""Arithmetic, stories, number words, lists, dates: right answers, true lines in thoughts, nothing held out shown."""

import re
from random import Random

import pytest

from glmkit.nano.skills import arithmetic, dates, lists, stories, words
from glmkit.nano.skills.words import chinese, english
from glmkit.nano.skills.working import Expression, Problem
from wordings import patterns_of

SKILLS = {**arithmetic.SKILLS, **stories.SKILLS, **words.SKILLS, **lists.SKILLS, **dates.SKILLS}
EQUATION = re.compile(r"(?=(?<![\d+*-])([\d+*-]+)=(\d+))")  # of "7*4=28+2=30" both


def draw(skill, split, n=300):
    rng = Random(f"{skill} {split}")
    return [SKILLS[skill](rng, split) for _ in range(n)]


def thoughts(task):
    return [m["reasoning_content"] for m in task.messages if m.get("reasoning_content")]


@pytest.mark.parametrize("skill", SKILLS)
def test_training_and_evaluation_share_no_wording_and_no_question(skill):
    train, held_out = draw(skill, "train"), draw(skill, "held_out")
    assert not {t.template for t in train} & {t.template for t in held_out}
    assert not {str(t.messages) for t in train} & {str(t.messages) for t in held_out}
    assert draw(skill, "train", 5) == train[:5]
    assert all(task.skill == skill for task in train)


@pytest.mark.parametrize("skill", [*arithmetic.SKILLS, *stories.SKILLS])
@pytest.mark.parametrize("split", ["train", "held_out"])
def test_every_line_of_a_thought_is_true_and_the_last_ends_in_the_answer(skill, split):
    thinking = 0
    for task in draw(skill, split):
        answers = [m for m in task.messages if m["role"] == "assistant"]
        for answer in answers:
            if thought := answer.get("reasoning_content"):
                thinking += 1
                assert re.search(r"-?\d+$", thought)[0] in (answer["content"], answer["content"].lstrip("-"))
                for left, value in EQUATION.findall(thought):
                    terms = re.sub(r"\b0+(?=\d)", "", left)
                    assert eval(terms) == int(value), thought  # digits and operators alone
        assert (task.thinking == "disabled") <= (not thoughts(task))
        assert (task.thinking == "forced") <= bool(thoughts(task))
    assert thinking  # few of the easy ones: only where a thought is forced


def test_easy_problems_are_answered_at_once_and_hard_ones_thought_about_when_the_model_may_choose():
    for skill, thinks in (("one_step", False), ("hard", True)):
        enabled = [task for task in draw(skill, "train") if task.thinking == "enabled"]
        assert enabled
        assert all(bool(thoughts(task)) == thinks for task in enabled)
    for skill in ("one_step", "hard"):
        assert patterns_of(draw(skill, "train", 2000), arithmetic.WORDINGS) == set(arithmetic.WORDINGS)


def test_hard_problems_are_asked_as_often_with_thinking_as_without():
    tasks = draw("hard", "train", 2000)
    disabled = sum(task.thinking == "disabled" for task in tasks)
    assert abs(disabled - 1000) < 5 * 500**0.5  # five standard deviations


def test_no_operation_that_is_held_out_is_worked_out_in_training():
    held_out = {
        str(sorted((p.left, p.right))) for p in (arithmetic.draw_hard(Random(i), "held_out") for i in range(500))
    }
    rng = Random(0)
    shown = {str(sorted((p.left, p.right))) for p in (arithmetic.draw_hard(rng, "train") for _ in range(5000))}
    assert not held_out & shown
    for _ in range(300):
        expression = stories.word_problem(rng, "train")
        for a, b in re.findall(r"^0*(\d+)[+-]0*(\d+)$", "\n".join(thoughts(expression)), re.MULTILINE):
            assert arithmetic.of_problem_split(Problem(int(a), "+", int(b)), "train")


def test_expressions_keep_the_parentheses_they_need():
    rng = Random(0)
    for _ in range(300):
        expression = arithmetic.draw_expression(rng, rng.randint(2, 4))
        assert eval(str(expression)) == expression.value
        assert f"({expression})" not in str(Expression.of(expression, "+", Expression(1)))


def test_number_words():
    assert english(0) == "zero"
    assert english(345) == "three hundred forty-five"
    assert english(9017) == "nine thousand seventeen"
    assert [chinese(n) for n in (0, 10, 17, 20, 101, 110, 1001, 1010, 2345)] == [
        *("零", "十", "十七", "二十", "一百零一", "一百一十", "一千零一", "一千零一十", "二千三百四十五"),
    ]
    assert len({english(n) for n in range(10000)}) == len({chinese(n) for n in range(10000)}) == 10000


def test_lists_are_answered_right():
    for task in draw("sort_list", "train"):
        answer = task.messages[1]["content"].split(", ")
        assert set(re.findall(r"[a-z]+|\d+", task.messages[0]["content"])) >= set(answer)
        keys = [int(x) for x in answer] if answer[0].isdigit() else answer
        assert keys in (sorted(keys), sorted(keys, reverse=True))
    for task in draw("reverse_list", "train"):
        given = ", ".join(task.messages[1]["content"].split(", ")[::-1])
        assert given in task.messages[0]["content"]


def test_dates_and_units_are_answered_right():
    for task in draw("weekday", "train"):
        question, answer = (m["content"] for m in task.messages)
        (day,) = (d for d in dates.DAYS if d in question)
        n = int(re.search(r"\d", question)[0])
        earlier = re.search("before|ago|minus|earlier|back from| - |ubtract", question)
        assert (dates.DAYS.index(day) + (-n if earlier else n)) % 7 == dates.DAYS.index(answer)
    for task in draw("convert_units", "train"):
        question, answer = (m["content"] for m in task.messages)
        a, b = int(re.search(r"\d+", question)[0]), int(re.search(r"\d+", answer)[0])
        assert max(a, b) % min(a, b) == 0
        assert max(a, b) // min(a, b) in {factor for *_, factor in dates.UNITS}
