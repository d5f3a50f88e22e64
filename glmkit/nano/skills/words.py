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

# In Chinese, marks are as often of full width, such as \uff1f for a question mark.
TO_ENGLISH = (
    "(Please w|W|w|Now w)rite (out |)(the number |){n} (in|as) (words|English words)(.|)",
    "(Please w|W|w)rite out {n}(.|)", "(Please s|S|s)pell( out|) (the number |){n}( in words| in English|)(.|)",
    "(The number |){n}(,|) in (English |)words(?|, please.|.|)",
    "How (do|would|can) (you|I|we) (write|spell|spell out|put) (the number |){n} in (English |)words(?|)",
    "(What is|What's|what is|what's) (the number |){n} (in|when written in) (English |)words(?|)",
    "{n}: (how is|how do you) (it in words|spell it out)?",
    "(Please s|S|s)ay {n} (in words|as words|in English words)(.|)",
    "How do you (say|read|read out) (the number |){n}( in English|)(?|)",
    "(Put|Turn|Convert|Change|Translate|Please put|Please turn) (the number |){n} into (English |)words(.|)",
    "How is (the number |){n} (spelled|spelled out|written in words|said in English)(?|)",
    "{n}(: |. )(In|in) words(, please|)(.|?|)",
    "(Give me|Show me|Tell me|I need|I want) (the number |){n} (in|as) (English |)words(.|, please.|)",
    "(Can|Could) you (please |)(write|put|say) (the number |){n} in words( for me|)?",
    "{n}(: |. )(Spell|Please spell) (it|that) out.",
    "(Here is a number: |My number is |I have ){n}. (Write it in words.|Spell it out.|What is it in words?)",
    "(Which|What) words (do you write|are used) for (the number |){n}?", "How (would|does) a cheque say {n} in words?",
    "{n}( |)用(英文|英语)(怎么写|怎么说|怎么读|怎么拼写)(?|\uff1f|)",
    "(请|帮我|请帮我|)(把|将)( |){n}( |)(写成|翻译成|变成)(英文单词|英文|英语)(。|)",
    "(请|)用(英文|英语)(写出|写|说出)( |)(数字 |){n}(。|)", "{n}( |)的(英文|英语)(是什么|怎么写|怎么说|)(?|\uff1f|)",
)  # fmt: skip
FROM_ENGLISH = (
    "(Please w|W|w|Now w)rite (the number |){w} (in|with|using) digits(.|)",
    "(Please w|W|w)rite {w} (as a number|in figures|in numerals)(.|)", "(What|Which|what|which) number is {w}(?|)",
    "(The number |){w}(,|) (in digits|in figures|as a number)(?|, please.|.|)",
    "(Give me|Show me|Tell me|I need|I want) (the number |){w} (in digits|in figures|as a number)(.|, please.|)",
    "How (do|would|can) (you|I|we) write (the number |){w} (in digits|in figures|with digits|as a number)(?|)",
    "(Turn|Convert|Change|Translate|Please turn) (the words |){w} (into|to) (a number|digits|figures|numerals)(.|)",
    "(Put|Express) {w} in (figures|digits|numerals)(.|)",
    "(Can|Could) you (please |)(write|put|give me) {w} in (digits|figures)?",
    "(What is|What's|what is|what's) (the number |){w} in (figures|digits|numerals)(?|)",
    "{w}(: |. )(which|what) number is (that|it|this)?",
    "How is (the number |){w} written (as a number|in digits|in figures)(?|)",
    "(Which|What) digits (make|give) (the number |){w}?",
    "(What|Which) number (do you read in|is meant by|is written as|do you get from) \"{w}\"?",
    "{w}(: |. )(In|in) digits(, please|)(.|?|)",
    "(My number is |The number is |I read ){w}. (Write it in digits.|What is it in digits?)",
    "(The text|A cheque|The letter|The page) says {w}. (Which|What) number is (that|it)?",
    "{w}( |)(用|用阿拉伯)数字(怎么写|是多少|写出来是什么)(?|\uff1f|)",
    "(请|帮我|请帮我|)(把|将)( |){w}( |)(写成|变成|换成)(数字|阿拉伯数字)(。|)",
    "{w}( |)是(多少|哪个数|哪个数字|什么数)(?|\uff1f|)", "(请|)用(数字|阿拉伯数字)(写出|写|表示)( |){w}(。|)",
)  # fmt: skip
TO_CHINESE = (
    "(Please w|W|w|Now w)rite (the number |){n} in Chinese( characters|)(.|)",
    "(What is|What's|what is|what's) (the number |){n} in Chinese(?|)",
    "(The number |){n}(,|) in Chinese( characters|)(?|, please.|.|)",
    "How (do|would|can) (you|I|we) (write|say|read) (the number |){n} in Chinese(?|)",
    "(Please s|S|s)ay (the number |){n} in Chinese(.|)",
    "(Turn|Translate|Convert|Put|Change) (the number |){n} into Chinese( characters|)(.|)",
    "(Give me|Show me|Tell me|I need) (the number |){n} in Chinese( characters|)(.|, please.|)",
    "{n}: (what|how) is (it|that) in Chinese?",
    "(Can|Could) you (please |)(write|say|put) (the number |){n} in Chinese( for me|)?",
    "(What|Which) Chinese characters (are|stand for|say) {n}?",
    "How is (the number |){n} (written|said) in Chinese(?|)",
    "(My number is |The number is |I have ){n}. (Write it|Say it) in Chinese.",
    "{n}( |)(用中文|用汉字|用中文数字|的中文|的汉字|中文|在中文里)(怎么写|怎么说|怎么读|怎么念|是什么)(?|\uff1f|)",
    "(请|帮我|请帮我|)(用汉字|用中文|用中文数字)(写出|写|说出|表示|写一下)( |)(数字 |){n}(。|)",
    "{n}( |)(怎么|如何)用(中文|汉字)(写|说|读|表示)(?|\uff1f|)",
    "(请|帮我|请帮我|)(把|将)( |)(数字 |){n}( |)(写成|变成|翻译成|换成|转成)(汉字|中文|中文数字)(。|)",
    "{n}( |)的(汉字|中文|中文写法)(呢|是|)(?|\uff1f|)",
    "(请问|告诉我|我想知道)( |, |\uff0c|){n}( |)(用中文怎么写|的中文怎么说|用汉字怎么写)(?|\uff1f|)",
)  # fmt: skip
FROM_CHINESE = (
    "(What|Which|what|which) number is {w}(?| in digits?)", "(Please w|W|w|Now w)rite {w} (in|with|using) digits(.|)",
    "{w} (as a number|in digits)(?|.|)",
    "(Give me|Show me|Tell me|I need) {w} (as a number|in digits|in figures)(.|, please.|)",
    "{w}(: |. )(which|what) number is (that|it|this)?",
    "(Turn|Convert|Change|Translate|Please turn) {w} (into|to) (digits|a number|figures)(.|)",
    "(Can|Could) you (please |)write {w} in digits?",
    "(What|Which) number (do you read in|is meant by|does it say|is written) (here: |){w}?",
    "(What is|What's) {w} in (digits|figures)(?|)", "What does {w} (mean|say|stand for) (as a number|in digits)(?|)",
    "How (do|would|can) (you|I|we) write {w} in digits(?|)",
    "{w}( |)(用数字|用阿拉伯数字|的数字)(怎么写|是多少|怎么表示)(?|\uff1f|)",
    "{w}( |)是(多少|哪个数|哪个数字|什么数|几)(?|\uff1f|)",
    "(请|帮我|请帮我|)(把|将)( |){w}( |)(写成|变成|换成|转成)(数字|阿拉伯数字)(。|)",
    "{w}( |)等于(什么数字|哪个数|多少)(?|\uff1f|)",
    "(请|帮我|请帮我|)(用数字|用阿拉伯数字)(写出|写|表示|写一下)( |){w}(。|)",
    "(请|)写出( |){w}( |)的(数字|阿拉伯数字)(。|)",
    "(请问|告诉我|我想知道)( |, |\uff0c|){w}( |)(是多少|用数字怎么写|是哪个数)(?|\uff1f|)",
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
