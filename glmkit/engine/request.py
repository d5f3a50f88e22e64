"""One generation in flight: what was asked, what came so far, and when it ends. No device arrays, no text."""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from glmkit.engine.probing import Probe
from glmkit.engine.sampling import Sampling
from glmkit.errors import RequestError
from glmkit.text.grammar import TurnMatcher

FinishReason = Literal["stop", "length", "tool_calls", "interrupted", "error"]


@dataclass(frozen=True)
class ThinkingBudget:
    """Closes a thought after `limit` tokens by forcing `closing` (the template's own tokens)."""

    limit: int
    opening: int  # the id of <think>
    closing: tuple[int, ...]  # ends with the id of </think>
    call: int  # the id of <tool_call>, which ends a thought too


class TokenLogprob(NamedTuple):
    """A token that could have come, and its raw log-probability."""

    token: int
    logprob: float


@dataclass
class Request:
    """A prompt, its settings, and the tokens generated so far.

    `forced` says which of them the budget dictated; nothing was drawn there, and their `logprobs` are NaN. `end` is the
    stop id that ended it, which is not among the tokens. `top` holds the likeliest tokens at each place, where the
    sampling asks for them; `passed` which tokens could be drawn at each, and at the end, as a mask, where the sampling
    asks for what it draws from and that is not all of them. `grammar` follows the answer and says what may come next;
    where it gives up, the request ends with `error`. One that a `probe` captures ends once its last token has been read
    too.
    """

    prompt: tuple[int, ...]
    sampling: Sampling
    max_tokens: int
    stop_ids: frozenset[int]
    budget: ThinkingBudget | None = None
    thinking: bool = False  # whether the prompt ends inside an open thought
    grammar: TurnMatcher | None = None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    forced: list[bool] = field(default_factory=list)
    top: list[tuple[TokenLogprob, ...]] = field(default_factory=list)
    passed: list[Int[np.ndarray, " W"]] = field(default_factory=list)
    end: TokenLogprob | None = None
    finish_reason: FinishReason | None = None
    error: BaseException | None = None
    probe: Probe | None = None
    cached_tokens: int | None = None  # of the prompt, whose keys and values were there when it was first run
    drafted: int = 0  # tokens of the answer that were drafted and verified
    accepted: int = 0  # of these, which proved right
    _queue: deque[int] = field(default_factory=deque)
    _thought: int = 0

    def __post_init__(self):
        self._close_spent_thought()

    @property
    def length(self) -> int:
        """Tokens of the prompt and the answer."""
        return len(self.prompt) + len(self.tokens)

    def piece(self, start: int, stop: int) -> tuple[int, ...]:
        """Tokens of the prompt and the answer from `start` to before `stop`."""
        of_prompt = len(self.prompt)
        return (*self.prompt[start:stop], *self.tokens[max(0, start - of_prompt) : max(0, stop - of_prompt)])

    def accept(
        self,
        token: int,
        logprob: float,
        top: tuple[TokenLogprob, ...] = (),
        passed: Int[np.ndarray, " W"] | None = None,
    ) -> int | None:
        """Take the sampled token, or what the budget dictates instead. Returns it; None when it ends the request."""
        if math.isnan(logprob):
            self.fail(RequestError("the model gave NaN for this request: its weights, or what it computes, overflow"))
            return None
        if len(self.tokens) >= self.max_tokens:
            self.finish("length")
            return None
        if self._is_narrowed:
            self.passed.append(passed)
        forced = bool(self._queue)
        if forced:
            token = self._queue.popleft()
        elif token in self.stop_ids:
            if self._follows_grammar(token, ends=True):
                self.end = TokenLogprob(token, logprob)
                self.finish("stop")
            return None
        if not self._follows_grammar(token):
            return None
        self.tokens.append(token)
        self.logprobs.append(math.nan if forced else logprob)
        self.forced.append(forced)
        if self.sampling.top_logprobs:
            self.top.append(top[: self.sampling.top_logprobs])
        if self.budget is not None and not forced:
            self._watch_thought(self.budget, token)
            self._close_spent_thought()
        if len(self.tokens) >= self.max_tokens and not self._captured:
            self.finish("length")
        return token

    @property
    def _is_narrowed(self) -> bool:
        """Whether it is to be noted what could be drawn."""
        return self.sampling.drawn_logprobs and (self.sampling.filters or self.grammar is not None)

    @property
    def _captured(self) -> bool:
        return self.probe is not None and self.probe.captures

    def fail(self, error: BaseException) -> None:
        """End the request with an error, unless it has ended."""
        if self.finish_reason is None:
            self.error = error
            self.finish("error")

    def finish(self, reason: FinishReason) -> None:
        """End the request; the engine spends no further step on it. What was said before a length counts more."""
        if self.finish_reason in (None, "length"):
            self.finish_reason = reason

    def _follows_grammar(self, token: int, ends: bool = False) -> bool:
        try:
            if self.grammar is not None:
                (self.grammar.end if ends else self.grammar.take)(token)
        except RequestError as error:
            self.fail(error)
        return self.error is None

    def _watch_thought(self, budget: ThinkingBudget, token: int) -> None:
        if token == budget.opening:
            self.thinking = True
        elif token in (budget.closing[-1], budget.call):
            self.thinking = False
        elif self.thinking:
            self._thought += 1

    def think_on(self, tokens: int) -> None:
        """What began as a call, with so many tokens, was none: they are of the thought that it stands in."""
        if self.budget is not None and self.finish_reason is None:
            self.thinking, self._thought = True, self._thought + tokens
            self._close_spent_thought()

    def _close_spent_thought(self) -> None:
        if self.budget is not None and self.thinking and self._thought >= self.budget.limit:
            self._queue.extend(self.budget.closing)
            self.thinking = False
