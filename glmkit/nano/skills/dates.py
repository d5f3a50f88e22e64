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

# Of days of the week, months and dates: one of these is <unit>; <now> begins what says which it is today.
_LATER = (
    "(What|Which|what|which) <unit> (is {n} (after|from)|comes {n} after|is it {n} after|will it be {n} after) {d}(?|)",
    "<now> {d}. (What|Which) <unit> (is it|will it be) (in {n}|{n} from now|{n} later)?", "{n} after {d}(?|)",
    "If it is {d}, (what|which) <unit> (is it|will it be) (in {n}|{n} later|{n} from now|after {n})(?|)",
    "{n} (after|from) {d}(: | is | will be |, )(which|what) <unit>?",
    "{d} plus {n}(?|: which <unit>?| is which <unit>?|)", "{d} (+|plus) {n}( =| = ?|?| is what?|)",
    "(What is|What's|Tell me) {d} plus {n}(?|)", "(Please a|A|a|Now a)dd {n} to {d}(.|)",
    "Add {n} to {d}(. Which <unit> is that?|. What <unit> do you get?| and tell me the <unit>.)",
    "(Count|Go|Move) {n} (on|forward) from {d}(.| and name the <unit>.|. What <unit> do you reach?)",
    "(Please t|T|t)ell me (the <unit>|which <unit> is|what <unit> it is) {n} after {d}(.|)",
    "{d}, (and |)then {n} later(?|: which <unit>?)",
    "(Name|Give me|Find|Say|I need|I want) the <unit> {n} (after|from) {d}(.|, please.|)",
    "<now> {d}. (And|What about) (in {n}|{n} later)?",
    "(Starting|Counting) from {d}, (what|which) <unit> (is|comes|will it be) {n} later(?|)",
    "What (will be|is) the <unit> {n} (after|from) {d}(?|)",
    "(Can|Could) you (tell me|name|find) the <unit> {n} after {d}?",
    "(The party|The race|My exam|The trip|Our move) is {n} after {d}. (What|Which) <unit> is (that|it)(?| then?)",
    "(I|We) (leave|start|begin) <on> {d} and (finish|come back|stop) {n} later. Which <unit> is that?",
    "(The|the) <unit> {n} (after|from) {d}(, please.|?|.|)",
    "<now> {d}. (Name|Tell me|Give me) the <unit> (in {n}|{n} from now).",
)  # fmt: skip
_EARLIER = (
    "(What|Which|what|which) <unit> (is {n} before|comes {n} before|was it {n} before|was {n} before) {d}(?|)",
    "<now> {d}. (What|Which) <unit> was (it|that) {n} (ago|earlier|before)?", "{n} before {d}(?|)",
    "If it is {d}, (what|which) <unit> was (it|that) {n} (ago|earlier|before)(?|)", "(Count|Go) {n} back from {d}(.|)",
    "{n} before {d}(: | is | was |, )(which|what) <unit>?", "{d} minus {n}(?|: which <unit>?| is which <unit>?|)",
    "{d} (-|minus) {n}( =| = ?|?| is what?|)", "(What is|What's|Tell me) {d} minus {n}(?|)",
    "(Please s|S|s|Now s)ubtract {n} from {d}(.|)",
    "(Count|Go|Move) {n} back from {d}( and name the <unit>.|. Which <unit> is it?|. What <unit> do you reach?)",
    "(Please t|T|t)ell me (the <unit>|which <unit> was|what <unit> it was) {n} before {d}(.|)",
    "{d}, and {n} earlier(?|: which <unit>?)",
    "(Name|Give me|Find|Say|I need|I want) the <unit> {n} before {d}(.|, please.|)",
    "<now> {d}. (And|What about) {n} (ago|earlier)?",
    "(Starting|Counting back) from {d}, (what|which) <unit> (is|was|comes) {n} (earlier|before)(?|)",
    "What (is|was) the <unit> {n} before {d}(?|)", "(Can|Could) you (tell me|name|find) the <unit> {n} before {d}?",
    "(The party|The race|My exam|The trip|Our move) is {n} before {d}. (What|Which) <unit> is (that|it)(?| then?)",
    "(The|the) <unit> {n} before {d}(, please.|?|.|)",
    "<now> {d}. (Name|Tell me|Give me) the <unit> {n} (ago|earlier).",
)  # fmt: skip


def _of(unit: str, now: str, on: str, wordings: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(w.replace("<unit>", unit).replace("<now>", now).replace("<on>", on) for w in wordings)


_DAY, _TODAY = "(day|weekday|day|day of the week)", "(Today is|It is|It's|Today it is)"
_MONTH, _THIS_MONTH = "month", "(It is|It's|This month is|We are in)"
DAY_LATER, DAY_EARLIER = _of(_DAY, _TODAY, "on", _LATER), _of(_DAY, _TODAY, "on", _EARLIER)
MONTH_LATER, MONTH_EARLIER = _of(_MONTH, _THIS_MONTH, "in", _LATER), _of(_MONTH, _THIS_MONTH, "in", _EARLIER)
DATE_LATER = _of("date", _TODAY, "on", _LATER)
FIRST_OF_MONTHS = (
    "(Which|What|which) (month |)comes (first|earlier|sooner) in the year(, |: ){a} or {b}(?|)",
    "(Which|What) comes (first|earlier), {a} or {b}?",
    "(Which|What|which) month is (earlier|the earlier one|first in the year)(, |: ){a} or {b}(?|)",
    "Does {a} or {b} come (first|earlier)( in the year|)?",
    "{a} or {b}(: |, )(which|which month|which of them|what) (is|comes) (first|earlier)( in the year|)(?|)",
    "(Which|Which one) of {a} and {b} (is earlier|comes first|comes earlier)( in the year|)(?|)",
    "Is {a} or {b} (the earlier month|earlier|first)(?| in the year?)",
    "(Name|Give me|Tell me|Pick|Say) (the earlier|the first) (month|one)( in the year|)(: | of ){a} (or|and) {b}(.|)",
    "(Can|Could) you (tell me|say) which (is earlier|comes first)( in the year|), {a} or {b}?",
    "In (a|the) year, (which|what) comes first(, |: ){a} or {b}(?|)",
    "(The earlier|The first|Earlier|First) (month |)of {a} and {b}(?|, please.)",
    "(Of|Between) {a} and {b}, which (is earlier|comes first)(?| in the year?)",
)  # fmt: skip
LAST_OF_MONTHS = (
    "(Which|What|which) (month |)comes (last|later) in the year(, |: ){a} or {b}(?|)",
    "(Which|What) comes (last|later), {a} or {b}?",
    "(Which|What|which) month is (later|the later one|last in the year)(, |: ){a} or {b}(?|)",
    "Does {a} or {b} come (last|later)( in the year|)?",
    "{a} or {b}(: |, )(which|which month|which of them|what) (is|comes) (last|later)( in the year|)(?|)",
    "(Which|Which one) of {a} and {b} (is later|comes last|comes later)( in the year|)(?|)",
    "Is {a} or {b} (the later month|later|last)(?| in the year?)",
    "(Name|Give me|Tell me|Pick|Say) (the later|the last) (month|one)( in the year|)(: | of ){a} (or|and) {b}(.|)",
    "(Can|Could) you (tell me|say) which (is later|comes last)( in the year|), {a} or {b}?",
    "In (a|the) year, (which|what) comes last(, |: ){a} or {b}(?|)",
    "(The later|The last|Later|Last) (month |)of {a} and {b}(?|, please.)",
    "(Of|Between) {a} and {b}, which (is later|comes last)(?| in the year?)",
)  # fmt: skip
DAYS_BETWEEN = (
    "(How many|how many) days (are there|are|pass|go by|lie) (from {a} (to|until)|between {a} and) {b}(?|)",
    "(From |){a} (to|until) {b}(: |, )how many days(?| is that?| are there?)",
    "(Number of d|D|d)ays (from {a} to|between {a} and) {b}(?|)",
    "(Today is|It is|It's) {a}. (How many days (is it|are left|remain)|How long is it in days) until {b}?",
    "How long is it from {a} to {b}(, in| in) days(?|)",
    "(Please c|C|c|Now c)ount the days (from {a} (to|until)|between {a} and) {b}(.|)",
    "How many days after {a} is {b}(?|)",
    "(Today is|It is|It's) {a}. (In how many days is|How many days from now is) {b}?",
    "{b}(: how many days after {a} is (it|that)| is how many days after {a})?",
    "(Give me|Find|What is|Work out|I need) the number of days (from {a} (to|until)|between {a} and) {b}(.|)",
    "(Please t|T|t)ell me how many days (after {a} is {b}|there are from {a} to {b}|lie between {a} and {b})(.|)",
    "If (today|it) is {a}, how many days (are left|is it|are there) until {b}(?|)",
    "(I was away|It ran|They stayed) from {a} to {b}. How many days is that?",
    "(Can|Could) you (count|tell me|work out) (the days|the number of days) from {a} to {b}?",
    "(Today is|It is|It's) {a}, (the exam|the trip|my party) is on {b}. How many days are left?",
    "(Starting|Counting) from {a}, (how many days is it|how long is it in days) (to|until) {b}(?|)",
    "(I|We) leave on {a} and (arrive|come back) on {b}. How many days (later|after) is that?",
    "(What is|Give me|Find) the (distance|time|difference) in days (between {a} and|from {a} to) {b}(?|)",
)  # fmt: skip
CONVERSIONS = (
    "(How many|how many) {s} (are|make|are there in|are in|correspond to) {n} {l}(?|)",
    "(Please c|C|c|Now c)onvert {n} {l} (to|into) {s}(.|)", "{n} {l} (in|to|into|as) {s}(?|)",
    "(What is|What are|what is|How much is|How much are) {n} {l} in {s}(?|)", "(Convert|Change|Turn) to {s}: {n} {l}",
    "(Turn|Change|Please turn|Please change) {n} {l} (into|to) {s}(.|)",
    "{n} {l} (is|are|equals|makes) how many {s}(?|)",
    "(Express|Write|Give|Say|Please give|Please write) {n} {l} in {s}(.|)",
    "How many {s} (do|would) {n} {l} (have|make|come to|give)(?|)",
    "(I have|It took|It is|There are|We need|My bag has) {n} {l}. How many {s} is that?",
    "{n} {l} = (?|...|how many) {s}(?|)", "(Can|Could) you (please |)(convert|change|turn) {n} {l} (into|to) {s}?",
    "(Please t|T|t)ell me (what|how much) {n} {l} (are|is) in {s}(.|)",
    "(Please t|T|t)ell me how many {s} {n} {l} (are|make)(.|)",
    "(Given|From|Starting from) {n} {l}, how many {s} (is that|are there|do you get)(?|)",
    "In {s}, (what|how much) (is|are) {n} {l}(?|)", "{n} {l}(: |. )(How|how) many {s} is (that|this|it)?",
    "{n} {l}: (what|how much) is (it|that) in {s}(?|)",
    "(Do you know|Can you say|I wonder|I need to know) how many {s} {n} {l} (are|make)(?|.)",
    "(I want|I need|Give me|Show me) {n} {l} in {s}(.|, please.|)",
    "How (do|would) you (write|put|say) {n} {l} in {s}?", "How many {s} do you get (for|from|out of) {n} {l}(?|)",
)  # fmt: skip
CONVERSIONS_IN_CHINESE = (
    "{n} {l}( |)(等于|是|合)(多少|几)( |){s}(?|\uff1f|)",
    "(请|帮我|请帮我|)(把|将)( |){n} {l}( |)(换算成|换成|化成|转换成)( |){s}(。|)",
    "{n} {l}( |)(有|相当于)(多少|几)( |){s}(?|\uff1f|)", "(多少|几)( |){s}( |)(等于|是)( |){n} {l}(?|\uff1f|)",
    "{n} {l}( |)用( |){s}( |)(表示|怎么表示|表示是多少)(?|\uff1f|。|)", "{n} {l} = (?|多少|几) {s}(?|\uff1f|)",
    "(请问|告诉我|我想知道)( |, |\uff0c|){n} {l}( |)(等于|是)(多少|几)( |){s}(?|\uff1f|)",
)  # fmt: skip
"""Of units that are written as symbols, as in Chinese."""


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
    symbols = len(unit) <= 2 and len(other) <= 2
    wordings = CONVERSIONS_IN_CHINESE if symbols and rng.random() < 0.2 else CONVERSIONS
    return _at_once(rng, split, "convert_units", wordings, said, f"{answer} {other}", thought)


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
