"""Answers to one prompt beside each other: how each was asked for, and its thought as it comes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from glmkit.engine.answer import Completion
from glmkit.probe import Plan
from glmkit.runs import Run
from glmkit.text import IncrementalDecoder, Tokenizer, parse
from glmkit.text.phases import numbered

__all__ = ["Attempt", "Piece", "Turn"]


class Turn:
    """The assistant's turn after a prompt as it comes, token by token: the texts of its first thought, and of the rest.

    What the prompt has of the turn already, after the last <|assistant|>, is part of it. Steps are places among all
    tokens.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int]):
        known = tokenizer.backend.token_to_id
        self._opening, self._closing, self._call = known("<think>"), known("</think>"), known("<tool_call>")
        self._decoder = IncrementalDecoder(tokenizer)
        tag = known("<|assistant|>")
        start = max((at + 1 for at, token in enumerate(prompt) if token == tag), default=len(prompt))
        self.ids = list(prompt[:start])
        self.text = ""
        self.thought: list[str] = []
        self.rest: list[str] = []
        self.first: int | None = None  # the step of the thought's first token
        self.thinking = False
        self._began: float | None = None
        self._ended, self._lead = 0.0, []
        for token in prompt[start:]:
            self._take(token)
        self.given = len(self.thought)  # tokens of the thought that were in the prompt

    def feed(self, token: int, seconds: float) -> None:
        """Take the next token, which came at `seconds`, of whatever clock."""
        was_thinking = self.thinking
        self._take(token)
        if was_thinking or self.thinking:
            self._ended = seconds
            self._began = seconds if self._began is None else self._began

    def _take(self, token: int) -> None:
        words = self._decoder.feed(token)
        self.text += words
        self.ids.append(token)
        if self.first is None and token == self._opening:
            self.first, self.thinking = len(self.ids), True
        elif self.thinking and token not in (self._closing, self._call):
            self.thought.append(words)
        elif self.thinking:
            self.thinking = False
            self.rest += [words] if token == self._call else []
        elif self.first is None and not self.rest and not words.strip():
            self._lead.append(words)  # of an answer without a thought, or blanks before <think>
        else:
            self.rest += [words] if self.rest or self.first is not None else [*self._lead, words]

    @property
    def seconds(self) -> float:
        """From the first token of the thought to its last, or so far."""
        return 0.0 if self._began is None else self._ended - self._began


class Piece(NamedTuple):
    """A token of an attempt as it was heard, and when; or, with `token` None, that it is over."""

    number: int
    token: int | None = None
    seconds: float = 0.0


@dataclass
class Attempt:
    """One answer: the mode and the seed it was asked for with, the interventions in `plan`, and what came.

    `prompt` is what the model was given, the beginning of a thought too if it goes on from one: then `source` is the
    number of the attempt that was cut or edited, as `origin` says, `given` the number of tokens that were kept or the
    edited thought, and `closed` tells that the thought ends there. `run` is None until it is over, and stays so if it
    was stopped before its first token.
    """

    number: int
    mode: str
    seed: int
    budget: int | None
    prompt: tuple[int, ...]
    turn: Turn
    plan: Plan
    source: int | None = None
    origin: Literal["", "cut", "edited"] = ""
    given: int | str = ""
    closed: bool = False
    run: Run | None = None
    over: bool = False
    error: str = ""

    @property
    def reasoning(self) -> str:
        """The thought so far, with what was given of it."""
        return parse(self.turn.text).reasoning or ""

    @property
    def content(self) -> str:
        """The answer so far, without the thought."""
        return parse(self.turn.text).content or ""

    @property
    def completion(self) -> Completion | None:
        """What the engine gave, once it is over."""
        return None if self.run is None else self.run.completion

    @property
    def thought_tokens(self) -> int:
        """Tokens of the thought, without its tags."""
        return len(self.turn.thought)

    @property
    def thought_seconds(self) -> float:
        """How long it thought."""
        return self.turn.seconds

    @property
    def finish_reason(self) -> str:
        """Why it ended: "stop", "length", "interrupted" or "error"; empty while it goes on."""
        if not self.over:
            return ""
        if self.completion is None:
            return "error" if self.error else "interrupted"
        return self.completion.finish_reason

    def phases(self) -> list[int]:
        """Of the thought's tokens, as numbers into `PHASES`: those that were given count as of the prompt."""
        turn = self.turn
        phases = ["prompt"] * turn.given + ["think"] * (len(turn.thought) - turn.given)
        if self.completion is not None and turn.first is not None:
            for place in range(turn.given, len(phases)):
                if self.completion.forced[turn.first + place - len(self.prompt)]:
                    phases[place] = "forced"
        return numbered(phases)

    def message(self, tokenizer: Tokenizer) -> dict[str, Any]:
        """All of it, for a browser."""
        turn, completion = self.turn, self.completion
        own = ("number", "mode", "seed", "budget", "source", "origin", "closed", "over", "error")
        return {name: getattr(self, name) for name in own} | {
            "prompt": tokenizer.decode(self.prompt),
            "first": turn.first,
            "thought": list(turn.thought),
            "phase": self.phases(),
            "rest": list(turn.rest),
            "thinking": turn.thinking,
            "seconds": round(turn.seconds, 3),
            "count": len(turn.ids) - len(self.prompt),
            "content": self.content if self.over else "",
            "finish": self.finish_reason,
            "budgeted": completion is not None and any(completion.forced),
            "changed": "" if self.run is None else self.run.interventions,
        }

    def news(self, thought: int, rest: int) -> dict[str, Any]:
        """What came since there were so many tokens of the thought, and of the rest, for a browser."""
        turn = self.turn
        return {
            "number": self.number,
            "thought_at": thought,
            "thought": turn.thought[thought:],
            "rest_at": rest,
            "rest": turn.rest[rest:],
            "first": turn.first,
            "thinking": turn.thinking,
            "seconds": round(turn.seconds, 3),
            "count": len(turn.ids) - len(self.prompt),
        }
