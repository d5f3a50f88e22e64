"""Days of the week and months, dates within a year, and units of length, mass, time and money.

Answered at once; only dates that lie in different months are thought about. Years have 365 days.
"""

from calendar import monthrange
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from random import Random
from types import MappingProxyType

from glmkit.nano.skills.arithmetic import drawn_until, of_problem_split
from glmkit.nano.skills.lexicon import answered_at_once, thinking_mode
from glmkit.nano.skills.working import Problem
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

DAY_LATER = (
    "What day is {n} after {d}?", "Which day comes {n} after {d}?", "Today is {d}. What day is it in {n}?",
    "{n} after {d} is which day?", "If it is {d}, what day is it in {n}?", "It is {d}. And {n} later?", "{d} plus {n}?",
    "What weekday is {n} from {d}?", "Which weekday is it {n} after {d}?", "Count {n} on from {d}.",
    "Today is {d}. Which day is it {n} from now?", "Add {n} to {d}.", "{d}, then {n} later: which day?",
)  # fmt: skip
DAY_EARLIER = (
    "What day is {n} before {d}?", "Which day comes {n} before {d}?", "Today is {d}. What day was it {n} ago?",
    "{n} before {d} was which day?", "If it is {d}, what day was it {n} ago?", "{d} minus {n}?",
    "Which weekday was it {n} before {d}?", "It is {d}. And {n} ago?", "Which day was {n} before {d}?",
    "Today is {d}. Which weekday was it {n} ago?", "What weekday comes {n} before {d}?",
)  # fmt: skip
MONTH_LATER = (
    "What month is {n} after {d}?", "Which month comes {n} after {d}?", "It is {d}. Which month is it in {n}?",
    "{n} after {d}?", "{d} plus {n}?", "If it is {d}, which month comes {n} later?", "Add {n} to {d}.",
    "Which month is it {n} after {d}?", "It is {d}. And {n} later?", "Count {n} on from {d}.",
)  # fmt: skip
MONTH_EARLIER = (
    "What month is {n} before {d}?", "Which month comes {n} before {d}?", "It is {d}. Which month was it {n} ago?",
    "{n} before {d}?", "{d} minus {n}?", "If it is {d}, which month was {n} ago?", "Which month was {n} before {d}?",
    "It is {d}. And {n} ago?",
)  # fmt: skip
FIRST_OF_MONTHS = (
    "Which comes first in the year, {a} or {b}?", "Which month is earlier, {a} or {b}?", "{a} or {b}: which is first?",
    "Which of {a} and {b} is earlier in the year?", "Is {a} or {b} the earlier month?", "{a} or {b}, which is earlier?",
    "Name the earlier month: {a} or {b}.", "What comes earlier, {a} or {b}?",
)  # fmt: skip
LAST_OF_MONTHS = (
    "Which comes last in the year, {a} or {b}?", "Which month is later, {a} or {b}?", "{a} or {b}: which is last?",
    "Which of {a} and {b} is later in the year?", "Is {a} or {b} the later month?", "{a} or {b}, which is later?",
    "Name the later month: {a} or {b}.", "What comes later, {a} or {b}?",
)  # fmt: skip
DATE_LATER = (
    "What date is {n} after {d}?", "Add {n} to {d}.", "{d} plus {n}?", "Today is {d}. What is the date in {n}?",
    "Which date comes {n} after {d}?", "{n} after {d} is which date?", "It is {d}. What date is it {n} later?",
    "If today is {d}, what date is it in {n}?", "Tell me the date {n} after {d}.", "What is {d} plus {n}?",
    "Give me the date {n} from {d}.", "Count {n} on from {d}. Which date is it?", "The date {n} after {d}, please.",
)  # fmt: skip
DAYS_BETWEEN = (
    "How many days are there from {a} to {b}?", "How many days lie between {a} and {b}?", "{a} to {b}: how many days?",
    "Days from {a} to {b}?", "Today is {a}. How many days is it until {b}?", "How long is it from {a} to {b} in days?",
    "Count the days from {a} to {b}.", "How many days after {a} is {b}?", "It is {a}. In how many days is {b}?",
    "From {a} until {b}, how many days is that?", "How many days pass from {a} to {b}?",
    "Give me the number of days from {a} to {b}.", "Tell me how many days after {a} comes {b}.",
    "If today is {a}, how many days are left until {b}?", "{b} is how many days after {a}?",
    "Please count the days between {a} and {b}.", "{b}: how many days after {a} is that?",
)  # fmt: skip
CONVERSIONS = (
    "How many {s} are {n} {l}?", "Convert {n} {l} to {s}.", "{n} {l} in {s}?", "What is {n} {l} in {s}?",
    "Turn {n} {l} into {s}.", "{n} {l} is how many {s}?", "Express {n} {l} in {s}.", "How many {s} do {n} {l} have?",
    "Give {n} {l} in {s}.", "Change {n} {l} to {s}.", "I have {n} {l}. How many {s} is that?", "{n} {l} = ? {s}",
    "Can you convert {n} {l} to {s}?", "Write {n} {l} in {s}.", "Please tell me what {n} {l} are in {s}.",
)  # fmt: skip


def weekday(rng: Random, split: Split) -> Task:
    """A few days on or back. All days and offsets are seen in training; only wordings are held out."""
    later = rng.random() < 0.6
    days, n = _turned(DAYS, rng.randrange(7), later), rng.randint(1, 9)
    said = {"n": _counted(n, "day"), "d": days[0]}
    return _at_once(rng, split, "weekday", DAY_LATER if later else DAY_EARLIER, said, days[n % 7], _listed(days, n))


def month(rng: Random, split: Split) -> Task:
    """Some months on or back, or which of two comes first in the year. Only wordings are held out."""
    if rng.random() < 0.3:
        first = rng.random() < 0.5
        a, b = rng.sample(range(12), 2)
        said, answer = {"a": MONTHS[a], "b": MONTHS[b]}, MONTHS[min(a, b) if first else max(a, b)]
        thought = f"{MONTHS[a]} is {a + 1}, {MONTHS[b]} is {b + 1}"
        return _at_once(rng, split, "month", FIRST_OF_MONTHS if first else LAST_OF_MONTHS, said, answer, thought)
    later = rng.random() < 0.7
    months, n = _turned(MONTHS, rng.randrange(12), later), rng.randint(1, 11)
    said = {"n": _counted(n, "month"), "d": months[0]}
    return _at_once(rng, split, "month", MONTH_LATER if later else MONTH_EARLIER, said, months[n], _listed(months, n))


def add_days(rng: Random, split: Split) -> Task:
    """To the next month at most."""
    start, days = _drawn_days(rng, split, 20)
    end, length = start + timedelta(days), _length(start)
    total = start.day + days
    lines = [f"{start.day}+{days}={total}"]
    if end.month != start.month:
        lines = [_has(start), *lines, f"{total}-{length}={end.day}"]
    said = {"n": _counted(days, "day"), "d": _said(start)}
    return _dated(rng, split, "add_days", DATE_LATER, said, _said(end), lines)


def days_between(rng: Random, split: Split) -> Task:
    """From a date to one in the same month or the next."""
    start, days = _drawn_days(rng, split, 27)
    end, rest = start + timedelta(days), _length(start) - start.day
    lines = [f"{end.day}-{start.day}={days}"]
    if end.month != start.month:
        lines = [_has(start), f"{_length(start)}-{start.day}={rest}", f"{rest}+{end.day}={days}"]
    return _dated(rng, split, "days_between", DAYS_BETWEEN, {"a": _said(start), "b": _said(end)}, str(days), lines)


def convert_units(rng: Random, split: Split) -> Task:
    """Whole numbers, to the smaller unit or back."""

    def draw() -> tuple[int, str, str, int]:
        large, small, factor = rng.choice(UNITS)
        return rng.randint(2, 99 if factor in (10, 100, 1000) else 12), large, small, factor

    n, large, small, factor = drawn_until(draw, lambda drawn: of_split(f"{drawn[0]} {drawn[1]}", split, 0.1))
    sides = [(n, large), (n * factor, small)]
    (given, unit), (answer, other) = sides if rng.random() < 0.5 else reversed(sides)
    said = {"n": given, "l": unit, "s": other}
    thought = f"1 {large.removesuffix('s')} is {factor} {small}"
    return _at_once(rng, split, "convert_units", CONVERSIONS, said, f"{answer} {other}", thought)


def _turned(names: tuple[str, ...], start: int, later: bool) -> tuple[str, ...]:
    """The names from one on, in either direction."""
    turned = names[start:] + names[:start]
    return turned if later else (turned[0], *reversed(turned[1:]))


def _listed(names: tuple[str, ...], n: int) -> str:
    return ", ".join(names[at % len(names)] for at in range(n + 1))


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n > 1)}"


def _drawn_days(rng: Random, split: Split, most: int) -> tuple[date, int]:
    """A date before December and a number of days. A tenth of both together is held out, and training does not show
    sums that arithmetic holds out."""

    def fits(drawn: tuple[date, int]) -> bool:
        start, days = drawn
        shown = split == "held_out" or of_problem_split(Problem(start.day, "+", days), "train")
        return shown and of_split(f"{start:%m-%d} {days}", split, 0.1)

    return drawn_until(lambda: (date(2025, 1, 1) + timedelta(rng.randrange(334)), rng.randint(1, most)), fits)


def _length(day: date) -> int:
    return monthrange(day.year, day.month)[1]


def _has(day: date) -> str:
    return f"{MONTHS[day.month - 1]} has {_length(day)} days"


def _said(day: date) -> str:
    return f"{MONTHS[day.month - 1]} {day.day}"


def _dated(
    rng: Random, split: Split, skill: str, wordings: tuple[str, ...], said: dict, answer: str, lines: list[str]
) -> Task:
    """A task that is thought about where it takes more than one line to work out, or where a thought is forced."""
    template, mode = pick(rng, wordings, split), thinking_mode(rng)
    thinks = mode == "forced" or (mode == "enabled" and len(lines) > 1)
    messages = (user(template.format(**said)), assistant(answer, "\n".join(lines) if thinks else ""))
    return Task(skill, template, messages, mode)


def _at_once(
    rng: Random, split: Split, skill: str, wordings: tuple[str, ...], said: dict, answer: str, thought: str
) -> Task:
    template = pick(rng, wordings, split)
    return answered_at_once(rng, skill, template, template.format(**said), answer, thought)


SKILLS: Mapping[str, Callable[[Random, Split], Task]] = MappingProxyType(
    {
        "weekday": weekday,
        "month": month,
        "add_days": add_days,
        "days_between": days_between,
        "convert_units": convert_units,
    }
)
