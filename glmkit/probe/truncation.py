"""The truncation sweep: what the answer would be, had the thought ended earlier."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from glmkit.checks import check_integer
from glmkit.engine.answer import Answer
from glmkit.errors import RequestError
from glmkit.lm import LM
from glmkit.runs import Run
from glmkit.runs.frames import data_frame
from glmkit.turns import SAMPLING, refuse_unknown, stop_strings

__all__ = ["TruncationSweep", "truncate"]

_ROW = 64  # rows of tokens are padded to multiples of it, so that few programs are compiled


@dataclass(frozen=True)
class TruncationSweep:
    """Answers to one prompt after ever longer beginnings of one thought.

    `lengths` are how many tokens of the thought were kept, `answers` what the model then answered, without the thought,
    and `logprob` the log-probability, in nats, of the answer that followed the whole thought, given the part.
    `thought` and `answer` are those of the whole; the thought has `tokens`.
    """

    thought: str
    answer: str
    tokens: int
    lengths: tuple[int, ...]
    answers: tuple[str, ...]
    logprob: Float[np.ndarray, " length"]

    @property
    def same(self) -> tuple[bool, ...]:
        """Whether each answer is that after the whole thought."""
        return tuple(answer == self.answer for answer in self.answers)

    @property
    def settled(self) -> int | None:
        """The least of the lengths from which on every answer is that after the whole thought; None without one."""
        found = None
        for length, same in zip(reversed(self.lengths), reversed(self.same), strict=True):
            if not same:
                break
            found = length
        return found

    def to_pandas(self):
        """A data frame with a row for each length."""
        columns = {"length": self.lengths, "answer": self.answers, "same": self.same, "logprob": self.logprob}
        return data_frame({name: np.asarray(values) for name, values in columns.items()})


def truncate(
    lm: LM,
    run: Run,
    *,
    lengths: Sequence[int] | None = None,
    max_tokens: int | None = None,
    stop: str | Sequence[str] = (),
    **sampling: Any,
) -> TruncationSweep:
    """Close the thought of a run after each of `lengths` tokens and have the model answer, all of them at once.

    `run` is of `lm.run(x, thinking="forced", max_tokens=...)`, whose first thought has ended. `lengths` are by default
    up to 17, evenly spaced from none to the whole thought, and `max_tokens` twice what the run's answer has.
    `stop` and `sampling` are as for `lm.complete`, by default temperature 0: take the run greedily too, to compare its
    answer. Raises RequestError for a run without a thought that ended, for lengths that it has not, for a run that was
    made with other interventions than `lm.using` has in use, and for interventions that hold by phase: the thought is
    part of what the model is given.
    """
    refuse_unknown(sampling, SAMPLING)
    lm._check_in_use(run)
    if lm.interventions is not None:
        lm.interventions.check_given("a thought that is cut")
    opening, closing = _thought(lm, run)
    ids, whole = run.tokens.id.tolist(), closing - opening - 1
    if lengths is None:
        lengths = np.unique(np.linspace(0, whole, min(17, whole + 1)).round().astype(int)).tolist()
    kept = tuple(sorted({check_integer("lengths", length, 0) for length in lengths}))
    if not kept or kept[-1] > whole:
        raise RequestError(f"lengths are {list(lengths)}; the thought has 0 to {whole} tokens")
    if max_tokens is None:
        max_tokens = max(16, 2 * (len(ids) - closing - 1))
    prompts = [(*ids[: opening + 1 + length], ids[closing]) for length in kept]
    given = {"temperature": 0.0, "seed": 0, **sampling}
    requests = [lm._turns.request(prompt, max_tokens=max_tokens, **given) for prompt in prompts]
    asked = [(request, Answer(request, lm.tokenizer, prompt="", stop=stop_strings(stop))) for request in requests]
    for request in requests:
        lm.engine.check_fits(request)
    done = lm._serve(asked)
    for completion in done:
        if completion.error is not None:
            raise completion.error
    text = lm.tokenizer.decode
    return TruncationSweep(
        thought=text(ids[opening + 1 : closing]).strip(),
        answer=text(_without_stop(lm, ids[closing + 1 :])).strip(),
        tokens=whole,
        lengths=kept,
        answers=tuple(completion.content.strip() for completion in done),
        logprob=_logprob(lm, prompts, ids[closing + 1 :]),
    )


def _thought(lm: LM, run: Run) -> tuple[int, int]:
    """The places of the tags around the first thought after the last <|assistant|>."""
    places = {tag: np.flatnonzero(run.tokens.id == lm.tokenizer.token_id(tag)) for tag in ("<think>", "</think>")}
    turn = np.flatnonzero(run.tokens.id == lm.tokenizer.token_id("<|assistant|>"))
    start = turn[-1] if turn.size else 0
    opened = places["<think>"][places["<think>"] > start]
    closed = places["</think>"][places["</think>"] > opened[0]] if opened.size else opened
    empty = not opened.size or (closed.size and closed[0] == opened[0] + 1)  # it is where thinking is disabled
    if empty or not closed.size or closed[0] + 1 >= len(run):
        had = "has no thought" if empty else "ends before its thought does, or right after it"
        raise RequestError(f'this run {had}; run it with thinking="forced" and more max_tokens')
    return int(opened[0]), int(closed[0])


def _without_stop(lm: LM, ids: list[int]) -> list[int]:
    return ids[:-1] if ids[-1] in lm.generation.eos_token_id else ids


def _logprob(lm: LM, prompts: Sequence[Sequence[int]], answer: Sequence[int]) -> Float[np.ndarray, " length"]:
    """Of the whole answer after each prompt."""
    longest = max(map(len, prompts)) + len(answer)
    rows = np.zeros((len(prompts), min(-(-longest // _ROW) * _ROW, lm.config.max_position_embeddings)), np.int32)
    for row, prompt in zip(rows, prompts, strict=True):
        row[: len(prompt) + len(answer)] = (*prompt, *answer)
    found = np.asarray(lm.logprobs(rows))  # the token at place p has its own at p - 1
    return np.asarray([row[len(p) - 1 : len(p) - 1 + len(answer)].sum() for row, p in zip(found, prompts, strict=True)])
