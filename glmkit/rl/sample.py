"""A sample: all that the model said to one problem, as rewards and hooks read it."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from glmkit.engine.answer import Completion

if TYPE_CHECKING:
    from glmkit.rl.task import Problem

__all__ = ["Call", "Sample", "Turn"]


@dataclasses.dataclass(frozen=True)
class Call:
    """A tool call: its name, its arguments by name, and whether it was written to its end."""

    name: str
    arguments: Mapping[str, Any]
    closed: bool = True


@dataclasses.dataclass(frozen=True)
class Turn:
    """One answer of the model. `tokens` counts all before its end, `thought` those of its thought, forced ones too."""

    content: str
    reasoning: str
    tool_calls: tuple[Call, ...]
    finish_reason: str
    tokens: int
    thought: int

    @classmethod
    def of(cls, done: Completion) -> Self:
        calls = tuple(Call(call.name, dict(call.arguments), call.closed) for call in done.tool_calls)
        usage = done.usage
        return cls(
            done.content, done.reasoning, calls, done.finish_reason, usage.completion_tokens, usage.reasoning_tokens
        )

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """From what `dataclasses.asdict` made."""
        return cls(**{**record, "tool_calls": tuple(Call(**call) for call in record["tool_calls"])})


@dataclasses.dataclass(frozen=True)
class Sample:
    """What came of one problem. `index` is its place in the rollout, `group` that of its problem.

    `returned` is what the episode's generator returned, such as a reward that the environment gave.
    """

    index: int
    group: int
    problem: "Problem"
    turns: tuple[Turn, ...]
    returned: Any = None

    @property
    def last(self) -> Turn:
        return self.turns[-1]

    @property
    def content(self) -> str:
        """What the last turn said, without its thought."""
        return self.last.content

    @property
    def reasoning(self) -> str:
        return self.last.reasoning

    @property
    def tool_calls(self) -> tuple[Call, ...]:
        """Of all turns."""
        return tuple(call for turn in self.turns for call in turn.tool_calls)

    @property
    def answer(self) -> Any:
        """The problem's right answer."""
        return self.problem.answer

    @property
    def finished(self) -> bool:
        """Whether every turn ended by itself, and none because of its length."""
        return all(turn.finish_reason in ("stop", "tool_calls") for turn in self.turns)

    @property
    def tokens(self) -> int:
        """How many all turns have before their ends, those that a thinking budget forced among them."""
        return sum(turn.tokens for turn in self.turns)

    def __str__(self) -> str:
        asked = self.problem.messages[-1]["content"]
        return f"sample {self.index} (group {self.group}, asked {str(asked)[:60]!r}, said {self.content[:60]!r})"
