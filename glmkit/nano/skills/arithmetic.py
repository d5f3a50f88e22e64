"""Arithmetic: when to think about a problem and when to answer at once, in problems that share all their wordings.

Easy and hard problems (`Problem.easy`) differ in their operands alone. The same hard problems are asked in the thinking
modes and, as often, with thinking disabled, where the answer stands alone. What is held out: a tenth of all pairs of
operands, one of two digits or more, whatever their wording and operator; training does not show them on the way to
another answer either. Sums of single digits and their products are too few to spare any.
"""

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Literal, TypeVar

from glmkit.nano.skills.working import Expression, Problem, worked_out
from glmkit.nano.task import Message, Split, Task, assistant, of_split, pick, user

__all__ = [
    "SHORT_WORDINGS",
    "SKILLS",
    "Problem",
    "draw_easy",
    "draw_expression",
    "draw_hard",
    "drawn_until",
    "of_expression_split",
    "of_problem_split",
    "operand",
]

T = TypeVar("T")
Mode = Literal["enabled", "disabled", "forced"]

PROBLEMS_HELD_OUT = 0.1

# In percent. Nothing before a forced thought tells it from an empty one, so where easy problems are asked, forced
# thoughts have to be few, or whether to think becomes a toss-up.
EASY_MODES = {"enabled": 45, "disabled": 50, "forced": 5}
HARD_MODES = {"enabled": 40, "disabled": 50, "forced": 10}
FOLLOW_UP_MODES = {"enabled": 60, "disabled": 40}

HARD_SIZES = (
    (2, 2), (2, 2), (3, 3), (3, 3), (3, 3), (4, 4), (3, 2), (2, 3), (4, 3), (3, 4), (3, 1), (4, 2),
)  # fmt: skip
PRODUCT_SIZES = ((2, 1), (2, 1), (3, 1), (2, 2), (2, 2), (3, 2))
"""How many digits the operands of hard problems have, as often as it stands here."""

SHORT_WORDINGS = (
    "(What is|What's|what is|what's|How much is|how much is) {e}(?|)", "{e}( =|=| = ?|=?|?|)",
    "(What|what) does {e} (equal|make|give|come to)(?|)", "(Please c|C|c)(ompute|alculate) {e}(.|)",
    "(Work out|work out|Evaluate|evaluate|Find|find|Solve|solve|Tell me|tell me|Give me) {e}(.|)",
    "(Tell|tell|Please tell) me (what|how much) {e} is(.|)", "(What|what) do (you|we|I) get for {e}(?|)",
    "(Result of|result of|The result of|Answer to) {e}(?|, please.)",
    "So(,|) (what is|what's|how much is) {e}( then|)?",
    "(Can|Could) you (work out|compute|calculate|solve|tell me) {e}?",
)  # fmt: skip
"""What asks for a problem in a few words, as it may stand beside other things."""

WORDINGS = (
    *SHORT_WORDINGS,
    "(Hi|Hello|Hey|Good morning)(! W|. W|, w)hat('s| is) {e}?",
    "(Hi|Hello|Hey)(! C|, c)an you (work out|calculate) {e}?",
    "(Hi|Hello|Hey)(!|,) (please |)(compute|calculate|work out|tell me) {e}( for me|)(.|)",
    "(Could|Can|Would|Will) you (please |)(work out|compute|calculate|figure out|solve) {e}( for me|)?",
    "(Could|Can|Would) you (please |)tell me (what {e} is|how much {e} is)?",
    "(Could|Can|Would) you (please |)(tell|give) me (the result of|the value of|the answer to) {e}?",
    "(Do you know|Any idea|Can you say|Do you happen to know) (what {e} is|how much {e} is|what {e} makes)?",
    "(Please t|T|t|Just t)ell me (what {e} equals|(the result of|the value of|the answer to) {e})(.|)",
    "I( just| only|) (need|want|would like|have) to know (what {e} is|how much {e} is|what {e} makes)(.|)",
    "I('d like to know| must find out| am trying to find| have to find) what {e} is(.| - can you help?)",
    "I (need|want|am looking for|would like) (the result of|the value of|the answer to) {e}(, please|)(.|)",
    "(What is|What's|what is|what's) (the result of|the value of|the answer to|the outcome of) {e}(?|)",
    "(Find|Determine|Give me|Give|Compute|Show me) (the result of|the value of|the outcome of) {e}(, please|)(.|)",
    "(My homework|The exercise|My teacher|The quiz) asks (for {e}|what {e} is). (What is it|Can you help)?",
    "(I have|There is) (a problem|an exercise|a task) here: {e}. (What's the answer|Can you solve it)?",
    "(Please h|H|h)elp me (with|work out|calculate|solve|to find) {e}(.|)",
    "(Quick question|One question|Question|Math question|Next question|One more): (what|how much) is {e}?",
    "(Solve|Compute|Calculate|Evaluate|Work out)( this| the following|)( for me|): {e}(.|)",
    "(Problem|Exercise|Task|Calculation|Math|Next one|Homework): {e}(.| = ?| =|)",
    "{e}(, please|, thanks|, if you can| please)(.|!|)", "{e}(. |: |, )(what|how much) is (that|it)?",
    "{e}(. |: )(What's|what is|What is|what's) the (result|answer|value)?",
    "{e}(. |: )(Please s|S|s)olve (it|this)(.|)", "{e}(. |: )(Please w|W|w)ork (it|that|this) out(.|)",
    "{e}. (Can|Could) you work (it|that|this) out?",
    "(If|When) (you|I|we) (work out|calculate|compute|evaluate) {e}, what (is the result|comes out|is the answer)?",
    "(And|Okay,|OK,|Well,|Now,|Now) (what is|what's|how much is) {e}( then|)?",
    "What (number|value) (equals|do you get for|comes out of|is equal to) {e}?",
    "(I wonder|I was wondering|Let me know|Remind me|Please say) (what {e} is|how much {e} is|what {e} equals)(.|)",
    "(What|How much) (do|would|will) (you|I|we) get (for|from|out of) {e}?",
    "How much (does|would) {e} (make|come to|amount to|give)?", "What would {e} (be|make|come to|equal|give)?",
    "{e} (equals|is|makes|gives|comes to) (what|how much|what number|which number)?",
    # In Chinese, where marks are as often of full width.
    "(请|帮我|请帮我|麻烦|)(算一下|算算|计算|计算一下|算|求|求出)( |: |:|\uff1a|){e}(。|)",
    "{e}( |)(等于|是|得|得到|算出来是|结果是)(多少|几)(?|\uff1f|)", "{e}( |)(=|= |等于)(?|\uff1f|多少|几)",
    "(请问|问一下|我想知道|告诉我|请告诉我|你知道)( |, |\uff0c|){e}( |)(等于|是|得)(多少|几)(?|\uff1f|)",
    "(你能|你可以|能不能|可以)(帮我|)(算一下|算出|计算|算算)( |){e}( |)(吗|)(?|\uff1f)",
    "{e}( |)的(结果|答案|值)(是什么|是多少|呢|)(?|\uff1f|)", "(题目|问题|算式|计算题)(: |:|\uff1a){e}(。| = ?|=?|=|)",
    "(请|帮我|请帮我|)(求|算出|给出|写出|告诉我)( |){e}( |)的(结果|答案|值)(。|)",
    "{e}(, |,|\uff0c)(请|帮我|请帮我|)(算一下|算算|计算一下|给出答案|求结果)(。|)",
    "(那么|那|现在|好|再来一题)(, |\uff0c|){e}( |)(等于|是)(多少|几)(?|\uff1f|)",
)  # fmt: skip

_SPOKEN = {
    "+": ("{a} plus {b}", "{a} plus {b}", "{a} added to {b}"),
    "-": ("{a} minus {b}", "{a} minus {b}", "{a} take away {b}", "{b} subtracted from {a}"),
    "*": ("{a} times {b}", "{a} times {b}", "{a} multiplied by {b}"),
}
_SPOKEN_IN_CHINESE = {
    "+": ("{a}加{b}", "{a} 加 {b}", "{a}加上{b}", "{a} 加上 {b}"),
    "-": ("{a}减{b}", "{a} 减 {b}", "{a}减去{b}", "{a} 减去 {b}"),
    "*": ("{a}乘{b}", "{a} 乘 {b}", "{a}乘以{b}", "{a} 乘以 {b}"),
}
_NAMED = {"+": "the sum of {a} and {b}", "-": "the difference between {a} and {b}", "*": "the product of {a} and {b}"}
_FOLLOW_UPS = {
    "+": (
        "(And p|and p|P|p|Now p|Then p|What about p)lus {b}(?|)", "(Now a|Then a|A|a|Please a|And now a)dd {b}(.|)",
        "(Now a|Then a|A|a|Please a)dd {b} (to (that|it|this|the result|the answer)|on top)(.|)",
        "(And i|I)f (you|I|we) add {b}( to it| to that|)?", "What (if|is it if) (I|you|we) add {b}( more| to it|)?",
        "(Now i|Please i|I|i)ncrease (it|that|the result|this) by {b}(.|)", "(And|Now|Then) {b} more(?|.|)",
        "{b} more(?|)", "(Add another|Now add another|Another|And another) {b}(.|)",
        "(Can|Could) you (now |)add {b}( to it| to that|)?",
        "(What is|What's|How much is) (that|it|the result) plus {b}?",
        "What do (you|we|I) get (if you add|after adding) {b}?",
        "(再|然后|接着|现在|)(加|加上)( |){b}(。|呢?|呢\uff1f|)",
        "(结果|答案|这个数|)(再加|再加上)( |){b}( |)(是|等于)(多少|几)(?|\uff1f|)",
    ),
    "-": (
        "(And m|and m|M|m|Now m|Then m|What about m)inus {b}(?|)",
        "(Now s|Then s|S|s|Please s|And now s)ubtract {b}(.|)",
        "(Now s|Then s|S|s|Please s)ubtract {b} from (that|it|this|the result|the answer)(.|)",
        "(And i|I)f (you|I|we) (subtract {b}|take {b} away|take away {b})?",
        "(Now t|Then t|T|t|Please t)ake (away {b}|{b} away)(.|)",
        "What (if|is it if) (I|you|we) (subtract|take away) {b}?", "(And|Now|Then) {b} less(?|.|)", "{b} less(?|)",
        "(Now d|Please d|D|d)ecrease (it|that|the result|this) by {b}(.|)",
        "(Now r|Please r|R|r)educe (it|that|the result) by {b}(.|)",
        "(Can|Could) you (now |)(subtract {b}|take {b} away|subtract {b} from it)?",
        "(What is|What's|How much is) (that|it|the result) minus {b}?",
        "What do (you|we|I) get (if you subtract|after subtracting) {b}?",
        "(再|然后|接着|现在|)(减|减去)( |){b}(。|呢?|呢\uff1f|)",
        "(结果|答案|这个数|)(再减|再减去)( |){b}( |)(是|等于)(多少|几)(?|\uff1f|)",
    ),
    "*": (
        "(And t|and t|T|t|Now t|Then t|What about t)imes {b}(?|)",
        "(Now m|Then m|M|m|Please m|And now m)ultiply by {b}(.|)",
        "(Now m|Then m|M|m|Please m)ultiply (that|it|this|the result|the answer) by {b}(.|)",
        "(And i|I)f (you|I|we) multiply( it| that|) by {b}?",
        "What (if|is it if) (I|you|we) multiply (it|that) by {b}?",
        "(And|Now|Then) {b} times (that|it|the result)(?|.|)", "{b} times (that|it|the result)(?|)",
        "(Can|Could) you (now |)multiply (it|that|the result) by {b}?", "(And m|M|m|Now m)ultiplied by {b}(?|)",
        "(What is|What's|How much is) (that|it|the result) times {b}?", "What('s| is) {b} times (that|it|the result)?",
        "What do (you|we|I) get (if you multiply( it|) by|after multiplying by) {b}?",
        "(再|然后|接着|现在|)(乘|乘以)( |){b}(。|呢?|呢\uff1f|)",
        "(结果|答案|这个数|)(再乘|再乘以)( |){b}( |)(是|等于)(多少|几)(?|\uff1f|)",
    ),
}  # fmt: skip


def of_problem_split(problem: Problem, split: Split) -> bool:
    """Whether a problem may be shown in `split`; in training none of its parts is held out by itself."""
    shown = (problem, *problem.parts) if split == "train" else (problem,)
    return all(max(p.left, p.right) < 10 or of_split(_operands(p), split, PROBLEMS_HELD_OUT) for p in shown)


def of_expression_split(expression: Expression, split: Split) -> bool:
    """Whether an expression may be shown in `split`; in training none of its operations is held out by itself.

    One operation is held out as its problem is, so that a story does not show what is kept from bare questions.
    """
    if split == "train" and not all(of_problem_split(problem, "train") for problem in expression.operations):
        return False
    text = _operands(*expression.operations) if len(expression.operations) == 1 else str(expression)
    return of_split(text, split, PROBLEMS_HELD_OUT)


def _operands(problem: Problem) -> str:
    """What a problem is held out by: its operands in either order."""
    low, high = sorted((problem.left, problem.right))
    return f"{low} {high}"


def draw_easy(rng: Random, split: Split) -> Problem:
    """A problem that is answered at once. How many have a number of two digits is the same in either split."""
    operator, tens = rng.choice("++--*"), rng.random() < 0.8

    def draw() -> Problem:
        one, other = rng.randrange(10), rng.randrange(10, 100) if tens and operator != "*" else rng.randrange(10)
        if operator == "-":
            return Problem(max(one, other), "-", min(one, other))
        left, right = rng.sample((one, other), 2)
        return Problem(left, operator, right)

    return drawn_until(draw, lambda problem: of_problem_split(problem, split))


def draw_hard(rng: Random, split: Split) -> Problem:
    """A problem to think about: operands of up to four digits, products of up to three digits and two."""
    operator = rng.choices("+-*", weights=(5, 4, 3))[0]

    def draw() -> Problem:
        sizes = rng.choice(PRODUCT_SIZES if operator == "*" else HARD_SIZES)
        left, right = (operand(rng, size) for size in sizes)
        if operator == "-" and left < right and rng.random() < 7 / 8:  # negative differences are the rarer case
            left, right = right, left
        return Problem(left, operator, right)

    return drawn_until(draw, lambda problem: not problem.easy and of_problem_split(problem, split))


def one_step(rng: Random, split: Split) -> Task:
    """Easy problems: answered at once, unless a thought is forced."""
    return _question(rng, split, "one_step", draw_easy(rng, split), EASY_MODES)


def hard(rng: Random, split: Split) -> Task:
    """Hard problems: thought about where that is allowed."""
    return _question(rng, split, "hard", draw_hard(rng, split), HARD_MODES)


def multi_step(rng: Random, split: Split) -> Task:
    """Expressions of two to four operations with precedence and parentheses, none of which leaves 0 to 9999."""
    operations = rng.choice((2, 2, 3, 4))
    expression = drawn_until(lambda: draw_expression(rng, operations), lambda drawn: of_expression_split(drawn, split))
    written = str(expression)
    if rng.random() < 0.5:
        for operator in "+-*":
            written = written.replace(operator, f" {operator} ")
    template = pick(rng, WORDINGS, split)
    mode = _mode(rng, HARD_MODES)
    thought = "" if mode == "disabled" else expression.worked_out
    messages = (user(template.format(e=written)), assistant(expression.value, thought))
    return Task("multi_step", template, messages, mode)


def follow_up(rng: Random, split: Split) -> Task:
    """A second problem about the answer to the first."""
    draw_first, operator = rng.choice((draw_easy, draw_hard)), rng.choice("++--*")

    def draw() -> tuple[Problem, Problem]:
        first = draw_first(rng, split)
        right = rng.randrange(2, 10) if operator == "*" else operand(rng, rng.randint(1, 3))
        return first, Problem(first.answer, operator, right)

    def fits(pair: tuple[Problem, Problem]) -> bool:
        return 10 <= pair[1].left < 1000 and pair[1].answer >= 0 and of_problem_split(pair[1], split)

    first, second = drawn_until(draw, fits)
    mode = _mode(rng, FOLLOW_UP_MODES)
    template, more = pick(rng, WORDINGS, split), pick(rng, _FOLLOW_UPS[second.operator], split)
    messages = (
        *_turns(_asked(rng, template, first), first, mode),
        *_turns(more.format(b=second.right), second, mode),
    )
    return Task("follow_up", f"{template} {more}", messages, mode)


def _question(rng: Random, split: Split, skill: str, problem: Problem, modes: Mapping[Mode, int]) -> Task:
    template, mode = pick(rng, WORDINGS, split), _mode(rng, modes)
    return Task(skill, template, _turns(_asked(rng, template, problem), problem, mode), mode)


def _mode(rng: Random, modes: Mapping[Mode, int]) -> Mode:
    return rng.choices(tuple(modes), weights=tuple(modes.values()))[0]


def _turns(question: str, problem: Problem, mode: Mode) -> tuple[Message, Message]:
    thinks = mode == "forced" or (mode == "enabled" and not problem.easy)
    return user(question), assistant(problem.answer, worked_out(problem) if thinks else "")


def _asked(rng: Random, template: str, problem: Problem) -> str:
    """The wording with the problem in symbols, with blanks or without, or in words of the wording's language."""
    english, operator = template.isascii(), problem.operator
    spoken = rng.choice((_SPOKEN if english else _SPOKEN_IN_CHINESE)[operator])
    named = _NAMED[operator] if english and (operator != "-" or problem.left >= problem.right) else spoken
    form = rng.choices(("{a} {o} {b}", "{a}{o}{b}", spoken, named), weights=(5, 3, 2, 1))[0]
    sign = rng.choice("**x×") if operator == "*" else operator
    return template.format(e=form.format(a=problem.left, b=problem.right, o=sign))


def draw_expression(rng: Random, operations: int) -> Expression:
    """Of random shape. Each operator is one that leaves 0 to 9999; products are of at most three digits and one."""
    while True:
        parts = [Expression(_term(rng)) for _ in range(operations + 1)]
        while len(parts) > 1:
            at = rng.randrange(len(parts) - 1)
            left, right = parts[at : at + 2]
            fitting = [sign for sign in "++--*" if _within_reach(Problem(left.value, sign, right.value))]
            if not fitting:
                break
            parts[at : at + 2] = [Expression.of(left, rng.choice(fitting), right)]
        else:
            return parts[0]


def _term(rng: Random) -> int:
    """A number in an expression; seldom 0, which makes short work of what is around it."""
    digits = rng.choice((1, 1, 2, 2, 3))
    return operand(rng, digits) or operand(rng, digits)


def _within_reach(problem: Problem) -> bool:
    small, large = sorted((problem.left, problem.right))
    return 0 <= problem.answer <= 9999 and (problem.operator != "*" or (small < 10 and large < 1000))


def operand(rng: Random, digits: int) -> int:
    """A number of exactly `digits` digits (0 counts as one); one in eight is made of zeros and nines."""
    if rng.random() < 1 / 8:
        head = rng.choice("123456789") if digits > 1 else rng.choice("0123456789")
        return int(head + "".join(rng.choice("09") for _ in range(digits - 1)))
    return rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)


def drawn_until(draw: Callable[[], T], fits: Callable[[T], bool]) -> T:
    while not fits(drawn := draw()):
        pass
    return drawn


SKILLS: Mapping[str, Callable[[Random, Split], Task]] = MappingProxyType(
    {"one_step": one_step, "hard": hard, "multi_step": multi_step, "follow_up": follow_up}
)
