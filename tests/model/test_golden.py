"""The reference implementation's numbers, from golden files: logits, chosen experts, greedy tokens.

No choice in a golden file is a near tie (`golden/make.py` sees to it), so that experts and tokens are equal without
exception. `tests/parity` makes the same comparisons with the reference itself.
"""

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from glmkit import GLM, load_hf
from glmkit.engine import Engine, Request, Sampling
from golden.cases import CASES, GREEDY_TOKENS, Case, Inputs, fingerprint, write_checkpoint
from golden.compare import BFLOAT16_KL, LOGITS_TOLERANCE, load_of, mean_kl, relative_error
from golden.files import Golden, kept_steps
from golden.programs import token_by_token, whole

GREEDY = [name for name, case in CASES.items() if case.greedy]
BFLOAT16 = [name for name, case in CASES.items() if case.bfloat16]


@dataclass(frozen=True)
class Subject:
    """A case, what the reference made of it, and glmkit's model of its checkpoint."""

    case: Case
    golden: Golden
    model: GLM

    @property
    def inputs(self) -> Inputs:
        return self.case.inputs.followed_by(self.golden.greedy)

    def kept(self, logits: np.ndarray) -> np.ndarray:
        """The rows of `logits`, `[B, T, V]`, that the golden file has and that are not padding."""
        steps = kept_steps(self.inputs)
        return logits[:, steps][self.inputs.valid[:, steps]]

    def expected(self, logits: np.ndarray) -> np.ndarray:
        """The golden file's `logits` of the same rows."""
        return logits[self.inputs.valid[:, kept_steps(self.inputs)]]


@functools.cache
def subject(name: str, dtype: str = "float32") -> Subject:
    case, golden = CASES[name], Golden.load(name)
    with tempfile.TemporaryDirectory() as folder:
        tensors = write_checkpoint(Path(folder), case)
        assert fingerprint(tensors) == golden.fingerprint, "random tensors have changed: run golden/make.py again"
        # Many layers compile much faster as a stack; the others are held as a list.
        return Subject(case, golden, load_hf(folder, dtype=jnp.dtype(dtype), stacked=name == "many_layers"))


@functools.cache
def forward(name: str, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    return whole(subject(name, dtype).model, subject(name).inputs)


@pytest.mark.parametrize("name", CASES)
def test_logits_are_the_references(name):
    s, (logits, _) = subject(name), forward(name)
    assert relative_error(s.kept(logits), s.expected(s.golden.logits)) < LOGITS_TOLERANCE


@pytest.mark.parametrize("name", CASES)
def test_every_layer_chooses_the_references_experts(name):
    s, (_, load) = subject(name), forward(name)
    np.testing.assert_array_equal(load, load_of(s.golden.experts, s.inputs, load.shape[1]))


@pytest.mark.parametrize("name", GREEDY)
def test_the_references_greedy_tokens_are_the_likeliest(name):
    s, (logits, _) = subject(name), forward(name)
    np.testing.assert_array_equal(logits[:, -1 - GREEDY_TOKENS : -1].argmax(-1), s.golden.greedy)


@pytest.mark.parametrize("name", ["full", "left_padded"])
def test_the_engine_generates_the_references_greedy_tokens(name):
    s = subject(name)
    prompts = [row[valid] for row, valid in zip(s.case.inputs.tokens, s.case.inputs.valid, strict=True)]
    engine = Engine(s.model, max_len=max(map(len, prompts)) + GREEDY_TOKENS)
    requests = [Request(tuple(p.tolist()), Sampling(temperature=0.0), GREEDY_TOKENS, frozenset()) for p in prompts]
    generated = [[] for _ in requests]
    for row, token in engine.generate(requests):
        generated[row].append(token)
    np.testing.assert_array_equal(generated, s.golden.greedy)


@pytest.mark.parametrize("name", ["full", "undecided_router", "far"])
def test_each_token_through_the_cache_has_the_references_experts_and_logits(name):
    s = subject(name)
    logits, load = token_by_token(s.model, s.inputs)
    experts = np.stack([np.nonzero(step)[1].reshape(len(step), -1) for step in load], axis=1)
    np.testing.assert_array_equal(experts, s.golden.experts[:, 0])
    assert relative_error(s.kept(logits), s.expected(s.golden.logits)) < LOGITS_TOLERANCE


@pytest.mark.parametrize("name", BFLOAT16)
def test_bfloat16_logits_are_as_near_as_rounding_lets_them(name):
    s, (logits, _) = subject(name), forward(name, "bfloat16")
    assert mean_kl(s.kept(logits), s.expected(s.golden.bfloat16_logits)) < BFLOAT16_KL
