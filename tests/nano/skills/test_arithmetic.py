"""Arithmetic: right answers, true lines in thoughts, when to think is learnable, and nothing held out is shown."""

import re
from collections import Counter
from random import Random

import pytest

from glmkit.nano.skills.arithmetic import (
    SKILLS,
    WORDINGS,
    Problem,
    draw_easy,
    draw_expression,
    draw_hard,
    of_expression_split,
    of_problem_split,
)
from glmkit.nano.skills.working import Expression, worked_out
from glmkit.nano.task import of_split
from wordings import patterns_of

SHOWN = re.compile(r"^0*(\d+)([+*-])0*(\d+)(?:$|=\d+$)", re.MULTILINE)
EQUATION = re.compile(r"(?=(?<![\d+*-])([\d+*-]+)=(\d+))")  # of "7*4=28+2=30" both
WRITTEN = re.compile(r"[\d(][\d+*()-]*[+*-][\d+*()-]*[\d)]")
SPOKEN = (
    ("plus|added to|加上?", "+"), ("minus|take away|减去?", "-"), ("times|multiplied by|x|×|乘以?", "*"),
)  # fmt: skip
TURNED = re.compile(r"(\d+) subtracted from (\d+)")
NAMED = re.compile(r"the (sum|difference|product) (?:of|between) (\d+) and (\d+)")


def draw(skill, split="train", n=150):
    rng = Random(f"{skill} {split}")
    return [SKILLS[skill](rng, split) for _ in range(n)]


def thoughts(task):
    return [message["reasoning_content"] for message in task.messages if "reasoning_content" in message]


def asked(text):
    """What a question asks for, as Python reads it."""
    text = NAMED.sub(lambda m: f"{m[2]}{dict(sum='+', difference='-', product='*')[m[1]]}{m[3]}", text)
    text = TURNED.sub(r"\2-\1", text)
    for words, sign in SPOKEN:
        text = re.sub(rf"(?<=\d) ?(?:{words}) ?(?=\d)", sign, text)
    (written,) = WRITTEN.findall(re.sub(r" ([+*-]) ", r"\1", text))
    return written


@pytest.mark.parametrize("skill", ["one_step", "hard", "multi_step"])
@pytest.mark.parametrize("split", ["train", "held_out"])
def test_answers_are_right(skill, split):
    for task in draw(skill, split):
        question, answer = task.messages
        assert eval(asked(question["content"])) == int(answer["content"]), question


def test_a_second_answer_goes_on_from_the_first():
    signs = {"*": "times|ultipl|乘", "-": "minus|ubtract|away|less|decrease|reduce|减"}
    for split in ("train", "held_out"):
        for task in draw("follow_up", split, 40):
            first, answer, more, last = (message["content"] for message in task.messages)
            assert eval(asked(first)) == int(answer)
            (number,) = re.findall(r"\d+", more)
            sign = next((sign for sign, said in signs.items() if re.search(said, more, re.IGNORECASE)), "+")
            assert eval(f"{answer}{sign}{number}") == int(last), more


@pytest.mark.parametrize("skill", SKILLS)
def test_every_line_of_a_thought_is_true_and_the_last_ends_in_the_answer(skill):
    for task in draw(skill) + draw(skill, "held_out", 40):
        assert (task.thinking == "disabled") <= (not thoughts(task))
        assert (task.thinking == "forced") <= bool(thoughts(task))
        for message in task.messages:
            thought = message.get("reasoning_content", "")
            if thought:
                assert re.search(r"-?\d+$", thought)[0] == message["content"]
            for left, value in EQUATION.findall(thought):
                assert eval(re.sub(r"\b0+(?=\d)", "", left)) == int(value), thought


def test_the_lines_of_an_expression_all_have_its_value():
    for task in draw("multi_step"):
        for thought in thoughts(task):
            whole = [line for line in thought.splitlines() if len(re.findall("[+*-]", line)) > 1 and "=" not in line]
            assert {eval(re.sub(r"\b0+(?=\d)", "", line)) for line in whole} == {int(task.messages[1]["content"])}


@pytest.mark.parametrize("skill", SKILLS)
def test_training_shows_no_wording_and_no_problem_that_is_held_out(skill):
    train, held_out = draw(skill, n=500), draw(skill, "held_out", 40)
    assert not {task.template for task in train} & {task.template for task in held_out}
    for task in train:
        problems = [asked(m["content"]) for m in task.messages[:1]] + thoughts(task)
        for left, sign, right in SHOWN.findall("\n".join(problems)):
            assert of_problem_split(Problem(int(left), sign, int(right)), "train"), task
    if skill in ("one_step", "hard"):
        for task in held_out:
            left, right = map(int, re.findall(r"\d+", asked(task.messages[0]["content"])))
            assert max(left, right) < 10 or of_split("{} {}".format(*sorted((left, right))), "held_out", 0.1)


def test_tasks_depend_on_the_generator_alone():
    for skill in SKILLS:
        assert draw(skill, n=20) == draw(skill, n=20)


def test_what_is_held_out_of_one_digit_and_two_is_as_frequent_in_evaluation_as_in_training():
    """Single digits are in both; were they more frequent among the held-out, memorised answers would be measured."""
    for split in ("train", "held_out"):
        problems = [draw_easy(Random(f"{split} {seed}"), split) for seed in range(1000)]
        share = sum(max(problem.left, problem.right) > 9 for problem in problems) / 1000
        assert abs(share - 0.64) < 0.076  # five standard deviations; four of five sums and differences


def test_a_story_of_one_operation_is_held_out_as_the_bare_problem_is():
    rng = Random(0)
    for _ in range(800):
        problem = draw_hard(rng, rng.choice(("train", "held_out")))
        expression = Expression.of(Expression(problem.left), problem.operator, Expression(problem.right))
        for split in ("train", "held_out"):
            assert of_expression_split(expression, split) == of_problem_split(problem, split)


def test_easy_and_hard_share_all_wordings_and_differ_in_their_operands():
    easy, hard = draw("one_step", n=800), draw("hard", n=800)
    assert patterns_of(easy, WORDINGS) == patterns_of(hard, WORDINGS) == set(WORDINGS)
    for tasks, is_easy in ((easy, True), (hard, False)):
        for task in tasks:
            left, sign, right = SHOWN.findall(asked(task.messages[0]["content"]))[0]
            assert Problem(int(left), sign, int(right)).easy == is_easy
            if task.thinking == "enabled":
                assert bool(thoughts(task)) != is_easy


def test_where_the_model_decides_forced_thoughts_are_few_among_the_easy():
    """A forced thought and an empty one stand behind the same tokens: the more frequent is what greedy choice gives."""
    modes = Counter(task.thinking for task in draw("one_step", n=2000))
    assert 0 < modes["forced"] < modes["enabled"] / 5


@pytest.mark.parametrize("skill", ["hard", "multi_step"])
def test_the_same_problems_are_asked_as_often_with_thinking_as_without(skill):
    disabled = sum(task.thinking == "disabled" for task in draw(skill, n=800))
    assert abs(disabled - 400) < 5 * 200**0.5  # five standard deviations


@pytest.mark.parametrize(
    ("problem", "lines"),
    [
        (Problem(345, "+", 678), "345+678\n5+8=13→3\n4+7+1=12→23\n3+6+1=10→1023"),
        (Problem(500, "-", 498), "500-498\n10-8=2→2\n10-9-1=0→02\n5-4-1=0→002\n2"),
        (Problem(12, "-", 345), "12<345\n345-012\n5-2=3→3\n4-1=3→33\n3-0=3→333\n-333"),
        (Problem(47, "*", 30), "47*30\n7*3=21→10\n4*3=12+2=14→1410"),
        (Problem(2, "*", 16), "16*2\n6*2=12→2\n1*2=2+1=3→32"),
        (Problem(34, "*", 12), "34*2\n4*2=8→8\n3*2=6→68\n34*10\n4*1=4→40\n3*1=3→340\n068+340\n8+0=8→8\n6+4=10→08\n"
         "0+3+1=4→408"),
        (Problem(25, "*", 0), "25*0\n5*0=0→0\n2*0=0→00\n0"),
        (Problem(7, "*", 8), "7*8=56"),
    ],
)  # fmt: skip
def test_how_problems_are_worked_out(problem, lines):
    assert worked_out(problem) == lines


def test_how_an_expression_is_worked_out():
    two, three, four, fifteen = map(Expression, (2, 3, 4, 15))
    inner = Expression.of(three, "+", four)
    assert Expression.of(two, "*", inner).worked_out == "2*(3+4)\n3+4=7\n2*7=14"
    assert Expression.of(two, "*", fifteen).worked_out == "2*15\n15*2\n5*2=10→0\n1*2=2+1=3→30"
    assert Expression.of(fifteen, "*", two).worked_out == "15*2\n5*2=10→0\n1*2=2+1=3→30"


def test_expressions_stay_within_reach_and_keep_the_parentheses_they_need():
    rng = Random(0)
    for _ in range(500):
        expression = draw_expression(rng, rng.randint(2, 4))
        assert eval(str(expression)) == expression.value
        for problem in expression.operations:
            assert 0 <= problem.answer <= 9999
            assert problem.operator != "*" or (min(problem.left, problem.right) < 10 and problem.answer < 9000)
        assert f"({expression})" not in str(Expression.of(expression, "+", Expression(1)))
