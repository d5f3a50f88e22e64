"""Word problems of one to three steps: a story, and the expression that answers it."""

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType

from glmkit.nano.skills.arithmetic import drawn_until, of_expression_split
from glmkit.nano.skills.lexicon import NAMES, pick_several
from glmkit.nano.skills.working import Expression
from glmkit.nano.task import Split, Task, assistant, pick, user

__all__ = ["SKILLS"]

THINGS = (
    "apples", "books", "coins", "cards", "pens", "cakes", "stones", "eggs", "stamps", "shells", "balls", "cups", "keys",
    "plants", "hats", "beads", "roses", "tickets", "candles", "toys", "fish", "chairs", "oranges", "bottles", "maps",
)  # fmt: skip

STORIES: Mapping[str, tuple[str, ...]] = {
    "ab+": (
        "{n} (has|owns) {a} {t}( and|. Then {n}) (gets|buys|finds|is given) {b} more. "
        "How many {t} does {n} have( now| in all|)?",
        "{n} has {a} {t}(. {m} has|, and {m} has| and {m} has) {b}. "
        "How many {t} do (they|the two|{n} and {m}) have together?",
        "There are {a} {t} in (one|the first|a red) box and {b} in (another|the other). "
        "How many {t} are there( in all|)?",
        "{n} (sold|made|packed) {a} {t} on Monday and {b} on Tuesday. How many {t} is that (in all|altogether)?",
        "First {n} (found|picked up|bought) {a} {t}, then {b} more. (What is the total|How many {t} is that)?",
        "{n} (drives|cycles|travels) {a} km (before lunch and {b} km after it|on one day and {b} km on the next). "
        "How many km is that( in all|)?",
        "{n} spends {a} dollars on {t} and {b}( dollars|) on (food|a coat). "
        "How (many dollars|much money) is that( in all|)?",
        "(A|The|That) (tree|castle|bridge|house) is {a} years old. How old will it be in {b} years?",
        "(A|The) (film|lesson|meeting) (takes|lasts) {a} minutes, the one after it {b}. "
        "How many minutes is that( in all|)?",
        "How many {t} does {n} have after (getting|buying) {b} more, if {n} had {a}( {t}|) (before|at first)?",
        "{m} has {a} {t}. {n} has {b} more( than {m}|). How many {t} does {n} have?",
    ),
    "ab-": (
        "{n} had {a} {t} and (lost|sold|broke|used|gave away) {b}( of them|). "
        "How many( {t}|) (are left|does {n} still have)?",
        "{n} has {a} {t} and gives {b}( of them|) to {m}. How many {t} (are left|remain|does {n} (have left|keep))?",
        "There were {a} {t} (in the box|on the table|in the bag). {n} took {b}( of them|)( away|). "
        "How many( {t}|) are left?",
        "{n} has {a} {t}(. {m} has|, and {m} has|, but {m} has only) {b}. How many more {t} does {n} have( than {m}|)?",
        "(A|The) (shop|store|trader) had {a} {t} and sold {b}( of them|). "
        "How many( {t}|) (remain|are left|were not sold)?",
        "{n} needs {a} {t} (and has|but has only|but has) {b}( so far|). "
        "How many( {t}|) (are missing|does {n} still need)?",
        "The (way|road) to (town|the sea|school) is {a} km long. {n} has (gone|done) {b} km. "
        "How many km are (left|still to go)?",
        "{n} had {a} dollars and (spent {b} on|paid {b} for) (lunch|a book|the {t}). "
        "How many dollars (are left|does {n} have left)?",
        "There were {a} (people|guests) (in the hall|on the ship). {b} (left|went away|went home). "
        "How many( people|) (remain|are left)?",
        "A book has {a} pages. {n} has read {b}( of them| pages|)( so far|). "
        "How many( pages|) (are left|are still unread)?",
        "A (coat|bike|lamp) costs {a} dollars. In the sale it is {b} dollars cheaper. "
        "(How many dollars|What) does it cost then?",
        "How many {t} (are left|remain) (if|after|when) {n} (takes|uses|gives away) {b} of {a}( {t}|)?",
        "{m} has {a} {t}. {n} has {b} fewer( than {m}|). How many {t} does {n} have?",
    ),
    "ab*": (
        "{n} (buys|has|packs|carries) {a} (boxes|bags|baskets) (with|of) {b} {t} each. "
        "How many {t} (is that|are there)( in all|)?",
        "There are {a} (rows|stacks|groups) of {b} {t}( each|)( in the hall| on the floor|). "
        "How many {t} are there( in all|)?",
        "Each of {a} (children|friends|guests) (brings|gets|buys) {b} {t}. How many {t} is that( in all| altogether|)?",
        "One of the {t} costs {a} dollars. "
        "(What do {b} of them cost|How many dollars do {b} of them cost|How much do {b} cost)?",
        "{n} (walks|runs|cycles|drives) {a} km (every|each|a) day. How (many km|far) is that in {b} days?",
        "{n} (earns|saves|gets) {a} dollars (a|every|each) (week. How much is that in {b} weeks|day. "
        "How much is that in {b} days)?",
        "(A|One) (lesson|film|song) (takes|lasts) {a} minutes. How many minutes do {b} of them (take|last)?",
        "(A|The) (house|tree|wall) is {a} m high. (A|The) hill is {b} times as high. "
        "How (high|many m high) is the hill?",
        "How many {t} are( there|) in {a} (boxes|bags|baskets) (of {b}|with {b} each|that hold {b} each)?",
        "{m} has {a} {t}. {n} has {b} times as many( as {m}|). How many {t} does {n} have?",
    ),
    "ab+c-": (
        "{n} has {a} {t}, (gets|buys) {b} (more|from {m}) and (then |)(loses|gives away|sells) {c}. "
        "How many {t} (are left|does {n} have)?",
        "There are {a} {t} (in the box|on the table). {n} adds {b} and {m} takes {c}( away|). "
        "How many {t} are there (now|then)?",
        "{n} had {a} dollars, (earned|got|won) {b} and (spent|paid|lost) {c}. "
        "How many dollars does {n} have (now|left)?",
        "A (bus|train|ship) has {a} people. {b} get on and {c} get off. "
        "How many people are on (it|board)( now| then|)?",
        "{n} has {a} {t}( and {m} has|. {m} has) {b}. Together they (give away|sell|lose) {c}. "
        "How many {t} (are left|do they have then)?",
    ),
    "ab-c-": (
        "{n} had {a} {t}, gave {b} to {m} and {c} to (a friend|someone else). How many (are left|{t} did {n} keep)?",
        "A (shop|store) had {a} {t}. It sold {b} in the morning and {c} in the afternoon. "
        "How many( {t}|) (are|were) left?",
        "{n} had {a} dollars and bought a coat for {b} dollars and a hat for {c}( dollars|). "
        "How many dollars (are|were) left?",
        "A book has {a} pages. {n} read {b}( of them|) yesterday and {c} today. "
        "How many pages are (left|still unread)?",
        "The (way|road) is {a} km long. {n} goes {b} km by (bus|train|bike) and {c} km (on foot|by car). "
        "How many km are left?",
        "A (rope|wire|ribbon) is {a} cm long. {n} cuts off {b} cm and (then|later) {c} cm( more|). "
        "How many cm are left?",
    ),
    "ab-c+": (
        "A (bus|train|ship) has {a} people. {b} get off and {c} get on. "
        "How many people are on (it|board)( now| then|)?",
        "{n} has {a} {t}, gives {b} to {m} and (then |later |)(buys|gets|finds) {c} more. "
        "How many {t} does {n} have( now| then|)?",
        "{n} had {a} dollars, (spent|paid|lost) {b} and (then |later |)(earned|got|won) {c}. "
        "How many dollars does {n} have( now|)?",
        "A (shop|store) had {a} {t}, sold {b} and (got|bought) {c} new ones. "
        "How many {t} (are there|does it have) now?",
        "A library had {a} books. {b} were (borrowed|taken out), (then|later) {c} (were brought back|came back). "
        "How many are there( now|)?",
    ),
    "ab+c+": (
        "{n} has {a} {t}, {m} has {b} and (their friend|a child) has {c}. "
        "How many {t} (are there|are there in all|do they have together)?",
        "There are {a} {t} in the first (box|bag|room), {b} in the second and {c} in the third. "
        "How many {t} are there( in all|)?",
        "{n} (drives|cycles|walks) {a} km, then {b}( km|) and then {c}( km|). "
        "How many km is that( in all| altogether|)?",
        "{n} (spends|spent) {a} dollars on food, {b} on clothes and {c} on {t}. "
        "How many dollars is that( in all| altogether|)?",
        "{n} (sold|made|found) {a} {t} on Monday, {b} on Tuesday and {c} on Friday. "
        "(What is the total|How many {t} is that)?",
    ),
    "ab*c-": (
        "{n} (buys|has|gets) {a} (bags|boxes) (of|with) {b} {t} each and (loses|gives away|sells) {c}( {t}|). "
        "How many {t} are left?",
        "There are {a} (rows|stacks) of {b} {t}. {c}( {t}|) are (taken away|removed|sold). "
        "How many {t} (are left|remain)?",
        "{n} (earns|saves) {a} dollars a (week for {b} weeks|day for {b} days) and spends {c}( dollars|). "
        "How many dollars are left?",
        "A (hall|theatre|cinema) has {a} rows of {b} seats. {c} seats are (taken|occupied). "
        "How many( seats|) are (free|not taken)?",
        "Each of {a} (children|friends) brings {b} {t}. {c} {t} are (lost|given away|sold). "
        "How many {t} (are left|remain)?",
    ),
    "abc*+": (
        "{n} has {a} {t} and (buys|gets) {b} (boxes|bags) (of|with) {c} more( each|). "
        "How many {t} does {n} have( now| in all|)?",
        "{n} has {a} dollars and (saves|earns) {b} a (week for {c} weeks|day for {c} days). "
        "How many dollars does {n} have then?",
        "There are {a} {t} on the table and {b} (boxes|bags) with {c} {t} each (under|beside) it. "
        "How many {t} are there( in all|)?",
        "{n} buys a coat for {a} dollars and {b} {t} for {c} dollars each. "
        "How many dollars does {n} (pay|spend)( in all|)?",
        "{n} walked {a} km (at first|on Monday) and {b} km on each of the next {c} days. "
        "How many km is that( in all| altogether|)?",
    ),
    "ab*c+": (
        "{n} fills {a} bags with {b} {t} each and has {c} {t} (over|left over). "
        "How many {t} (were there|did {n} have)( in all|)?",
        "{n} buys {a} {t} for {b} dollars each and a (bag|coat|hat) for {c} dollars. "
        "How many dollars (is that|does {n} pay)?",
        "There are {a} (rows|stacks) of {b} {t} and {c} more( {t}|) (on the floor|at the side). "
        "How many {t} are there( in all|)?",
        "{n} (runs|drives|cycles) {a} km a day for {b} days and then {c} km( more|). "
        "How many km is that( in all| altogether|)?",
        "Each of {a} (children|friends) has {b} {t}, and {n} has {c}. "
        "How many {t} (are there|do they all have together)?",
    ),
    "abc*-": (
        "{n} had {a} dollars and bought {b} {t} for {c} dollars each. "
        "How many dollars (are left|were left|does {n} have left)?",
        "{n} had {a} {t} and gave {b}( {t}|) to each of {c} (friends|children). How many {t} (are left|did {n} keep)?",
        "A (road|path) is {a} km long. {n} (walks|cycles|goes) {b} km a day for {c} days. "
        "How many km are (left|still to go)?",
        "A book has {a} pages. {n} reads {b} (a|every) day. How many pages are (left|still unread) after {c} days?",
        "{n} has {a} {t} and packs {b} (boxes|bags) with {c} {t} each. How many {t} are (left over|not packed|left)?",
    ),
    "ab*c-d-": (
        "{n} (picks|makes|finds) {a} {t} a day for {b} days and gives away {c}, then {d} more. "
        "How many( {t}|) are left?",
        "{n} earns {a} dollars a (day for {b} days|week for {b} weeks), spends {c} on food and {d} on {t}. "
        "How many dollars are left?",
        "There are {a} (boxes|bags) (of|with) {b} {t} each. {n} takes {c} {t} and {m} takes {d}. "
        "How many {t} (are left|remain)?",
    ),
    "ab*cd*+": (
        "{n} buys {a} {t} for {b} dollars each and {c} (pears|plums) for {d} dollars each. "
        "How many dollars (is that|does {n} pay)?",
        "There are {a} boxes with {b} {t} each and {c} bags with {d} {t} each. "
        "How many {t} are there( in all| altogether|)?",
        "{n} (walks|runs|cycles) {a} km a day for {b} days and then {c} km a day for {d} days. "
        "How many km is that( in all|)?",
        "{n} has {a} (bags|boxes) of {b} {t}, {m} has {c} (bags|boxes) of {d}. "
        "How many {t} do they have( together| in all)?",
    ),
    "ab+c+c+": (
        "{n} has {a} {t} and {m} has {b}. Each of them (gets|buys|finds) {c} more. "
        "How many {t} do they have (together|in all)?",
        "(One|The first) box has {a} {t}, the other {b}. {n} adds {c} to each( of them|). "
        "How many {t} are there then?",
    ),
}  # fmt: skip
"""Stories of the operands a, b, c, d, nearly all in this order, by what answers them in postfix form."""


def word_problem(rng: Random, split: Split) -> Task:
    """A story with names and numbers; the thought is its expression, worked out."""
    postfix = rng.choices(tuple(STORIES), weights=[len(stories) for stories in STORIES.values()])[0]
    story = pick(rng, STORIES[postfix], split)
    values, expression = drawn_until(
        lambda: _drawn(rng, postfix), lambda drawn: _is_told(drawn[1]) and of_expression_split(drawn[1], split)
    )
    first, second = pick_several(rng, NAMES, split, 2)
    things = pick(rng, THINGS, split)
    mode = rng.choice(("enabled", "enabled", "enabled", "forced", "disabled"))
    question = user(story.format(n=first, m=second, t=things, **values))
    thought = "" if mode == "disabled" else expression.worked_out
    return Task("word_problem", story, (question, assistant(expression.value, thought)), mode)


def _drawn(rng: Random, postfix: str) -> tuple[dict[str, int], Expression]:
    """Values for the story's letters, and its expression of them."""
    most = 20 if "*" in postfix else rng.choice((20, 100, 1000))
    values = {letter: rng.randrange(2, most) for letter in "abcd"}
    if postfix.startswith("ab-") or postfix == "abc*-":
        values["a"] = rng.randrange(most, most * 10)
    stack: list[Expression] = []
    for sign in postfix:
        if sign in "+-*":
            right, left = stack.pop(), stack.pop()
            stack.append(Expression.of(left, sign, right))
        else:
            stack.append(Expression(values[sign]))
    return values, stack.pop()


def _is_told(expression: Expression) -> bool:
    """Whether nothing falls below 0 on the way, and no product is of two numbers of two digits."""
    return all(
        problem.answer >= 0 and (problem.operator != "*" or min(problem.left, problem.right) < 10)
        for problem in expression.operations
    )


SKILLS: Mapping[str, Callable[[Random, Split], Task]] = MappingProxyType({"word_problem": word_problem})
