"""Tasks: what they ask, what they hold back, and glm-nano's own with scripted replies in the model's place."""

import dataclasses
import functools
import re
from random import Random
from types import FunctionType

import numpy as np
import pytest

from glmkit import rl
from glmkit.engine.answer import Completion
from glmkit.errors import DataError
from glmkit.rl import Problem, Sample, Task, Turn, rewards, tasks
from glmkit.rl.description import described
from glmkit.rl.rewards import Exact, Length
from glmkit.text import ToolCall


def answered(count: int) -> list[Problem]:
    return [Problem(f"problem {number}", answer=number) for number in range(count)]


def test_batches_are_the_seeds_and_repeat_nothing_before_all_were_drawn():
    task = Task("t", answered(5), Exact(), held_out=answered(3))
    assert task.batch(5, 1) == task.batch(5, 1)
    assert task.batch(5, 1) != task.batch(5, 2)
    assert {problem.answer for problem in task.batch(5, 3)} == set(range(5))
    assert [problem.answer for problem in task.batch(2, 9, "held_out")] == [0, 1]


def test_a_task_without_answers_is_refused_where_the_reward_needs_them():
    with pytest.raises(DataError, match=r"task 't', problems\[1\]: no answer, .*Exact"):
        Task("t", [Problem("a", answer=1), Problem("b")], Exact())
    Task("t", [Problem("b")], Length(10))
    drawn = Task("t", lambda rng, split: Problem("b"), Exact())
    with pytest.raises(DataError, match="problem 0 of seed 0: no answer"):
        drawn.batch(1)


def test_what_else_a_task_cannot_be():
    with pytest.raises(DataError, match="has no problems"):
        Task("t", [], Exact())
    with pytest.raises(DataError, match="expected a Problem, got str"):
        Task("t", ["a"], Exact())
    with pytest.raises(DataError, match="no held_out problems"):
        Task("t", answered(1), Exact()).batch(1, split="held_out")
    with pytest.raises(DataError, match="kept as JSON"):
        Problem("a", answer={1, 2})


def test_a_task_is_known_by_its_problems_and_its_reward():
    one = Task("t", answered(2), Exact())
    assert one.digest == Task("t", answered(2), Exact()).digest
    others = [
        Task("t", answered(3), Exact()),
        Task("t", answered(2), lambda sample: 1.0),
        Task("u", answered(2), Exact()),
    ]
    assert one.digest not in {other.digest for other in others}


def test_a_task_that_draws_is_known_by_what_it_draws_from():
    def over(**data: str) -> Task:
        return Task("t", lambda rng, split: Problem(rng.choice(data[split])), Length(10))

    known = {over(train=train, held_out=held_out).digest for train in ("ab", "ac") for held_out in ("y", "z")}
    assert len(known) == 4
    assert over(train="ab", held_out="z").digest in known


def test_arithmetic_asks_what_it_knows_the_answer_of_and_holds_some_back():
    task = tasks.arithmetic()
    problems = task.batch(200), task.batch(200, split="held_out")
    assert all(isinstance(problem.answer, int) for problem in problems[0])
    said = [{problem.messages[0]["content"] for problem in part} for part in problems]
    assert not said[0] & said[1]
    assert task.digest == tasks.arithmetic().digest != tasks.arithmetic("enabled").digest


def test_long_sums_are_asked_and_shown_on_this_side_of_what_is_held_out():
    task = tasks.long_sums()
    problems = task.batch(200), task.batch(200, split="held_out")
    sums = [{_operands(problem.messages[0]["content"]): problem.answer for problem in part} for part in problems]
    shown = tasks.worked_long_sums(200)
    for record in shown:
        question, answer = record["messages"]
        pair = _operands(question["content"])
        assert answer["content"] == str(sum(pair))
        assert answer["reasoning_content"].startswith(f"{pair[0]}+{pair[1]}\n")
        assert answer["reasoning_content"].endswith(answer["content"])
        assert pair not in sums[1]
    for part in sums:
        assert all(
            sum(pair) == answer and all(10_000 <= side < 100_000 for side in pair) for pair, answer in part.items()
        )
    assert not sums[0].keys() & sums[1].keys()
    assert shown == tasks.worked_long_sums(200) != tasks.worked_long_sums(200, seed=1)
    with pytest.raises(ValueError, match="digits"):
        tasks.long_sums(0)


def _operands(text: str) -> tuple[int, int]:
    left, right = re.findall(r"[0-9]+", text)
    return int(left), int(right)


def reply(content="", calls=()) -> Completion:
    made = tuple(ToolCall(name, arguments, f"call_{at}") for at, (name, arguments) in enumerate(calls))
    return Completion(content=content, tool_calls=made, finish_reason="tool_calls" if calls else "stop")


def played(problem: Problem, replies) -> Sample:
    """An episode of the look-up with scripted replies."""
    task, turns, replies = tasks.lookup(), [], list(replies)
    episode = task.episode(problem)
    said = next(episode)
    assert said == problem.messages
    while True:
        turns.append(Turn.of(replies[len(turns)]))
        try:
            said = episode.send(replies[len(turns) - 1])
        except StopIteration:
            return Sample(0, 0, problem, tuple(turns))
        assert said == [{"role": "tool", "content": problem.about["result"]}]


def test_the_look_up_rewards_the_call_and_then_the_answer():
    task = tasks.lookup()
    for seed in range(5):
        (problem,) = task.batch(1, seed)
        name, arguments, told = (problem.answer[key] for key in ("name", "arguments", "told"))
        call = reply(calls=[(name, arguments)])
        assert name in {tool["function"]["name"] for tool in problem.tools}
        scores = {
            "right": played(problem, [call, reply(told)]),
            "told wrongly": played(problem, [call, reply("no")]),
            "called wrongly": played(problem, [reply(calls=[(name, {**arguments, "x": 1})])]),
            "not called": played(problem, [reply(told)]),
        }
        sums = {case: sum(task.reward(sample).values()) for case, sample in scores.items()}
        assert sums == {"right": 1, "told wrongly": 0.25, "called wrongly": 0, "not called": 0}
        assert task.is_solved(scores["right"], 1.0)
        assert not task.is_solved(scores["told wrongly"], 0.25)


def test_the_arithmetic_reward_is_for_the_number():
    task = tasks.arithmetic()
    problem = task.problems(Random(0), "train")
    right = Sample(0, 0, problem, (Turn.of(reply(str(problem.answer))),))
    assert task.reward(right) == 1
    wrong = dataclasses.replace(right, turns=(Turn.of(reply(f"{problem.answer}0")),))
    assert task.reward(wrong) == 0


def _reward(sample, scale=1.0):
    return scale


def _look(city: str) -> str:
    return city


def _near(scale):
    return lambda sample: scale


class _Own:
    def __call__(self, sample):
        return 1.0


class _Scaled:
    """Keeps what it was made with under another name."""

    def __init__(self, weight):
        self.scale = weight

    def __call__(self, sample):
        return self.scale


class _Judge:
    def __init__(self, strictness):
        self.strictness = strictness

    def __call__(self, sample):
        return self.strictness


def _with_bonus(names):
    """A reward that reads a name of its module, which is here one of its own."""
    return FunctionType((lambda sample: BONUS).__code__, names | {"__name__": "made"}, "bonus")  # noqa: F821


def _typed(source):
    """A function without a source."""
    return eval(source)


REWARDS = {
    "function": _reward,
    "another function": _near(1.0),
    "what it closes over": _near(2.0),
    "arguments": functools.partial(_reward, scale=2.0),
    "other arguments": functools.partial(_reward, scale=3.0),
    "instance": _Own(),
    "attributes": _Judge(1),
    "other attributes": _Judge(2),
    "attributes of other names": _Scaled(1.0),
    "more of them": _Scaled(-1.0),
    **dict(zip(("a lambda", "its neighbour"), (lambda sample: 1.0, lambda sample: 2.0), strict=True)),
    "typed at a prompt": _typed("lambda sample: 1.0"),
    "typed otherwise": _typed("lambda sample: 3.0"),
    "a global": _with_bonus({"BONUS": 0.1}),
    "another global": _with_bonus({"BONUS": 0.9}),
    "a function of its module": _with_bonus({"BONUS": lambda: 0.1}),
    "an array": _near(np.arange(3)),
    "another array": _near(np.arange(4)),
    "wrapped": rewards.WellFormed(_reward),
    "wrapped otherwise": rewards.WellFormed(rewards.Length(9)),
    "parts": rewards.Parts(a=_reward, b=(0.5, rewards.Length(9))),
    "other weights": rewards.Parts(a=_reward, b=(0.6, rewards.Length(9))),
    "schema": rewards.Schema({"type": "object"}),
    "another schema": rewards.Schema({"type": "array"}),
    "loss": rl.Corrected(_reward),
}


def test_digests_tell_rewards_and_episodes_apart():
    digests = {name: Task("t", [Problem("a")], reward).digest for name, reward in REWARDS.items()}
    episodes = [rl.with_tools(_look, max_turns=turns) for turns in (2, 3)]
    digests |= {repr(episode): Task("t", [Problem("a")], _reward, episode=episode).digest for episode in episodes}
    assert len(set(digests.values())) == len(digests)


def test_digests_are_of_no_process():
    for value in (*REWARDS.values(), rl.with_tools(_look), rl.hooks.Curriculum([tasks.arithmetic()], 0.5)):
        assert "0x" not in described(value)


def test_what_is_counted_and_names_of_attributes_are_no_part_of_a_digest():
    judge = _Judge(1)
    before = described(judge)
    judge.calls = 3
    assert described(judge) == before
    reads = (lambda sample: sample.BONUS).__code__
    one, other = (FunctionType(reads, {"BONUS": value, "__name__": "made"}, "reads") for value in (1, 2))
    assert described(one) == described(other)


def test_a_function_that_calls_itself_has_a_digest():
    def count(sample, depth=3):
        return count(sample, depth - 1) if depth else 0.0

    assert "..." in described(count)
