"""Demonstrations beside samples, and a teacher's word on samples: what each token then weighs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import glmkit as gk
from glmkit.errors import DataError
from glmkit.lm import LM
from glmkit.rl import (
    GSPO,
    KL,
    PPO,
    Constant,
    Corrected,
    Entropy,
    Policy,
    Reinforce,
    advantage,
    per_sequence,
    per_token,
)
from glmkit.rl.batch import Scored
from glmkit.rl.batches import micro_batches
from glmkit.rl.distil import distilled
from glmkit.rl.loss import per_token_loss
from glmkit.rl.mixing import demonstrations, mixed
from made import rollout
from tiny import one_layer, tokenizer

RECORDS = [
    {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": text}]}
    for text in ("ho", "hello")
]


@pytest.fixture(scope="module")
def lm() -> LM:
    return LM(one_layer(), tokenizer(), max_len=600)


def learned():
    return rollout().with_rewards([1, 0, 0, 1]).with_advantage(advantage.dr_grpo)


def test_demonstrations_learn_what_the_assistant_says():
    shown = demonstrations(RECORDS, tokenizer())
    assert len(shown) == 2
    said = [tokenizer().decode(shown.tokens[row][shown.mask[row]].tolist()) for row in range(2)]
    assert said == ["\nho<|user|>", "\nhello<|user|>"]
    with pytest.raises(DataError, match="no demonstrations"):
        demonstrations([], tokenizer())


@pytest.mark.parametrize("norm", [per_token, per_sequence, Constant(9)], ids=["per_token", "per_sequence", "constant"])
def test_neither_changes_how_the_other_is_weighed(norm):
    """The gradient with respect to log-probabilities in a first update is minus weight times advantage."""
    ours, shown = learned(), demonstrations(RECORDS, tokenizer())
    both = mixed(ours, shown, 0.3, norm)
    given = both.token_weights * both.per_token()
    rows, width = ours.mask.shape
    np.testing.assert_allclose(given[:rows, :width], norm(ours.mask, ours.sample) * ours.per_token(), atol=1e-15)
    np.testing.assert_allclose(given[rows:], 0.3 * shown.mask / shown.mask.sum(), atol=1e-15)
    assert (both.routes[rows:] == -1).all()
    np.testing.assert_array_equal(both.routes[:rows, :width], ours.routes)


def test_demonstrations_are_learned_as_they_are_whatever_samples_were_drawn_at(lm):
    shown = demonstrations(RECORDS, tokenizer())
    with Policy(lm) as policy:
        ours = policy.sample(["a"], n=2, max_tokens=4, thinking="disabled", temperature=1.5).rewarded(lambda s: s.index)
        both = mixed(ours.with_advantage(advantage.dr_grpo), shown, 1.0, per_token)
        found = policy.score(both).logprobs[len(ours.tokens) :]
    there = shown.mask[:, 1:]
    own = np.asarray(lm.logprobs(shown.tokens))
    # two programs that sum in float32
    np.testing.assert_allclose(found[:, 1 : shown.mask.shape[1]][there], own[there], atol=1e-5)


@pytest.mark.parametrize("loss", [PPO() + 0.5 * KL("k3"), GSPO(), Reinforce() + 0.1 * Entropy()], ids=repr)
def test_the_gradient_is_that_of_both_apart(loss):
    """With respect to log-probabilities and entropies, of a loss with a reference and of one that is a sequence's."""
    ours, shown = learned(), demonstrations(RECORDS, tokenizer())
    ours, shown = (each.with_reference(np.where(each.mask, -0.7, 0)) for each in (ours, shown))
    both = mixed(ours, shown, 0.3, per_sequence)

    def gradient(rollout, norm):
        batch = jax.tree.map(
            lambda x: np.asarray(x[0]), micro_batches(rollout, len(rollout.tokens), gk.mesh("auto"), norm)
        )

        def minimised(scored):
            found = per_token_loss(loss, scored, batch).loss
            return jnp.where(batch.weight != 0, batch.weight * found, 0).sum()

        scored = Scored(jnp.where(batch.mask, -1.5, 0.0), jnp.where(batch.mask, 0.5, 0.0))
        return jax.tree.map(np.asarray, jax.grad(minimised)(scored))

    found, alone = gradient(both, per_token), gradient(ours, per_sequence)
    rows, width = ours.mask.shape
    for here, there in zip(found, alone, strict=True):
        np.testing.assert_allclose(here[:rows, :width], there, atol=1e-7)  # float32 numbers below 1
    np.testing.assert_allclose(found.logprobs[rows:], -0.3 * shown.mask / shown.mask.sum(), atol=1e-7)
    assert not found.entropy[rows:].any()


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_a_correction_weighs_what_was_drawn_and_demonstrations_in_full(level):
    both = mixed(learned(), demonstrations(RECORDS, tokenizer()), 0.3, per_token)
    batch = jax.tree.map(lambda x: x[0], micro_batches(both, len(both.tokens), gk.mesh("auto"), per_token))
    scored = Scored(jnp.where(batch.mask, -5.0, 0.0), jnp.zeros(batch.mask.shape))
    corrected = Corrected(Reinforce(), level, high=1e9)(scored, batch)
    drawn = np.asarray(batch.mask) & both.drawn_rows[:, None]
    shown = np.asarray(batch.mask) & ~both.drawn_rows[:, None]
    importance = np.asarray(corrected.measured["importance"])
    assert shown.any()
    np.testing.assert_array_equal(importance[shown], 1.0)
    assert (importance[drawn] < 1).all()  # all that was sampled was more likely than exp(-5)


def test_a_teacher_adds_to_the_advantage_of_each_token():
    ours = learned()
    student, teacher = (np.where(ours.mask, value, 0.0) for value in (-2.0, -1.5))
    taught = distilled(ours, student, teacher, weight=2.0)
    np.testing.assert_allclose(taught.per_token(), np.where(ours.mask, ours.per_token() + 1.0, 0))
    alone = distilled(rollout(), student, teacher)
    np.testing.assert_allclose(alone.per_token(), np.where(ours.mask, 0.5, 0))
    with pytest.raises(DataError, match="student has shape"):
        distilled(ours, student[:, 1:], teacher[:, 1:])
