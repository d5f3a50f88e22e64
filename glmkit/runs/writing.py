"""A run over tokens that the model writes: what was kept of every step that read or wrote one."""

from collections.abc import Iterator

import numpy as np

from glmkit.engine import Request
from glmkit.engine.answer import Completion
from glmkit.engine.probing import Probe
from glmkit.model import GLM, Kept
from glmkit.runs.layers import Layers
from glmkit.runs.plans import Plan
from glmkit.runs.reading import joined, read_again
from glmkit.runs.run import Run
from glmkit.runs.sites import Selected
from glmkit.runs.tokens import PHASES, Tokens, texts
from glmkit.text import Tokenizer

__all__ = ["written_run"]


def written_run(
    model: GLM,
    request: Request,
    completion: Completion,
    tokenizer: Tokenizer,
    selected: Selected,
    plan: Plan | None,
    name: str,
    began: float,
) -> Run:
    """Of a request that has ended and was captured.

    Its steps are the tokens that the model has read: all but the last of an answer that a stop string or an interrupt
    ended. The prompt's tokens have no log-probability: they were not drawn. `began` is of `time.perf_counter`. What the
    request was captured in is no longer held after.
    """
    probe = request.probe
    steps = probe.captured
    ids = request.piece(0, steps)
    codes = probe.phases(request.prompt, request.tokens, request.forced)[:steps]
    logprobs = [*[np.nan] * len(request.prompt), *request.logprobs][:steps]
    when = [np.full(count, at - began) for _, count, _, at in probe.pieces]
    phases = tuple(PHASES[code] for code in codes)
    tokens = Tokens(
        np.asarray(ids, np.int32), texts(ids, tokenizer), phases, np.asarray(logprobs, np.float32), np.concatenate(when)
    )
    arrays, bound = joined(_taken(probe), steps), probe.probing.plan
    again, digest = read_again(model, ids, phases, plan, None), "" if bound is None else bound.digest
    return Run(
        tokens, Layers.of(model), arrays, selected.layers, name, str(plan or ""),
        completion=completion, again=again, digest=digest,
    )  # fmt: skip


def _taken(probe: Probe) -> Iterator[Kept]:
    """What was captured, piece by piece, each let go of once it was looked at: together they may fill the memory."""
    for place, (start, count, kept, at) in enumerate(probe.pieces):
        probe.pieces[place] = start, count, Kept(), at
        yield kept
