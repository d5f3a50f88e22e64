"""Number words: a number up to 9999 in English or Chinese, and back. Answered at once. A tenth of the numbers is held
out."""

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType

from glmkit.nano.task import Split, Task, assistant, of_split, pick, user

__all__ = ["SKILLS", "chinese", "english"]

_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_DIGITS, _PLACES = "零一二三四五六七八九", ("", "十", "百", "千")

TO_ENGLISH = (
    "Write {n} in words.", "Write {n} as words.", "Spell out {n}.", "Spell the number {n}.", "{n} in words?",
    "How do you write {n} in words?", "What is {n} in English words?", "Say {n} in words.", "Put {n} into words.",
    "How is {n} spelled out?", "Please write out {n}.", "Give me {n} in words.",
)  # fmt: skip
FROM_ENGLISH = (
    "Write {w} in digits.", "Write {w} as a number.", "What number is {w}?", "{w} in digits?", "Which number is {w}?",
    "Give me {w} in digits.", "How do you write {w} in digits?", "Turn {w} into a number.", "Convert {w} to digits.",
    "The number {w}, in digits please.", "{w} as a number?", "Put {w} in figures.",
)  # fmt: skip
TO_CHINESE = (
    "Write {n} in Chinese.", "What is {n} in Chinese?", "{n} in Chinese characters?",
    "How do you write {n} in Chinese?", "{n} 用中文怎么写", "用汉字写出 {n}。", "{n} 的中文是什么", "把 {n} 写成汉字。",
    "请用中文数字写 {n}。", "{n} 怎么用中文说",
)  # fmt: skip
FROM_CHINESE = (
    "What number is {w}?", "Write {w} in digits.", "{w} as a number?", "Which number is {w} in digits?",
    "{w}用数字怎么写", "把{w}写成数字。", "{w}是哪个数", "请写出{w}的数字。", "用数字写出{w}。", "{w}等于什么数字",
)  # fmt: skip


def english(n: int) -> str:
    """0 to 9999 in words: "three hundred forty-five"."""
    if n >= 1000:
        return f"{english(n // 1000)} thousand" + (f" {english(n % 1000)}" if n % 1000 else "")
    if n >= 100:
        return f"{english(n // 100)} hundred" + (f" {english(n % 100)}" if n % 100 else "")
    if n >= 20:
        return _TENS[n // 10] + (f"-{_UNITS[n % 10]}" if n % 10 else "")
    return _UNITS[n]


def chinese(n: int) -> str:
    """0 to 9999 in characters: 三百四十五. Inner zeros are said once, and ten to nineteen without the one."""
    if n == 0:
        return _DIGITS[0]
    said, digits = "", str(n)
    for place, digit in zip(reversed(range(len(digits))), map(int, digits), strict=True):
        if digit:
            said += _DIGITS[digit] + _PLACES[place]
        elif not said.endswith(_DIGITS[0]):
            said += _DIGITS[0]
    said = said.rstrip(_DIGITS[0])
    return said.removeprefix("一") if 10 <= n < 20 else said


def number_words(rng: Random, split: Split) -> Task:
    """English, in either direction."""
    n = _number(rng, split)
    if rng.random() < 0.5:
        return _task(rng, split, "number_words", TO_ENGLISH, {"n": n}, english(n))
    return _task(rng, split, "number_words", FROM_ENGLISH, {"w": english(n)}, n)


def chinese_numbers(rng: Random, split: Split) -> Task:
    """Chinese, in either direction."""
    n = _number(rng, split)
    if rng.random() < 0.5:
        return _task(rng, split, "chinese_numbers", TO_CHINESE, {"n": n}, chinese(n))
    return _task(rng, split, "chinese_numbers", FROM_CHINESE, {"w": chinese(n)}, n)


def _number(rng: Random, split: Split) -> int:
    while True:
        n = rng.randrange(10 ** rng.choice((2, 3, 3, 4, 4)))
        if n < 20 or of_split(f"number {n}", split, 0.1):
            return n


def _task(rng: Random, split: Split, skill: str, wordings: tuple[str, ...], said: dict, answer: object) -> Task:
    template = pick(rng, wordings, split)
    mode = rng.choice(("enabled", "enabled", "disabled"))
    return Task(skill, template, (user(template.format(**said)), assistant(answer)), mode)


SKILLS: Mapping[str, Callable[[Random, Split], Task]] = MappingProxyType(
    {"number_words": number_words, "chinese_numbers": chinese_numbers}
)
