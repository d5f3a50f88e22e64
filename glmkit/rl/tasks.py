"""Tasks for glm-nano, from its own curriculum or a step beyond it. What it is scored on it has never seen."""

from collections.abc import Callable, Generator, Mapping, Sequence
from random import Random
from typing import Any

from glmkit.checks import check_integer
from glmkit.engine.answer import Completion
from glmkit.nano.skills.arithmetic import SHORT_WORDINGS, draw_hard, drawn_until, of_problem_split, operand
from glmkit.nano.skills.tools import tool_result
from glmkit.nano.skills.working import Problem as Operation, worked_out
from glmkit.nano.task import assistant, pick, user
from glmkit.rl.rewards import Number
from glmkit.rl.sample import Sample
from glmkit.rl.task import Message, Problem, Split, Task

__all__ = ["TASKS", "arithmetic", "long_sums", "lookup", "worked_long_sums"]


def arithmetic(thinking: str = "disabled", operators: str = "+-") -> Task:
    """Sums and differences of up to four digits, by default answered without a thought; the reward is 1 for the number.

    The curriculum works such problems out in a thought, and shows few answers without one; glm-nano gets about a
    quarter of them right. A tenth of all pairs of operands is held out, as in the curriculum.
    """

    def draw(rng: Random, split: Split) -> Problem:
        problem = draw_hard(rng, split)
        while problem.operator not in operators:
            problem = draw_hard(rng, split)
        return Problem(pick(rng, SHORT_WORDINGS, split).format(e=problem), answer=problem.answer)

    return Task(f"arithmetic {thinking} {operators}", draw, Number(), thinking=thinking)


def long_sums(digits: int = 5) -> Task:
    """Sums of two numbers of so many digits, worked out in a thought; the reward is 1 for the number.

    The curriculum ends at four digits: glm-nano gets none of five right before it has seen a few worked out, as
    `worked_long_sums` has them. A tenth of all pairs of numbers is held out, as in the curriculum, but none of those
    of one digit. Raises RequestError for less than one.
    """
    check_integer("digits", digits, 1)

    def draw(rng: Random, split: Split) -> Problem:
        asked, operation = _draw_long_sum(rng, split, digits)
        return Problem(asked, answer=operation.answer)

    return Task(f"sums of {digits} digits", draw, Number(), thinking="forced")


def worked_long_sums(count: int, digits: int = 5, seed: int = 0) -> list[dict[str, Any]]:
    """So many problems of `long_sums` worked out, to be shown in training: records as `glmkit.train` reads them."""
    rng, records = Random(f"worked sums of {digits} digits/{seed}"), []
    for _ in range(check_integer("count", count, 1)):
        asked, operation = _draw_long_sum(rng, "train", digits)
        messages = [user(asked), assistant(operation.answer, worked_out(operation))]
        records.append({"messages": messages, "thinking": "forced"})
    return records


def _draw_long_sum(rng: Random, split: Split, digits: int) -> tuple[str, Operation]:
    """What is asked, and the sum."""
    operation = drawn_until(
        lambda: Operation(operand(rng, digits), "+", operand(rng, digits)), lambda drawn: of_problem_split(drawn, split)
    )
    return pick(rng, SHORT_WORDINGS, split).format(e=operation), operation


def lookup() -> Task:
    """Two turns: call the tool that a request needs, then tell what it gave.

    A right call earns 0.25, and the right sentence about its result 0.75 more. The tool answers the right call alone.
    """
    return Task("lookup", _draw_lookup, _told_rightly, episode=_look_up, thinking="disabled")


def _draw_lookup(rng: Random, split: Split) -> Problem:
    task = tool_result(rng, split)
    asked, call, sent, told = task.messages[-4:]
    function = call["tool_calls"][0]["function"]
    answer = {"name": function["name"], "arguments": dict(function["arguments"]), "told": told["content"]}
    return Problem([*task.messages[:-4], asked], answer, task.tools, about={"result": sent["content"]})


def _look_up(problem: Problem) -> Generator[Sequence[Message], Completion, None]:
    reply = yield problem.messages
    if _is_right([(call.name, call.arguments) for call in reply.tool_calls], problem):
        yield [{"role": "tool", "content": problem.about["result"]}]


def _told_rightly(sample: Sample) -> dict[str, float]:
    called = _is_right([(call.name, call.arguments) for call in sample.turns[0].tool_calls], sample.problem)
    told = called and len(sample.turns) == 2 and sample.finished and sample.content.strip() == sample.answer["told"]
    return {"call": 0.25 * called, "told": 0.75 * told}


def _is_right(calls: Sequence[tuple[str, Mapping[str, object]]], problem: Problem) -> bool:
    """One call, of the right name and arguments of the right types."""
    return [(name, repr(dict(sorted(arguments.items())))) for name, arguments in calls] == [
        (problem.answer["name"], repr(dict(sorted(problem.answer["arguments"].items()))))
    ]


TASKS: Mapping[str, Callable[[], Task]] = {"arithmetic": arithmetic, "long_sums": long_sums, "lookup": lookup}
