"""Number words: a number up to 9999 in English or Chinese, and back.

Answered at once; a forced thought takes the number apart by its places. A tenth of the numbers from twenty on is held
out: those below are the words themselves.
"""

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType

from glmkit.nano.skills.lexicon import answered_at_once
from glmkit.nano.task import Split, Task, of_split, pick

__all__ = ["SKILLS", "chinese", "english"]

_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_DIGITS, _PLACES = "零一二三四五六七八九", ("", "十", "百", "千")
_BANDS = ((0, 20), (20, 100), (100, 1000), (100, 1000), (1000, 10_000), (1000, 10_000))

TO_ENGLISH = (
    "Write {n} in words.", "Write {n} as words.", "Spell out {n}.", "Spell the number {n}.", "{n} in words?",
    "How do you write {n} in words?", "What is {n} in English words?", "Say {n} in words.", "Put {n} into words.",
    "How is {n} spelled out?", "Please write out {n}.", "Give me {n} in words.", "Turn {n} into words.",
    "Can you write {n} in words?", "How do you say {n}?", "The number {n}, in words please.",
)  # fmt: skip
FROM_ENGLISH = (
    "Write {w} in digits.", "Write {w} as a number.", "What number is {w}?", "{w} in digits?", "Which number is {w}?",
    "Give me {w} in digits.", "How do you write {w} in digits?", "Turn {w} into a number.", "Convert {w} to digits.",
    "The number {w}, in digits please.", "{w} as a number?", "Put {w} in figures.", "Can you write {w} in digits?",
    "What is {w} in figures?", "How is {w} written as a number?", "I need {w} in digits.",
)  # fmt: skip
TO_CHINESE = (
    "Write {n} in Chinese.", "What is {n} in Chinese?", "{n} in Chinese characters?",
    "How do you write {n} in Chinese?", "{n} 用中文怎么写", "用汉字写出 {n}。", "{n} 的中文是什么", "把 {n} 写成汉字。",
    "请用中文数字写 {n}。", "{n} 怎么用中文说", "{n} 的汉字怎么写", "Say {n} in Chinese.", "Turn {n} into Chinese.",
    "Give me {n} in Chinese characters.",
)  # fmt: skip
FROM_CHINESE = (
    "What number is {w}?", "Write {w} in digits.", "{w} as a number?", "Which number is {w} in digits?",
    "{w}用数字怎么写", "把{w}写成数字。", "{w}是哪个数", "请写出{w}的数字。", "用数字写出{w}。", "{w}等于什么数字",
    "{w}是多少", "Give me {w} as a number.", "Turn {w} into digits.", "Which number do you read in {w}?",
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
        return _task(rng, "number_words", pick(rng, TO_ENGLISH, split), n, n, english(n))
    return _task(rng, "number_words", pick(rng, FROM_ENGLISH, split), n, english(n), n)


def chinese_numbers(rng: Random, split: Split) -> Task:
    """Chinese, in either direction."""
    n = _number(rng, split)
    if rng.random() < 0.5:
        return _task(rng, "chinese_numbers", pick(rng, TO_CHINESE, split), n, n, chinese(n))
    return _task(rng, "chinese_numbers", pick(rng, FROM_CHINESE, split), n, chinese(n), n)


def _number(rng: Random, split: Split) -> int:
    """Of a band drawn first, so that small numbers, which are never held out, are as frequent in either split."""
    band = range(*rng.choice(_BANDS))
    while True:
        n = rng.choice(band)
        if n < 20 or of_split(f"number {n}", split, 0.1):
            return n


def _task(rng: Random, skill: str, template: str, n: int, shown: object, answer: object) -> Task:
    return answered_at_once(rng, skill, template, template.format(n=shown, w=shown), answer, _places(n))


def _places(n: int) -> str:
    """What the number is the sum of: "2000+30+4"."""
    digits = str(n)
    values = [int(digit) * 10**place for place, digit in zip(reversed(range(len(digits))), digits, strict=True)]
    return "+".join(str(value) for value in values if value) or "0"


SKILLS: Mapping[str, Callable[[Random, Split], Task]] = MappingProxyType(
    {"number_words": number_words, "chinese_numbers": chinese_numbers}
)
