"""What would be the first to notice a new JAX, Flax or Python: a gradient step, and the bundled model answering."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import glmkit as gk
from tiny import model, small_model, tokenizer

pytestmark = pytest.mark.smoke


def test_the_loss_goes_down_along_its_gradient():
    graph, params, rest = nnx.split(model(), nnx.Param, ...)
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 256, (2, 16)))

    def loss(params):
        glm = nnx.merge(graph, params, rest)
        return jnp.square(glm.logits(glm(tokens).hidden)).mean()

    before, gradient = jax.jit(jax.value_and_grad(loss))(params)
    after = jax.jit(loss)(jax.tree.map(lambda p, g: p - 1e-3 * g, params, gradient))
    assert jnp.isfinite(before)
    assert after < before


def test_pre_training_takes_a_step_with_all_its_losses():
    data = gk.train.TokenDataset.encode([{"text": "abcabcab"}] * 4, tokenizer(), 8)
    given = {"objective": gk.train.Objective(), "batch_size": 2, "length": 16, "steps": 2, "progress": False}
    first, second = gk.train.fit(small_model(mtp=True), data, **given, learning_rate=1e-2, warmup=0.0)
    assert 0 < second.loss < first.loss
    assert 0 < second.metrics["mtp_loss"] < first.metrics["mtp_loss"]


@pytest.mark.parametrize("thinking", ["enabled", "disabled", "forced"])
def test_the_bundled_model_answers_in_every_mode(thinking):
    done = gk.load("nano").chat("What is 345 + 678?", thinking=thinking, temperature=0)
    assert done.finish_reason == "stop"
    assert done.content.strip().isdigit()
    assert bool(done.reasoning) == (thinking != "disabled")
    if thinking == "forced":  # what its card says it gets right; without a thought it mostly does not
        assert done.content.strip() == "1023"


def test_the_bundled_model_drafts():
    lm = gk.load("nano", speculative_tokens=1)
    done = lm.chat("What is 345 + 678?", thinking="forced", temperature=0)
    assert done.content.strip() == "1023"
    assert 0 < done.usage.accepted_tokens <= done.usage.drafted_tokens
