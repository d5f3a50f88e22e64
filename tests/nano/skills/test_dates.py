"""Dates and units: right answers, and what can be held out is."""

import re
from datetime import date, timedelta
from random import Random

import pytest

from glmkit.nano.skills import dates
from glmkit.nano.skills.dates import DAYS, MONTHS, SKILLS, UNITS
from wordings import patterns_of

DATE = re.compile(rf"({'|'.join(MONTHS)}) (\d+)")
EARLIER = re.compile("before|ago|minus|earlier|back from| - |ubtract")
NAMES = {name for large, small, _ in UNITS for name in (large, small)}
WORDINGS = {
    "weekday": {*dates.DAY_LATER, *dates.DAY_EARLIER},
    "month": {*dates.MONTH_LATER, *dates.MONTH_EARLIER, *dates.FIRST_OF_MONTHS, *dates.LAST_OF_MONTHS},
    "add_days": set(dates.DATE_LATER),
    "days_between": set(dates.DAYS_BETWEEN),
    "convert_units": {*dates.CONVERSIONS, *dates.CONVERSIONS_IN_CHINESE},
}


def draw(skill, split="train", n=250):
    rng = Random(f"{skill} {split}")
    return [SKILLS[skill](rng, split) for _ in range(n)]


def read(task):
    return [message["content"] for message in task.messages]


def days_of(text):
    return [date(2025, MONTHS.index(month) + 1, int(day)) for month, day in DATE.findall(text)]


@pytest.mark.parametrize("split", ["train", "held_out"])
class TestAnswers:
    def test_weekday(self, split):
        for question, answer in map(read, draw("weekday", split)):
            (day,) = (day for day in DAYS if day in question)
            n = int(re.search(r"\d", question)[0]) * (-1 if EARLIER.search(question) else 1)
            assert DAYS[(DAYS.index(day) + n) % 7] == answer, question

    def test_month(self, split):
        for question, answer in map(read, draw("month", split)):
            named = [at for at, month in enumerate(MONTHS) if month in question]
            if len(named) == 2:
                expected = (min if re.search("irst|arlier|sooner", question) else max)(named)
            else:
                n = int(re.search(r"\d+", question)[0]) * (-1 if EARLIER.search(question) else 1)
                expected = (named[0] + n) % 12
            assert MONTHS[expected] == answer, question

    def test_add_days(self, split):
        for question, answer in map(read, draw("add_days", split)):
            n = int(re.search(r"(\d+) days?", question)[1])
            assert [day + timedelta(n) for day in days_of(question)] == days_of(answer), question

    def test_days_between(self, split):
        for question, answer in map(read, draw("days_between", split)):
            start, end = sorted(days_of(question))
            assert (end - start).days == int(answer), question

    def test_convert_units(self, split):
        for question, answer in map(read, draw("convert_units", split)):
            given, (amount, unit) = int(re.search(r"\d+", question)[0]), answer.split()
            (factor,) = {
                factor
                for large, small, factor in UNITS
                if unit in (large, small) and {large, small} <= set(re.findall("[a-z]+", question))
                if given == int(amount) * factor or given * factor == int(amount)
            }
            assert (given > int(amount)) == (given == int(amount) * factor)


@pytest.mark.parametrize("skill", SKILLS)
def test_training_and_evaluation_share_no_wording(skill):
    train, held_out = (draw(skill, split, 1500) for split in ("train", "held_out"))
    assert not {task.template for task in train} & {task.template for task in held_out}
    assert patterns_of(train + held_out, WORDINGS[skill]) == WORDINGS[skill]
    assert draw(skill, n=20) == draw(skill, n=20)


@pytest.mark.parametrize("skill", ["add_days", "days_between", "convert_units"])
def test_training_and_evaluation_share_no_problem(skill):
    def problems(split):
        for task in draw(skill, split, 800):
            question, answer = read(task)
            if skill == "convert_units":  # either direction is the same two quantities
                words = re.findall("[a-z]+", question) + answer.split()
                yield frozenset([*re.findall(r"\d+", question + answer), *(word for word in words if word in NAMES)])
            else:
                days = re.search(r"(\d+) day", question)[1] if skill == "add_days" else answer
                yield (min(days_of(question)), days)

    assert not set(problems("train")) & set(problems("held_out"))


@pytest.mark.parametrize("skill", SKILLS)
def test_only_dates_in_two_months_are_thought_about_and_forced_ones(skill):
    thinking = 0
    for task in draw(skill):
        thought = task.messages[1].get("reasoning_content", "")
        question, answer = read(task)
        months = {day.month for day in days_of(f"{question} {answer}")}
        if task.thinking != "forced":
            assert bool(thought) == (task.thinking == "enabled" and len(months) == 2), task
        else:
            assert thought
        thinking += bool(thought)
        for left, value in re.findall(r"([\d+-]+)=(\d+)", thought):
            assert eval(left) == int(value)
    assert thinking


def test_one_is_singular():
    texts = [read(task)[0] for skill in ("weekday", "month", "add_days") for task in draw(skill)]
    assert any("1 day" in text for text in texts)
    assert not any(re.search(r"\b1 (days|months)", text) for text in texts)
