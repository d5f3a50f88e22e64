"""Losses, corrections and divergences against numbers worked out by hand and published hand cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glmkit.errors import ConfigError
from glmkit.rl import CISPO, GSPO, KL, PPO, Corrected, Entropy, Reinforce
from glmkit.rl.kl import estimate
from glmkit.rl.loss import per_token_loss
from policies import batch_of, scored_of

EXACT = {"rtol": 1e-6, "atol": 1e-7}  # some float32 roundings of numbers of order 1


def of_ratios(loss, ratios, advantages, **more):
    """The loss of one row of tokens whose ratio to the old policy is given."""
    lp = jnp.log(jnp.asarray([ratios], jnp.float32))
    batch = batch_of(advantages=[advantages], old=np.zeros_like(lp), **more)
    return np.asarray(per_token_loss(loss, scored_of(lp), batch).loss)[0]


def measured(loss, ratios, advantages):
    lp = jnp.log(jnp.asarray([ratios], jnp.float32))
    found = per_token_loss(loss, scored_of(lp), batch_of(advantages=[advantages], old=np.zeros_like(lp)))
    return {name: np.asarray(value)[0].tolist() for name, value in found.measured.items()}


def gradient(loss, lp, **batch):
    """Of the summed loss with respect to the log-probabilities of one row."""
    lp = jnp.asarray([lp], jnp.float32)
    return np.asarray(jax.grad(lambda x: per_token_loss(loss, scored_of(x), batch_of(**batch)).loss.sum())(lp))[0]


def test_the_dual_clip_hand_case():
    """The case that slime's tests publish: r, A, a bound of 0.2 either way, c = 1.5."""
    loss = PPO(0.2, 0.2, dual=1.5)
    np.testing.assert_allclose(of_ratios(loss, [2, 2, 0.5], [2, -2, 2]), [-2.4, 3.0, -1.0], **EXACT)


def test_ppo_clips_only_where_the_bound_is_the_worse():
    loss = PPO(0.2, 0.28)
    ratios, advantages = [1.5, 1.5, 0.5, 0.5, 1.0], [1, -1, 1, -1, 1]
    np.testing.assert_allclose(of_ratios(loss, ratios, advantages), [-1.28, 1.5, -0.5, 0.8, -1.0], **EXACT)
    assert measured(loss, ratios, advantages) == {"clip_low": [0, 0, 0, 1, 0], "clip_high": [1, 0, 0, 0, 0]}


def test_without_old_log_probabilities_the_ratio_is_one_and_the_gradient_reinforces():
    for loss in (PPO(), GSPO(), CISPO(), Reinforce(), Reinforce(ratio=False)):
        given = gradient(loss, [-1.0, -2.0], advantages=[[3.0, -1.0]])
        np.testing.assert_allclose(given, [-3.0, 1.0], **EXACT)


def test_gspo_has_one_ratio_for_a_sequence():
    ratio = np.sqrt(1.2 * 1.1)  # the geometric mean of its tokens'
    got = of_ratios(GSPO(0.5, 0.5), [1.2, 1.1, 9.0], [1, 1, 1], mask=[[True, True, False]])
    np.testing.assert_allclose(got[:2], [-ratio, -ratio], **EXACT)
    lp = np.log([1.2, 1.1]).tolist()
    given = gradient(GSPO(0.5, 0.5), lp, advantages=[[1.0, 1.0]], old=np.zeros((1, 2), np.float32))
    np.testing.assert_allclose(given, [-ratio, -ratio], **EXACT)
    clipped = gradient(GSPO(0.01, 0.01), lp, advantages=[[1.0, 1.0]], old=np.zeros((1, 2), np.float32))
    np.testing.assert_allclose(clipped, [0, 0], atol=0)


def test_cispo_weighs_every_token_and_cuts_none():
    lp = np.log([3.0, 0.1, 1.0]).tolist()
    given = gradient(CISPO(low=0.5, high=0.28), lp, advantages=[[1.0, 1.0, -1.0]], old=np.zeros((1, 3), np.float32))
    np.testing.assert_allclose(given, [-1.28, -0.5, 1.0], **EXACT)


@pytest.mark.parametrize(
    ("level", "how", "high", "wanted"),
    [
        ("token", "truncate", 2.0, [2.0, 0.5, 1.0]),
        ("token", "mask", 2.0, [0.0, 0.5, 1.0]),
        ("sequence", "truncate", 2.0, [1.5, 1.5, 1.5]),
        ("sequence", "mask", 2.0, [1.5, 1.5, 1.5]),
        ("sequence", "truncate", 1.2, [1.2, 1.2, 1.2]),
        ("sequence", "mask", 1.2, [0.0, 0.0, 0.0]),
    ],
)
def test_importance_corrections(level, how, high, wanted):
    """Ratios 3, 0.5 and 1 of tokens, 1.5 of the sequence; the lower bound is 0.2."""
    old = np.log(np.array([[3.0, 0.5, 1.0]], np.float32))
    batch = batch_of(advantages=[[1.0, 1.0, 1.0]], old=old, behaviour=np.zeros((1, 3), np.float32))
    loss = Corrected(Reinforce(ratio=False), level, how, low=0.2, high=high)
    found = per_token_loss(loss, scored_of(jnp.full((1, 3), -1.0)), batch)
    np.testing.assert_allclose(found.loss[0], wanted, **EXACT)


def test_the_table_of_divergences():
    d = jnp.asarray([-1.0, 0.0, 2.0])
    np.testing.assert_allclose(estimate("k1", d), [-1, 0, 2], **EXACT)
    np.testing.assert_allclose(estimate("k2", d), [0.5, 0, 2], **EXACT)
    np.testing.assert_allclose(estimate("k3", d), [np.e - 2, 0, np.exp(-2) + 1], **EXACT)


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
def test_a_divergence_has_its_own_value_and_the_right_gradient(kind):
    reference = np.array([[-2.0, -1.0]], np.float32)
    loss, lp = KL(kind), [-1.5, -1.5]
    batch = {"advantages": [[0.0, 0.0]], "reference": reference}
    value = per_token_loss(loss, scored_of(jnp.asarray([lp])), batch_of(**batch)).loss[0]
    np.testing.assert_allclose(value, estimate(kind, jnp.asarray([0.5, -0.5])), **EXACT)
    np.testing.assert_allclose(gradient(loss, lp, **batch), [0.5, -0.5], **EXACT)  # d times that of lp


def test_losses_add_up_and_scale():
    loss = PPO() + 0.5 * KL("k1") + Entropy() * 2.0
    assert loss.needs_reference
    assert not (PPO() + Entropy()).needs_reference
    batch = batch_of(advantages=[[1.0]], reference=np.array([[-3.0]], np.float32))
    found = per_token_loss(loss, scored_of(jnp.asarray([[-1.0]]), entropy=[[0.7]]), batch)
    np.testing.assert_allclose(found.loss, [[-1.0 + 0.5 * 2.0 - 2.0 * 0.7]], **EXACT)
    assert {"clip_low", "clip_high", "kl"} == found.measured.keys()
    assert loss == PPO() + 0.5 * KL("k1") + Entropy() * 2.0  # so that an equal one is not compiled again


def test_a_plain_function_is_a_loss_and_one_of_another_shape_is_refused():
    batch, scored = batch_of(advantages=[[2.0, 1.0]]), scored_of(jnp.asarray([[-1.0, -2.0]]))
    np.testing.assert_allclose(per_token_loss(lambda s, b: -b.advantages * s.logprobs, scored, batch).loss, [[2, 2]])
    with pytest.raises(ConfigError, match=r"shape \[\]; expected one number for each token, \[1, 2\]"):
        per_token_loss(lambda s, b: s.logprobs.sum(), scored, batch)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PPO(low=-0.1), "low is -0.1"),
        (lambda: PPO(dual=0.5), "dual is 0.5"),
        (lambda: KL("k4"), "kind is 'k4'"),
        (lambda: Corrected(PPO(), level="word"), "level is 'word'"),
        (lambda: Corrected(PPO(), low=2.0), "0 <= low <= 1 <= high"),
    ],
)
def test_settings_that_cannot_be_right(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_divergence_says_what_it_lacks():
    with pytest.raises(ConfigError, match="needs the reference's log-probabilities"):
        per_token_loss(KL(), scored_of(jnp.zeros((1, 1))), batch_of(advantages=[[0.0]]))
