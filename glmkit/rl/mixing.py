"""Demonstrations beside samples: what is to be said, learned in the same update as what earned something."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from glmkit.errors import DataError
from glmkit.rl.rollout import Rollout
from glmkit.rl.rows import WIDTH
from glmkit.rl.sample import Sample, Turn
from glmkit.rl.task import Problem
from glmkit.runs import PHASES
from glmkit.text import Tokenizer
from glmkit.train.examples import encode_record

__all__ = ["demonstrations", "mixed"]


def demonstrations(records: Iterable[Mapping[str, Any]], tokenizer: Tokenizer) -> Rollout:
    """Conversations, as `glmkit.train` reads them, as a rollout: what the assistant says is learned, no route is known.

    Raises `DataError` for a record that cannot be learned from.
    """
    examples = [example for record in records for example in encode_record(record, tokenizer)]
    if not examples:
        raise DataError("there are no demonstrations to learn from")
    width = -(-max(len(example.tokens) for example in examples) // WIDTH) * WIDTH

    def filled(parts: Iterable[np.ndarray], filling: Any, dtype: Any) -> np.ndarray:
        return np.stack([np.pad(p, (0, width - len(p)), constant_values=filling) for p in parts]).astype(dtype)

    mask = filled((example.learned for example in examples), False, np.bool_)
    mask[:, 0] = False  # predicted from nothing
    length = np.array([len(example.tokens) for example in examples], np.int32)
    spans = np.where(mask, PHASES.index("answer"), PHASES.index("prompt"))
    shown = (tokenizer.decode(example.tokens[example.learned].tolist()) for example in examples)
    return Rollout(
        tokens=filled((example.tokens for example in examples), 0, np.int32),
        length=length,
        spans=np.where(np.arange(width) < length[:, None], spans, -1).astype(np.int8),
        mask=mask,
        logprobs=np.zeros(mask.shape, np.float32),
        sample=np.arange(len(examples), dtype=np.int32),
        group=np.arange(len(examples), dtype=np.int32),
        demonstrated=np.ones(len(examples), np.bool_),
        samples=tuple(
            Sample(index, index, Problem("demonstration"), (Turn(text, "", (), "stop", int(mask[index].sum()), 0),))
            for index, text in enumerate(shown)
        ),
    )


def mixed(
    rollout: Rollout,
    demonstrated: Rollout,
    weight: float,
    norm: Callable[..., Float[np.ndarray, "N T"]],
) -> Rollout:
    """Both as one, in whose first update the gradient is that of the rollout's loss plus `weight` times that of the
    mean negative log-likelihood of a demonstrated token.

    `norm` is the normalisation of the rollout's tokens, in the place of the update's: neither of the two changes how
    the other is weighed. Of sums such as `PPO() + KL()` a demonstrated token has the policy's part alone. Rewards are
    those of the rollout, and 0 of demonstrations, which no measure of rewards, groups or mismatch counts. In
    `gk.rl.train` it is the last of `shape`, after `rollout.with_advantage`.
    """
    shown = dataclasses.replace(
        demonstrated,
        token_advantages=np.where(demonstrated.mask, weight, 0.0),
        token_weights=demonstrated.mask / max(1, int(demonstrated.mask.sum())),
        rewards=np.zeros(len(demonstrated)),
        parts={name: np.zeros(len(demonstrated)) for name in rollout.parts},
        sampling=rollout.sampling,
        version=rollout.version,
    )
    bare = dataclasses.replace(
        rollout,
        token_advantages=rollout.per_token(),
        token_weights=norm(rollout.mask, rollout.sample),
        advantages=None,
        old=None,
    )
    return Rollout.joined([bare, shown])
