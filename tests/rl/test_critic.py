"""Generalised advantages against numbers worked out by hand, and where a sample's reward stands."""

import jax.numpy as jnp
import numpy as np

from glmkit.rl.critic import Critic, gae, token_rewards
from made import rollout

VALUES, REWARDS = np.array([[0.5, 0.6, 0.7]]), np.array([[0.0, 0.0, 1.0]])


def test_the_hand_case():
    """Errors 0.1, 0.1 and 0.3; each advantage is its own and half of the next."""
    advantages, returns = gae(REWARDS, VALUES, np.ones((1, 3), bool), 1.0, 0.5)
    np.testing.assert_allclose(advantages, [[0.225, 0.25, 0.3]])
    np.testing.assert_allclose(returns, [[0.725, 0.85, 1.0]])


def test_its_limits_are_what_is_earned_and_one_step_ahead():
    everywhere = np.ones((1, 3), bool)
    np.testing.assert_allclose(gae(REWARDS, VALUES, everywhere, 1.0, 1.0)[0], [[0.5, 0.4, 0.3]])
    np.testing.assert_allclose(gae(REWARDS, VALUES, everywhere, 0.9, 0.0)[0], [[0.04, 0.03, 0.3]])


def test_what_stands_between_two_turns_is_passed_over():
    apart = np.array([[True, False, False, True, True, False]])
    values, rewards = np.zeros((1, 6)), np.zeros((1, 6))
    values[apart], rewards[apart] = VALUES[0], REWARDS[0]
    values[~apart] = 99.0
    advantages, returns = gae(rewards, values, apart, 0.9, 0.5)
    together = gae(REWARDS, VALUES, np.ones((1, 3), bool), 0.9, 0.5)
    np.testing.assert_allclose(advantages[apart], together[0][0])
    np.testing.assert_allclose(returns[apart], together[1][0])
    assert not advantages[~apart].any()


def test_what_a_later_row_of_a_sample_earns_reaches_the_rows_before():
    """Its first two tokens in one row, its third in another, and a sample of one row between the two."""
    rewards, values, mask = np.zeros((3, 3)), np.full((3, 3), 99.0), np.zeros((3, 3), bool)
    mask[0, :2], mask[1], mask[2, 1] = True, True, True
    values[0, :2], values[1], values[2, 1] = VALUES[0, :2], VALUES[0], VALUES[0, 2]
    rewards[1, 2], rewards[2, 1] = 1.0, 1.0
    advantages, returns = gae(rewards, values, mask, 0.9, 0.5, sample=np.array([0, 1, 0]))
    for found, wanted in zip((advantages, returns), gae(REWARDS, VALUES, np.ones((1, 3), bool), 0.9, 0.5), strict=True):
        np.testing.assert_allclose([*found[0, :2], found[2, 1]], wanted[0])
        np.testing.assert_allclose(found[1], wanted[0])
        assert not found[~mask].any()


def test_a_reward_stands_at_the_last_token_that_was_drawn_of_its_sample():
    whole = rollout().with_rewards([1, 2, 3, 4])
    rewards = token_rewards(whole)
    np.testing.assert_array_equal(rewards.sum(1), [1, 2, 3, 0, 4])  # the last sample has two rows
    for row in (0, 1, 2, 4):
        assert np.flatnonzero(rewards[row])[0] == np.flatnonzero(whole.mask[row])[-1]


def test_a_critic_learns_what_is_earned(monkeypatch):
    """Returns that are linear in the states are found, and the advantages are then small."""
    whole, rng = rollout().with_rewards([1, 0, 0, 1]), np.random.default_rng(0)
    states = rng.standard_normal((*whole.mask.shape, 4)).astype(np.float32)
    monkeypatch.setattr("glmkit.rl.critic.hidden_before", lambda policy, rollout: states)
    returns = (states @ [1.0, -2.0, 0.5, 0.0] + 3.0).astype(np.float32)
    critic = Critic(jnp.zeros(4), jnp.zeros(()))
    assert not critic.values(None, whole).any()
    fitted = critic.fitted(None, whole, returns, rate=0.1, steps=300)
    found = fitted.values(None, whole)
    np.testing.assert_allclose(found[whole.mask], returns[whole.mask], atol=0.05)  # Adam is not yet quite there
    taught, _ = fitted.advantages(None, whole)
    expected = gae(token_rewards(whole), found, whole.mask, sample=whole.sample)[0]
    np.testing.assert_array_equal(taught.per_token(), expected)
