"""Samples, rollouts and runs made by hand, for what needs no model."""

import numpy as np

from glmkit.rl import Call, Problem, Rollout, Sample, Turn
from glmkit.runs import Layers, Run
from glmkit.runs.tokens import Tokens

__all__ = ["big_run", "rollout", "sample"]


def sample(content="", answer=None, *, calls=(), reason="stop", tokens=5, index=0, group=0, turns=None) -> Sample:
    """A sample of one turn, or of several contents."""
    made = tuple(Call(*call) for call in calls)
    said = turns or [content]
    all_turns = tuple(Turn(text, "", made if at == 0 else (), reason, tokens, 0) for at, text in enumerate(said))
    return Sample(index, group, Problem("What?", answer=answer), all_turns)


def rollout(groups: int = 2, n: int = 2, width: int = 8) -> Rollout:
    """Samples of one row each but the last, which has two."""
    count = groups * n
    owner = np.array([*range(count), count - 1], np.int32)
    rows, rng = len(owner), np.random.default_rng(0)
    length = rng.integers(4, width + 1, rows).astype(np.int32)
    places = np.arange(width)
    mask = (places >= 2) & (places < length[:, None])
    problems = [Problem(f"problem {group}", answer=group) for group in range(groups)]
    samples = tuple(
        Sample(index, index // n, problems[index // n], (Turn(f"<{index}>", "hm", (), "stop", 4, 1),))
        for index in range(count)
    )
    return Rollout(
        tokens=rng.integers(1, 99, (rows, width)).astype(np.int32),
        length=length,
        spans=np.where(places < 2, 0, np.where(mask, 2, -1)).astype(np.int8),
        mask=mask,
        logprobs=np.where(mask, -rng.random((rows, width)), 0).astype(np.float32),
        sample=owner,
        group=np.repeat(np.arange(groups, dtype=np.int32), n),
        routes=np.where(mask[..., None, None], rng.integers(0, 8, (rows, width, 1, 2)), -1).astype(np.int16),
        samples=samples,
        version=3,
    )


def big_run(tokens: int, layers: int, experts: int, k: int) -> Run:
    """Of random routes, which nothing compresses."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, experts, (tokens, layers, k)).astype(np.uint8)
    zeros = np.zeros(tokens, np.float32)
    words = Tokens(np.zeros(tokens, np.int32), ("word ",) * tokens, ("prompt",) * tokens, zeros, zeros)
    arrays = {"router_ids": ids, "router_weights": rng.random(ids.shape, np.float32)}
    arrays["router_margins"] = rng.random((tokens, layers), np.float32)
    numbers = tuple(range(layers))
    return Run(words, Layers(numbers, numbers, experts, k), arrays, {}, "big")
