"""Rewards and verifiers: functions from a sample to a number, or to parts that are added up.

A verifier gives 1 to what is right and 0 to all else. Any function with that signature may take their place, and
`Parts` weighs several: `Parts(right=Number(), short=(0.1, Length(64)))`.
"""

import dataclasses
import functools
import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, ClassVar

import llguidance

from glmkit.checks import is_number
from glmkit.errors import ConfigError
from glmkit.rl.sample import Sample

__all__ = ["Calls", "Exact", "Length", "Number", "Overlong", "Parts", "Schema", "WellFormed"]

# A sign behind a letter, a digit or a bracket is an operator; commas part groups of three.
_NUMBER = re.compile(r"(?:(?<![\w).\]])[-+\u2212])?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?")


@dataclasses.dataclass(frozen=True)
class Exact:
    """1 if the content is the answer, blanks around it apart."""

    needs_answer: ClassVar[bool] = True

    def __call__(self, sample: Sample) -> float:
        return float(sample.finished and sample.content.strip() == str(sample.answer).strip())


@dataclasses.dataclass(frozen=True)
class Number:
    """1 if the content is the answer as a number, within `tolerance`, compared exactly, however long it is.

    With `anywhere` the last number of the content counts, whatever stands around it.
    """

    tolerance: float = 0.0
    anywhere: bool = False
    needs_answer: ClassVar[bool] = True

    def __call__(self, sample: Sample) -> float:
        said = sample.content.strip()
        found = _NUMBER.findall(said) if self.anywhere else [said] if _NUMBER.fullmatch(said) else []
        if not sample.finished or not found:
            return 0.0
        return float(abs(_exactly(found[-1]) - _exactly(sample.answer)) <= _exactly(self.tolerance))


@dataclasses.dataclass(frozen=True)
class Schema:
    """1 if the content is JSON that the schema, a mapping or its text, validates, and nothing besides.

    As in answers to a `response_format`, properties come in the order in which the schema names them. Raises
    `ConfigError` for a schema that uses what cannot be followed.
    """

    schema: str | Mapping[str, Any]

    def __post_init__(self):
        if not isinstance(self.schema, str):
            object.__setattr__(self, "schema", json.dumps(self.schema))
        if error := llguidance.LLMatcher.validate_grammar(self._grammar, self._bytes):
            raise ConfigError(f"the schema cannot be followed: {error}")

    @functools.cached_property
    def _grammar(self) -> str:
        return llguidance.LLMatcher.grammar_from_json_schema(self.schema)

    @functools.cached_property
    def _bytes(self) -> llguidance.LLTokenizer:
        return llguidance.LLTokenizer("byte")

    def __call__(self, sample: Sample) -> float:
        matcher = llguidance.LLMatcher(self._bytes, self._grammar, log_level=0)
        said = self._bytes.tokenize_str(sample.content.strip())
        return float(sample.finished and matcher.try_consume_tokens(said) == len(said) and matcher.is_accepting())


@dataclasses.dataclass(frozen=True)
class Calls:
    """1 if the tool calls are those of the answer, a list of `{"name": ..., "arguments": {...}}`, in any order.

    Names, arguments and their types have to be the same: 1 and "1" are not.
    """

    needs_answer: ClassVar[bool] = True

    def __call__(self, sample: Sample) -> float:
        made = [_key(call.name, call.arguments) for call in sample.tool_calls if call.closed]
        wanted = [_key(call["name"], call["arguments"]) for call in sample.answer]
        whole = len(made) == len(sample.tool_calls)
        return float(sample.finished and whole and sorted(made) == sorted(wanted))


@dataclasses.dataclass(frozen=True)
class Length:
    """The share of `budget` tokens that was not used, 0 to 1: what to add for saying it shortly."""

    budget: int

    def __call__(self, sample: Sample) -> float:
        return max(0.0, 1.0 - sample.tokens / self.budget)


@dataclasses.dataclass(frozen=True)
class Overlong:
    """0 up to `longest - cache` tokens, then falling in a line to -1 at `longest` (DAPO, arXiv 2503.14476)."""

    longest: int
    cache: int

    def __post_init__(self):
        if not 0 < self.cache <= self.longest:
            raise ConfigError(f"cache is {self.cache} and longest {self.longest}; expected 0 < cache <= longest")

    def __call__(self, sample: Sample) -> float:
        return -min(1.0, max(0.0, (sample.tokens - (self.longest - self.cache)) / self.cache))


@dataclasses.dataclass(init=False, repr=False, eq=False)
class Parts:
    """Rewards by name, each alone or as `(weight, reward)`; their sum is the sample's reward, and each is shown."""

    parts: Mapping[str, tuple[float, Callable[[Sample], float]]]

    def __init__(self, **parts: Callable[[Sample], float] | tuple[float, Callable[[Sample], float]]):
        if not parts:
            raise ConfigError("Parts takes at least one reward by name")
        self.parts = {name: part if isinstance(part, tuple) else (1.0, part) for name, part in parts.items()}
        for name, (weight, reward) in self.parts.items():
            if not is_number(weight) or not callable(reward):
                raise ConfigError(f"{name} is {parts[name]!r}; expected a reward, or (weight, reward)")

    @property
    def needs_answer(self) -> bool:
        return any(getattr(reward, "needs_answer", False) for _, reward in self.parts.values())

    def __call__(self, sample: Sample) -> dict[str, float]:
        return {name: weight * reward(sample) for name, (weight, reward) in self.parts.items()}

    def __repr__(self) -> str:
        return f"Parts({', '.join(f'{name}={weight} * {reward!r}' for name, (weight, reward) in self.parts.items())})"


@dataclasses.dataclass(frozen=True)
class WellFormed:
    """The reward, or 0 for a sample with a malformed turn: the agentic format penalty of GLM-4.5's report.

    Malformed is a turn that did not end by itself, or a call that was not written to its end. (arXiv 2508.06471, 3.3.)
    """

    reward: Callable[[Sample], Any]

    @property
    def needs_answer(self) -> bool:
        return getattr(self.reward, "needs_answer", False)

    def __call__(self, sample: Sample) -> Any:
        well_formed = sample.finished and all(call.closed for call in sample.tool_calls)
        return self.reward(sample) if well_formed else 0.0


def _exactly(number: Any) -> Decimal:
    return Decimal(str(number).strip().replace(",", "").replace("\u2212", "-"))  # which is typeset as a minus


def _key(name: str, arguments: Mapping[str, Any]) -> str:
    return json.dumps([name, arguments], sort_keys=True)
