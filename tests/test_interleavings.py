"""Whatever an LM was asked and whatever became of its weights before, it answers as one that has just been opened.

Random interleavings of answers, runs that keep, interventions, changed weights and other adapters. A reproducible LM
has one compiled shape, so the comparison is one of bits: tokens, log-probabilities, routes and their weights.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from random import Random

import jax
import numpy as np
from flax import nnx

import glmkit as gk
from glmkit.lm import LM
from glmkit.model.adapter import adapted_places
from glmkit.probe import Plan
from glmkit.train.lora import add_lora
from tiny import small_model, tokenizer, with_updates

STREAM = np.random.default_rng(3).integers(0, 256, 400).tolist()
PLANS = (None, gk.ablate(layer=1, expert=[0]), gk.ablate(layer=1, expert=[3]) + gk.bias(layer=1, expert=[5], by=1.0))


class Subject:
    """An LM for all that comes, and new ones over what its weights are by then."""

    def __init__(self):
        network = add_lora(small_model(), 2, targets=("q_proj", "experts"), rngs=nnx.Rngs(0))
        self.lm = LM(jax.tree.map(lambda leaf: leaf, network), tokenizer(), max_len=400, reproducible=True)
        self.scale = self.lm.model.norm.scale[...]
        self.seen = Counter()

    def reweigh(self, turned: bool) -> None:
        self.lm.model.norm.scale[...] = self.scale[::-1] if turned else self.scale

    def adapt(self, seed: int | None) -> None:
        if seed is not None:
            with_updates(self.lm.model, seed)
            return
        for place in adapted_places(self.lm.model):
            place.parameter.b[...] = 0 * place.parameter.b[...]

    def ask(self, length: int, tokens: int, plan: int, keep: bool) -> None:
        prompt, plan = STREAM[:length], PLANS[plan]
        with LM(jax.tree.map(lambda leaf: leaf, self.lm.model), tokenizer(), max_len=400, reproducible=True) as new:
            (asked, cached), (fresh, none) = (said(lm, prompt, tokens, plan, keep) for lm in (self.lm, new))
        for one, other in zip(asked, fresh, strict=True):
            np.testing.assert_array_equal(one, other)
        assert none == 0
        self.seen.update({("cached" if cached else "read", plan is not None, keep): 1})


def said(lm: LM, prompt: list[int], tokens: int, plan: Plan | None, keep: bool) -> tuple[list[np.ndarray], int]:
    """What was answered, and how many tokens of the prompt were known."""
    if keep:
        run = lm.run(prompt, keep=gk.keep("router"), interventions=plan, max_tokens=tokens, temperature=0.0)
        return [run.tokens.id, run.tokens.logprob, run.routing.ids, run.routing.weights], 0
    with nullcontext() if plan is None else lm.using(plan):
        done = lm.complete(prompt, max_tokens=tokens, temperature=0.0)
    return [np.asarray(done.tokens), np.asarray(done.logprobs)], done.usage.cached_tokens


def operations(rng: Random, count: int) -> Iterator[tuple]:
    """Mostly questions, most of them longer than a page and beginning alike, so that there is something to be known."""
    for _ in range(count):
        what = rng.random()
        if what < 0.1:
            yield "reweigh", rng.random() < 0.5
        elif what < 0.2:
            yield "adapt", rng.choice((None, 1, 2))
        else:
            length = rng.randint(1, 40) if rng.random() < 0.15 else rng.randint(258, 390)
            plan = rng.randrange(len(PLANS))
            yield "ask", length, rng.randint(1, 5), plan, bool(plan) and rng.random() < 0.4


def test_interleavings():
    subject = Subject()
    for name, *arguments in operations(Random(0), 40):
        getattr(subject, name)(*arguments)
    assert min(subject.seen[how, changed, False] for how in ("read", "cached") for changed in (True, False)) >= 3
    assert subject.seen["read", True, True] >= 3
