"""Episodes: generators that lead a conversation with the policy, `reply = yield messages`, until they return."""

import dataclasses
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from glmkit.agent import run_call
from glmkit.checks import check_integer
from glmkit.engine.answer import Completion
from glmkit.rl.task import Episode, Message, Problem
from glmkit.text import normalize_tools

__all__ = ["ask_once", "with_tools"]


def ask_once(problem: Problem) -> Generator[Sequence[Message], Completion, None]:
    """The problem's messages, and one answer."""
    yield problem.messages


def with_tools(*functions: Callable[..., Any], max_turns: int = 4) -> Episode:
    """An episode in which calls of these typed functions are run and their results told, up to so many turns.

    It ends with an answer that calls nothing, or that its length broke off. What a function raises is told to the
    model. Problems declare the tools; declare these by `tools=functions`.
    """
    check_integer("max_turns", max_turns, 1)
    names = [schema["function"]["name"] for schema in normalize_tools(list(functions))]
    return _ToolEpisode(dict(zip(names, functions, strict=True)), max_turns)


@dataclasses.dataclass(frozen=True, repr=False)
class _ToolEpisode:
    functions: Mapping[str, Callable[..., Any]]
    max_turns: int

    def __call__(self, problem: Problem) -> Generator[Sequence[Message], Completion, None]:
        reply = yield problem.messages
        for _ in range(self.max_turns - 1):
            if reply.finish_reason != "tool_calls":
                return
            results = [run_call(call, self.functions) for call in reply.tool_calls]
            reply = yield [
                {"role": "tool", "content": result.content, "tool_call_id": result.call.id} for result in results
            ]

    def __repr__(self) -> str:
        return f"with_tools({', '.join(self.functions)}, max_turns={self.max_turns})"
