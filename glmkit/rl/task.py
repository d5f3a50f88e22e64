"""Tasks: problems, what a sample of the model's earns, and which problems are held out."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from random import Random
from typing import Any, Literal, get_args

from glmkit.engine.answer import Completion
from glmkit.errors import DataError
from glmkit.rl.description import described
from glmkit.rl.sample import Sample
from glmkit.text import normalize_messages, normalize_tools

__all__ = ["Episode", "Problem", "Reward", "Split", "Task", "modes_of"]

Split = Literal["train", "held_out"]
_DRAWN = 16  # problems of each split that a task is known by
Message = Mapping[str, Any]
Reward = Callable[[Sample], float | Mapping[str, float]]


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is asked: messages in OpenAI's shape (a string is one user turn), tools as schemas, and the right answer.

    `answer` is for the reward to compare with, anything that JSON can hold; `about` may hold more, for rewards and
    hooks. Raises `RequestError` for messages or tools that cannot be asked, and `DataError` for what JSON cannot hold.
    """

    messages: str | Sequence[Message]
    answer: Any = None
    tools: Sequence[Any] = ()
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "messages", tuple(normalize_messages(self.messages)))
        object.__setattr__(self, "tools", tuple(normalize_tools(list(self.tools))))
        try:
            json.dumps([self.answer, dict(self.about)])
        except (TypeError, ValueError) as error:
            raise DataError(f"a problem's answer and about are kept as JSON: {error}") from error


Episode = Callable[[Problem], Generator[Sequence[Message], Completion, Any]]
"""`reply = yield messages`: what is added to the conversation, and what the model says to it, until it returns.

Where the context has no room for a further turn the reply is empty, its `finish_reason` "length"; an episode that then
asks again is closed, and has returned nothing.
"""


@dataclasses.dataclass(frozen=True)
class Task:
    """Problems with a reward.

    `problems` is a sequence, or a function `draw(rng, split) -> Problem` that keeps "train" and "held_out" apart. Of a
    sequence `held_out` are the problems that are only evaluated on. `reward` is any `f(sample) -> float`, or a mapping
    of parts that are added up; `solved` says whether a sample counts as right in accuracy, by default a reward of at
    least 1. `episode` is a generator for more than one turn; by default the messages are asked and answered once.
    `thinking` is the mode that problems are asked in.
    """

    name: str
    problems: Sequence[Problem] | Callable[[Random, Split], Problem]
    reward: Reward
    held_out: Sequence[Problem] = ()
    solved: Callable[[Sample], bool] | None = None
    episode: Episode | None = None
    thinking: str = "enabled"

    def __post_init__(self):
        if not callable(self.problems):
            object.__setattr__(self, "problems", tuple(self.problems))
            object.__setattr__(self, "held_out", tuple(self.held_out))
            if not self.problems:
                raise DataError(f"task {self.name!r} has no problems")
            for split, problems in (("problems", self.problems), ("held_out", self.held_out)):
                for index, problem in enumerate(problems):
                    self._check(problem, f"{split}[{index}]")
        elif self.held_out:
            raise DataError(f"task {self.name!r}: a function that draws problems draws the held-out ones too")

    def batch(self, count: int, seed: int | str = 0, split: Split = "train") -> list[Problem]:
        """So many problems, decided by the seed.

        From a sequence they are drawn without repeating one before all were drawn; the held-out ones of a sequence are
        its first `count`. Raises `DataError` for a problem without an answer, if the reward compares with one, and
        where there are no held-out problems.
        """
        if callable(self.problems):
            rngs = (Random(f"{self.name}/{split}/{seed}/{index}") for index in range(count))
            drawn = [self.problems(rng, split) for rng in rngs]
            for index, problem in enumerate(drawn):
                self._check(problem, f"problem {index} of seed {seed}")
            return drawn
        if split == "held_out":
            if not self.held_out:
                raise DataError(f"task {self.name!r} has no held_out problems to evaluate on")
            return list(self.held_out[:count])
        rng, drawn = Random(f"{self.name}/{seed}"), []
        while len(drawn) < count:
            drawn += rng.sample(self.problems, min(len(self.problems), count - len(drawn)))
        return drawn

    @property
    def digest(self) -> str:
        """By which a run that goes on knows its task: SHA-256 of its problems and functions.

        Of a function that draws problems, what it draws from counts too, as far as the first few of both splits tell.
        """
        parts: dict[str, Any] = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if callable(self.problems):
            parts["drawn"] = [self.batch(_DRAWN, "digest", split) for split in get_args(Split)]
        return hashlib.sha256(described(parts).encode()).hexdigest()

    def is_solved(self, sample: Sample, reward: float) -> bool:
        """Whether a sample of so much reward counts as right."""
        return reward >= 1 if self.solved is None else bool(self.solved(sample))

    def _check(self, problem: Any, where: str) -> None:
        if not isinstance(problem, Problem):
            raise DataError(f"task {self.name!r}, {where}: expected a Problem, got {type(problem).__name__}")
        if problem.answer is None and getattr(self.reward, "needs_answer", False):
            raise DataError(f"task {self.name!r}, {where}: no answer, which its reward {self.reward!r} compares with")

    def __repr__(self) -> str:
        count = "drawn" if callable(self.problems) else f"{len(self.problems)} + {len(self.held_out)} held out"
        return f"Task({self.name!r}, {count}, reward={self.reward!r}, thinking={self.thinking!r})"


def modes_of(thinking: str | Sequence[str]) -> tuple[str, ...]:
    """A mode of thinking, or several, as several."""
    return (thinking,) if isinstance(thinking, str) else tuple(thinking)
