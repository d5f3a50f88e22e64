"""From tokens to an answer: text, reasoning, content and tool calls, as they come and when they are done."""

import functools
import html
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from glmkit.engine.request import FinishReason, Request, TokenLogprob
from glmkit.text import Delta, IncrementalDecoder, StreamParser, Tag, Tokenizer, ToolCall, assemble
from glmkit.text.parser import Phase


@dataclass(frozen=True)
class Usage:
    """Token counts of one request.

    `reasoning_tokens` are among the completion tokens, `cached_tokens`, which an earlier request had computed, among
    those of the prompt. Of `drafted_tokens`, which the prediction layer proposed, `accepted_tokens` proved right.
    """

    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cached_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Completion:
    """What came of one request. `prompt` is the text the model saw; `tokens` and `logprobs` what it answered with.

    `forced` marks the tokens that a thinking budget dictated, whose log-probabilities are NaN: they were not drawn.
    `top_logprobs` has, where they were asked for, the likeliest tokens at each place and their log-probabilities.
    `seed` reproduces it. `message` is the assistant turn to append to the conversation. In a batch a request that
    could not be served has `finish_reason` "error" and the exception in `error`.
    """

    content: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason = "stop"
    usage: Usage = Usage(0, 0, 0)
    seed: int = 0
    prompt: str = field(default="", repr=False)
    tokens: tuple[int, ...] = field(default=(), repr=False)
    logprobs: tuple[float, ...] = field(default=(), repr=False)
    forced: tuple[bool, ...] = field(default=(), repr=False)
    top_logprobs: tuple[tuple[TokenLogprob, ...], ...] = field(default=(), repr=False)
    message: dict[str, Any] = field(default_factory=dict, repr=False)
    error: BaseException | None = None

    @property
    def reasoning_content(self) -> str:
        """`reasoning` under the name the API gives it."""
        return self.reasoning

    def _repr_html_(self) -> str:
        escape = html.escape
        thought = (
            f"<details><summary>Thought, {self.usage.reasoning_tokens} tokens</summary>"
            f"<div style='opacity:.65;white-space:pre-wrap'>{escape(self.reasoning)}</div></details>"
            if self.reasoning
            else ""
        )
        calls = "".join(f"<pre>{escape(call.name)}({escape(str(call.arguments))})</pre>" for call in self.tool_calls)
        failure = f"<b>{escape(str(self.error))}</b>" if self.error else ""
        answer = f"<div style='white-space:pre-wrap'>{escape(self.content)}</div>"
        note = f"{self.usage.completion_tokens} tokens, {self.finish_reason}, seed {self.seed}"
        return f"{thought}{answer}{calls}{failure}<div style='opacity:.65;font-size:85%'>{note}</div>"


def _locked(method: Callable) -> Callable:
    """One at a time, by whatever thread."""

    @functools.wraps(method)
    def held(self, *args: Any) -> Any:
        with self._lock:
            return method(self, *args)

    return held


class Answer:
    """Assembles one request's tokens into deltas: no half character, no half tag, no half stop string leaves it."""

    def __init__(
        self,
        request: Request,
        tokenizer: Tokenizer,
        *,
        prompt: str,
        stop: Sequence[str] = (),
        parser: StreamParser | None = None,
    ):
        self._request, self._prompt, self._parser = request, prompt, parser
        self._decoder, self._tags = IncrementalDecoder(tokenizer), tokenizer.tags
        self._stop = _StopStrings(stop)
        self._deltas: list[Delta] = []
        self._reasoning_tokens = 0
        self._called = 0  # tokens since what may be a call began
        self._lock = threading.RLock()  # the engine's thread feeds it while others ask how far it is

    @_locked
    def feed(self, token: int) -> list[Delta]:
        """Take the next token; a complete stop string ends the request."""
        before = self._phase
        text, tag = self._decoder.feed(token), self._tags.get(token)
        pieces = [text] if tag is None else [text.removesuffix(tag), Tag(tag)]
        deltas = self._parse(self._stop.feed(pieces))
        self._count(before)
        if self._stop.found:
            self._request.finish("stop")
        return deltas

    @property
    def _phase(self) -> Phase | None:
        return None if self._parser is None else self._parser.phase

    def _count(self, before: Phase | None) -> None:
        """Count a token of the thought. What looked like a call may turn out to be one too."""
        if before == "think":
            self._reasoning_tokens += 1
            self._called = 0
        elif before == "tool":
            self._called += 1
            if self._phase == "think":
                self._reasoning_tokens += self._called
                self._request.think_on(self._called)

    @_locked
    def finish(self) -> list[Delta]:
        """What was held back, now that no more tokens come."""
        rest = self._parse(self._stop.feed([self._decoder.finish()]) + self._stop.finish())
        if self._parser is not None:
            rest += self._keep(self._parser.finish())
        return rest

    @_locked
    def completion(self) -> Completion:
        """The answer so far, a call under way with what it has; the whole of it after `finish`."""
        parsed = assemble([*self._deltas, *(self._parser.call_end() if self._parser is not None else ())])
        request = self._request
        reason = request.finish_reason or "length"
        if parsed.tool_calls and all(call.closed for call in parsed.tool_calls) and reason == "stop":
            reason = "tool_calls"
        return Completion(
            content=parsed.content or "",
            reasoning=parsed.reasoning or "",
            tool_calls=tuple(parsed.tool_calls),
            finish_reason=reason,
            usage=Usage(
                len(request.prompt),
                len(request.tokens),
                self._reasoning_tokens,
                request.cached_tokens or 0,
                request.drafted,
                request.accepted,
            ),
            seed=request.sampling.seed,
            prompt=self._prompt,
            tokens=tuple(request.tokens),
            logprobs=tuple(request.logprobs),
            forced=tuple(request.forced),
            top_logprobs=tuple(request.top),
            message=parsed.message,
            error=request.error,
        )

    def _parse(self, pieces: Sequence[str]) -> list[Delta]:
        if self._parser is None:
            text = "".join(pieces)
            return self._keep([Delta(content=text)] if text else [])
        return self._keep([delta for piece in pieces for delta in self._parser.feed(piece)])

    def _keep(self, deltas: list[Delta]) -> list[Delta]:
        self._deltas += deltas
        return deltas


class _StopStrings:
    """Passes text on up to the first stop string, holding back what could be the start of one."""

    def __init__(self, stop: Sequence[str]):
        self._stop, self._held, self.found = tuple(stop), list[str](), False

    def feed(self, pieces: Sequence[str]) -> list[str]:
        if self.found:
            return []
        held = [*self._held, *pieces]
        text = "".join(held)
        hits = [at for s in self._stop if (at := text.find(s)) >= 0]
        if hits:
            self.found, self._held = True, []
            return _cut(held, min(hits))[0]
        keep = max((_overlap(text, s) for s in self._stop), default=0)
        passed, self._held = _cut(held, len(text) - keep)
        return passed

    def finish(self) -> list[str]:
        rest, self._held = self._held, []
        return rest


def _cut(pieces: Sequence[str], at: int) -> tuple[list[str], list[str]]:
    """The pieces before a place in what they spell and those after it, a tag that it falls into among them."""
    before: list[str] = []
    for number, piece in enumerate(pieces):
        if len(piece) > at:
            if isinstance(piece, Tag):
                return before, [*pieces[number:]]
            return [*before, piece[:at]], [piece[at:], *pieces[number + 1 :]]
        before.append(piece)
        at -= len(piece)
    return before, []


def _overlap(text: str, stop: str) -> int:
    """The longest end of `text` that `stop` starts with."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)


class ChatStream:
    """Iterate for deltas; `completion` has the whole answer. A loop that was left goes on with the next one."""

    def __init__(self, deltas: Iterator[Delta], answer: Answer, stop: Callable[[], None] = lambda: None):
        self._deltas, self._answer, self._stop = deltas, answer, stop
        self._done = False

    def __iter__(self) -> Iterator[Delta]:
        # Not from the generator itself, which would end with a loop that is left early.
        yield from iter(lambda: next(self._deltas, None), None)
        self._done = True

    def stop(self) -> None:
        """End the answer with what came so far, and whoever waits for more of it. Any thread may."""
        self._stop()

    @property
    def partial(self) -> Completion:
        """The answer so far."""
        return self._answer.completion()

    @property
    def completion(self) -> Completion:
        """The whole answer; draws the deltas that are left first."""
        if not self._done:
            for _ in self:
                pass
        return self._answer.completion()
