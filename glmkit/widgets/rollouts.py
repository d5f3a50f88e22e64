"""Samples of an RL run's steps as a dashboard looks into them: the best and the worst of each, token by token."""

import bisect
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from glmkit.rl.steps import Run, Step
from glmkit.runs.tokens import texts
from glmkit.widgets.packing import Message, packed

__all__ = ["KeptSample", "RolloutShelf", "pack_samples"]

_OF_EACH = 3  # samples with the highest, and with the lowest rewards of a step
_BYTES = 2**25  # kept in all; older steps are dropped


@dataclass(frozen=True, eq=False)
class KeptSample:
    """The tokens of a sample, all its rows one after the other, and what is known of each; 0 where none is learned."""

    sample: int  # its place in the step's rollout
    group: int  # of its problem
    reward: float
    advantage: float
    tokens: Int[np.ndarray, " T"]
    spans: Int[np.ndarray, " T"]  # numbers into `glmkit.runs.PHASES`
    learned: Bool[np.ndarray, " T"]
    sampled: Float[np.ndarray, " T"]  # log-probability it was drawn with, in nats
    scored: Float[np.ndarray, " T"]  # that the scorer gave it before the update
    entropy: Float[np.ndarray, " T"]
    advantages: Float[np.ndarray, " T"]
    routes: Int[np.ndarray, "T moe_layer k"] | None  # -1 where unknown

    @property
    def nbytes(self) -> int:
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))


class RolloutShelf:
    """The samples that are kept, by step; any thread may add and read."""

    def __init__(self):
        self._lock = threading.Lock()
        self._steps: list[int] = []
        self._samples: list[tuple[KeptSample, ...]] = []

    def add(self, step: Step) -> None:
        """Keep the best and the worst samples of a step; it takes back what was kept of it and of later ones."""
        if step.rollout is None or not len(step.rollout) or not step.updates:
            return
        samples = tuple(_kept(step))
        with self._lock:
            place = bisect.bisect_left(self._steps, step.number)
            del self._steps[place:], self._samples[place:]
            self._steps.append(step.number)
            self._samples.append(samples)
            while len(self._samples) > 1 and sum(kept.nbytes for samples in self._samples for kept in samples) > _BYTES:
                del self._steps[0], self._samples[0]

    @property
    def last(self) -> int | None:
        """The newest step that samples are kept of."""
        with self._lock:
            return self._steps[-1] if self._steps else None

    def at(self, step: int | None = None) -> tuple[int, tuple[KeptSample, ...]] | None:
        """The samples of the last step up to `step` that has any, the best first, and its number."""
        with self._lock:
            place = len(self._steps) if step is None else bisect.bisect_right(self._steps, step)
            return (self._steps[place - 1], self._samples[place - 1]) if place else None


def pack_samples(run: Run, number: int, samples: tuple[KeptSample, ...], sample: int | None) -> Message:
    """Which samples there are, and the tokens of one: the first, unless another is wanted that is there."""
    shown = next((kept for kept in samples if kept.sample == sample), samples[0])
    known = shown.routes is not None
    about: dict[str, Any] = {
        "step": number,
        "sample": shown.sample,
        "samples": [
            {"sample": kept.sample, "group": kept.group, "reward": kept.reward, "advantage": kept.advantage}
            for kept in samples
        ],
        "text": list(texts(shown.tokens.tolist(), run.policy.reference.tokenizer)),
        "phase": shown.spans.tolist(),
        "layers": list(run.moe_layers),
    }
    names = ("learned", "sampled", "scored", "entropy", "advantages")
    arrays = {name: getattr(shown, name).astype(np.uint8 if name == "learned" else np.float32) for name in names}
    if known:
        arrays["routes"] = (shown.routes + 1).astype(np.uint16)  # 0: unknown
    return packed(about, arrays, {})


def _kept(step: Step) -> Iterator[KeptSample]:
    rollout, update = step.rollout, step.updates[0]
    order = np.argsort(-rollout.rewards, kind="stable")
    chosen = order if len(order) <= 2 * _OF_EACH else np.concatenate([order[:_OF_EACH], order[-_OF_EACH:]])
    by_token = {
        "tokens": rollout.tokens,
        "spans": rollout.spans,
        "learned": rollout.mask,
        "sampled": rollout.logprobs,
        "scored": update.logprobs,
        "entropy": update.entropy,
        "advantages": rollout.per_token(),
        "routes": rollout.routes,
    }
    for place in chosen.tolist():
        rows = np.flatnonzero(rollout.sample == place)
        found = {
            name: None if x is None else np.concatenate([x[row, : rollout.length[row]] for row in rows])
            for name, x in by_token.items()
        }
        advantage = found["advantages"][found["learned"]]
        yield KeptSample(
            sample=place,
            group=int(rollout.group[place]),
            reward=float(rollout.rewards[place]),
            advantage=float(advantage.mean()) if advantage.size else 0.0,
            **found,
        )
