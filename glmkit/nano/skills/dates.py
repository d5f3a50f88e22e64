"""Days of the week and months, dates within a year, and units of length, mass, time and money. Answered at once."""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from random import Random
from types import MappingProxyType

from glmkit.nano.task import Split, Task, assistant, of_split, pick, user

__all__ = ["SKILLS"]

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
# From the larger to the smaller unit, and how many of these it has.
UNITS = (
    ("km", "m", 1000), ("m", "cm", 100), ("cm", "mm", 10), ("kg", "g", 1000), ("t", "kg", 1000), ("l", "ml", 1000),
    ("hours", "minutes", 60), ("minutes", "seconds", 60), ("days", "hours", 24), ("weeks", "days", 7),
    ("years", "months", 12), ("dollars", "cents", 100), ("euros", "cents", 100),
)  # fmt: skip
_LATER = (
    "What day is {n} days after {d}?", "Which day comes {n} days after {d}?",
    "Today is {d}. What day is it in {n} days?", "{n} days after {d} is which day?",
    "If it is {d}, what day is it in {n} days?", "It is {d}. And {n} days later?", "{d} plus {n} days?",
    "What weekday is {n} days from {d}?",
)  # fmt: skip
_EARLIER = (
    "What day is {n} days before {d}?", "Which day comes {n} days before {d}?",
    "Today is {d}. What day was it {n} days ago?", "{n} days before {d} was which day?",
    "If it is {d}, what day was it {n} days ago?", "{d} minus {n} days?", "What weekday is {n} days ahead of {d}?",
)  # fmt: skip
_DATES = (
    "What date is {n} days after {d}?", "Add {n} days to {d}.", "{d} plus {n} days?",
    "Today is {d}. What is the date in {n} days?", "Which date comes {n} days after {d}?",
    "{n} days after {d} is which date?", "It is {d}. What date is it {n} days later?",
)  # fmt: skip
_MONTHS = (
    "What month is {n} months after {m}?", "Which month comes {n} months after {m}?",
    "It is {m}. Which month is it in {n} months?", "{n} months after {m}?", "{m} plus {n} months?",
    "If it is {m}, which month comes {n} months later?",
)  # fmt: skip
_CONVERT = (
    "How many {s} are {n} {l}?", "Convert {n} {l} to {s}.", "{n} {l} in {s}?", "What is {n} {l} in {s}?",
    "Turn {n} {l} into {s}.", "{n} {l} is how many {s}?", "Express {n} {l} in {s}.", "How many {s} do {n} {l} have?",
    "Give {n} {l} in {s}.",
)  # fmt: skip


def weekday(rng: Random, split: Split) -> Task:
    day, days = rng.randrange(7), rng.randint(1, 9)
    later = rng.random() < 0.6
    template = pick(rng, _LATER if later else _EARLIER, split)
    answer = DAYS[(day + (days if later else -days)) % 7]
    return _task(rng, "weekday", template, {"n": days, "d": DAYS[day]}, answer)


def month(rng: Random, split: Split) -> Task:
    start, months = rng.randrange(12), rng.randint(1, 11)
    return _task(
        rng, "month", pick(rng, _MONTHS, split), {"n": months, "m": MONTHS[start]}, MONTHS[(start + months) % 12]
    )


def add_days(rng: Random, split: Split) -> Task:
    """In a year of 365 days, to the next month at most."""
    while True:
        start, days = date(2025, 1, 1) + timedelta(rng.randrange(334)), rng.randint(1, 20)
        if of_split(f"{start} {days}", split, 0.1):
            break
    return _task(
        rng, "add_days", pick(rng, _DATES, split), {"n": days, "d": _said(start)}, _said(start + timedelta(days))
    )


def convert_units(rng: Random, split: Split) -> Task:
    """Whole numbers, to the smaller unit or back."""
    while True:
        large, small, factor = rng.choice(UNITS)
        n = rng.randint(1, 99 if factor in (10, 100, 1000) else 12)
        if of_split(f"{n} {large}", split, 0.1):
            break
    template = pick(rng, _CONVERT, split)
    if rng.random() < 0.5:
        return _task(rng, "convert_units", template, {"n": n, "l": large, "s": small}, f"{n * factor} {small}")
    return _task(rng, "convert_units", template, {"n": n * factor, "l": small, "s": large}, f"{n} {large}")


def _said(day: date) -> str:
    return f"{MONTHS[day.month - 1]} {day.day}"


def _task(rng: Random, skill: str, template: str, said: dict, answer: str) -> Task:
    mode = rng.choice(("enabled", "enabled", "disabled"))
    return Task(skill, template, (user(template.format(**said)), assistant(answer)), mode)


SKILLS: Mapping[str, Callable[[Random, Split], Task]] = MappingProxyType(
    {"weekday": weekday, "month": month, "add_days": add_days, "convert_units": convert_units}
)
