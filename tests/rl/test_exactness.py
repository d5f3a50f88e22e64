"""Estimators in expectation: a policy that is a table, all it can say enumerated, in float64.

Expectations are finite sums of numbers of order 1, so that what is equal is so to 1e-10 and far below.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glmkit.rl import CISPO, GSPO, KL, PPO, Corrected, Reinforce, advantage
from glmkit.rl.loss import per_token_loss
from policies import Table, batch_of, scored_of

TOLERANCE = 1e-10


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def rewards() -> np.ndarray:
    return np.random.default_rng(1).random(9)


def exact(table: Table, rewards) -> np.ndarray:
    """The gradient of the expected reward."""
    return np.asarray(jax.grad(lambda theta: (table.probabilities(theta) * rewards).sum())(table.theta))


def expected(table: Table, rewards, loss, function, n: int, behaviour=None) -> np.ndarray:
    """The expectation, over groups of n drawn from `behaviour` (the policy itself), of the negative gradient of the
    mean over samples of the sum over tokens of the loss."""
    sampled = table.theta if behaviour is None else behaviour
    groups = np.array(list(itertools.product(range(len(rewards)), repeat=n)))
    chances = np.asarray(table.probabilities(sampled))[groups].prod(1)
    advantages = function(rewards[groups])
    drawn = np.asarray(table.logprobs(sampled))

    def total(theta):
        lp = table.logprobs(theta)[groups.ravel()]
        a = jnp.broadcast_to(advantages.reshape(-1, 1), lp.shape)
        given = drawn[groups.ravel()]
        batch = batch_of(advantages=a, behaviour=given, old=None if behaviour is None else given)
        per_sample = per_token_loss(loss, scored_of(lp), batch).loss.sum(1).reshape(groups.shape)
        return -(chances * per_sample.mean(1)).sum()

    return np.asarray(jax.grad(total)(table.theta))


@pytest.mark.parametrize("loss", [Reinforce(), Reinforce(ratio=False), PPO(), GSPO(), CISPO()], ids=repr)
def test_on_the_policy_every_loss_is_unbiased(loss, rewards):
    table = Table()
    np.testing.assert_allclose(
        expected(table, rewards, loss, advantage.plain, 1), exact(table, rewards), atol=TOLERANCE
    )


@pytest.mark.parametrize(
    ("function", "share"), [(advantage.rloo, 1.0), (advantage.plain, 1.0), (advantage.dr_grpo, 0.5)]
)
def test_groups_of_two_unbiased_but_for_a_factor_that_is_known(function, share, rewards):
    """A sample that is part of its own baseline loses (n - 1) / n of the gradient."""
    table = Table()
    got = expected(table, rewards, PPO(), function, 2)
    np.testing.assert_allclose(got, share * exact(table, rewards), atol=TOLERANCE)


def test_grpo_is_biased_in_direction(rewards):
    table = Table()
    got, true = expected(table, rewards, PPO(), advantage.grpo, 3).ravel(), exact(table, rewards).ravel()
    assert got @ true / np.linalg.norm(got) / np.linalg.norm(true) < 1 - 1e-4


@pytest.mark.parametrize("n", [2, 3])
def test_maxrl_is_the_gradient_of_the_first_terms_of_the_log_likelihood(n):
    table = Table()
    right = (np.arange(9) % 4 == 0).astype(float)
    got = expected(table, right, PPO(), advantage.maxrl, n)

    def truncated(theta):
        failing = 1 - (table.probabilities(theta) * right).sum()
        return -sum(failing**k / k for k in range(1, n))

    np.testing.assert_allclose(got, jax.grad(truncated)(table.theta), atol=TOLERANCE)


def test_off_the_policy_whole_sequences_corrected_are_unbiased_and_tokens_are_not(rewards):
    table, other = Table(), Table(seed=5).theta

    def corrected(level):
        # The ratio of old to behaviour, where old are the policy's own log-probabilities: the first update.
        groups = np.arange(9)[:, None]
        chances, drawn = np.asarray(table.probabilities(other)), np.asarray(table.logprobs(other))
        loss = Corrected(Reinforce(ratio=False), level, high=np.inf)

        def total(theta):
            lp = table.logprobs(theta)
            batch = batch_of(advantages=jnp.broadcast_to(rewards[groups], lp.shape), behaviour=drawn)
            return -(chances * per_token_loss(loss, scored_of(lp), batch).loss.sum(1)).sum()

        return np.asarray(jax.grad(total)(table.theta))

    true = exact(table, rewards)
    np.testing.assert_allclose(corrected("sequence"), true, atol=TOLERANCE)
    assert np.abs(corrected("token") - true).max() > 1e-3


@pytest.mark.parametrize(
    "loss", [KL("k1"), KL("k2"), KL("k3"), KL("k1", corrected=True), KL("k3", corrected=True)], ids=repr
)
def test_the_gradient_of_a_divergence_is_that_of_the_divergence_at_each_state(loss):
    table, reference = Table(), Table(seed=3)
    visited = jax.lax.stop_gradient(table.probabilities(table.theta))

    def true(theta):
        ours, theirs = jax.nn.log_softmax(theta), jax.nn.log_softmax(reference.theta)
        by_state = (jnp.exp(ours) * (ours - theirs)).sum(1)
        return (visited[:, None] * by_state[table.states]).sum()

    np.testing.assert_allclose(_divergence(table, reference, loss), jax.grad(true)(table.theta), atol=TOLERANCE)


def test_differentiated_as_they_stand_k1_and_k3_are_wrong():
    table, reference = Table(), Table(seed=3)
    np.testing.assert_allclose(_divergence(table, reference, KL("k1", right_gradient=False)), 0, atol=TOLERANCE)
    right, naive = (_divergence(table, reference, KL("k3", right_gradient=flag)) for flag in (True, False))
    assert np.abs(right - naive).max() > 1e-2


def _divergence(table: Table, reference: Table, loss) -> np.ndarray:
    """The expected gradient of the penalty, sampled from the policy."""
    chances = jax.lax.stop_gradient(table.probabilities(table.theta))
    theirs = table.logprobs(reference.theta)

    def total(theta):
        lp = table.logprobs(theta)
        found = per_token_loss(loss, scored_of(lp), batch_of(advantages=jnp.zeros_like(lp), reference=theirs))
        return (chances * found.loss.sum(1)).sum()

    return np.asarray(jax.grad(total)(table.theta))
